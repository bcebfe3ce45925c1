"""Where the pairs of texts come from: files, the Hub or the demo corpus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hfdistill.data.hub import load_hub_dataset
from hfdistill.tasks.translation.data import TranslationData, translation_dataset
from hfdistill.tasks.translation.demo import demo_translations
from hfdistill.tasks.translation.metrics import check_sacrebleu


def translation_data(
    train_file: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
    *,
    source_lang: str = "en",
    target_lang: str = "de",
    dataset_name: str = "",
    dataset_config_name: str | None = None,
    unlabeled_file: str | None = None,
    skip_empty: bool = True,
    demo: bool = False,
) -> TranslationData:
    """Read the pairs of texts to distill on: files, a parallel set of the Hub, or the generated demo corpus.

    Args:
        train_file: A file of training pairs: json lines, csv, tsv or parquet. Without one, the set on the Hub is read.
        validation_file: By default the Hub's split, or a tenth of the training pairs.
        test_file: What is measured on at the end; by default the Hub's split, or the validation pairs.
        source_lang: Column of the source texts, or their language.
        target_lang: Column of the target texts, or their language.
        dataset_name: The parallel set on the Hub.
        dataset_config_name: Its configuration.
        unlabeled_file: More source texts, for the teacher to translate.
        skip_empty: Whether pairs with an empty side are skipped, or refused.
        demo: Generate a corpus instead; nothing else is read.

    Raises:
        ImportError: when sacreBLEU is not installed, which the models will be measured with.
        FileNotFoundError, HubUnreachableError: when something is not there, or cannot be reached.
        ValueError: when it cannot be read, or is no pair of texts.
    """
    check_sacrebleu()
    if demo:
        return replace(translation_dataset(*demo_translations().values()), name="a generated demo corpus", demo=True)
    files: list[Any] = [train_file, validation_file, test_file]
    if train_file is None:
        hub = load_hub_dataset(dataset_name, dataset_config_name)
        splits = ("train", "validation", "test")
        files = [file or hub.get(split) for file, split in zip(files, splits, strict=True)]
    how: dict[str, Any] = {"unlabeled_file": unlabeled_file, "skip_empty": skip_empty}
    data = translation_dataset(*files, source=source_lang, target=target_lang, **how)
    measured_on = test_file or validation_file or ""
    return replace(data, name=train_file or dataset_name, measured_on=measured_on)
