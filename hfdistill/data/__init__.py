"""Reading a user's own files and the Hub's datasets. Every complaint names the file and the line."""

from hfdistill.data.class_names import read_class_names
from hfdistill.data.classification import (
    TextClassificationData,
    labelled_texts,
    plain_texts,
    split_validation,
    text_classification_dataset,
)
from hfdistill.data.hub import (
    HubRefusalError,
    HubUnreachableError,
    check_token,
    hub_errors,
    load_hub_dataset,
    load_tokenizer,
)
from hfdistill.data.tables import read_table
from hfdistill.data.translation import TranslationData, translation_dataset

__all__ = [
    "HubRefusalError",
    "HubUnreachableError",
    "TextClassificationData",
    "TranslationData",
    "check_token",
    "hub_errors",
    "labelled_texts",
    "load_hub_dataset",
    "load_tokenizer",
    "plain_texts",
    "read_class_names",
    "read_table",
    "split_validation",
    "text_classification_dataset",
    "translation_dataset",
]
