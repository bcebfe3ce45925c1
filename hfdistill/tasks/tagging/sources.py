"""Where the sentences of a token classifier come from: files, the Hub or the demo corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hfdistill.data.class_names import read_class_names
from hfdistill.data.hub import load_hub_dataset
from hfdistill.models.loading import label_names_of
from hfdistill.tasks.tagging.data import TokenClassificationData, token_classification_dataset
from hfdistill.tasks.tagging.demo import demo_tags


def token_classification_data(
    train_file: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
    *,
    dataset_name: str = "",
    dataset_config_name: str | None = None,
    teacher: str | None = None,
    class_names: Sequence[str] | None = None,
    demo: bool = False,
    **columns: Any,
) -> TokenClassificationData:
    """Read the sentences to distill on: files, a dataset of the Hub, or the generated demo corpus.

    Args:
        train_file: A file of training sentences; see `token_classification_dataset`. Without one, the dataset on the
            Hub is read.
        validation_file: By default the Hub's split, or a tenth of the training sentences.
        test_file: What is measured on at the end; by default the Hub's split `test`, else the validation sentences.
        dataset_name: The dataset on the Hub.
        dataset_config_name: Its configuration.
        teacher: Name or path of a fine-tuned token classifier, whose labels and their order the sentences take over.
            `None` for a teacher that is going to be trained on these labels.
        class_names: Names of the numbered labels, or a file of one a line; default `labels.txt` beside `train_file`.
        demo: Generate a corpus instead; nothing else is read.
        **columns: `word_column`, `label_column`, `unlabeled_file` and `max_unlabeled`, as in
            `token_classification_dataset`.

    Raises:
        FileNotFoundError, HubUnreachableError: when something is not there, or cannot be reached.
        ValueError: when it cannot be read, or a label is not understood.
    """
    if demo:
        splits = demo_tags()
        files = (splits[name] for name in ("train", "validation", "test"))
        data = token_classification_dataset(*files, unlabeled_file=splits["unlabeled"])
        return replace(data, name="a generated demo corpus", demo=True)
    train: Any = train_file
    validation: Any = validation_file
    test: Any = test_file
    if train_file is None:
        hub = load_hub_dataset(dataset_name, dataset_config_name)
        train, validation, test = hub["train"], validation or hub.get("validation"), test or hub.get("test")
    names = read_class_names(class_names, train_file)
    labels = label_names_of(teacher) if teacher else None
    data = token_classification_dataset(train, validation, test, class_names=names, label_names=labels, **columns)
    return replace(data, name=train_file or dataset_name, measured_on=test_file or validation_file or "")
