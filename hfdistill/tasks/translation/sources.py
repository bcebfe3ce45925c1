"""Where the pairs of texts come from: files, the Hub or the demo corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hfdistill.data.hub import load_hub_dataset
from hfdistill.data.parallel import SCORE
from hfdistill.tasks.translation.data import TranslationData, translation_dataset
from hfdistill.tasks.translation.demo import demo_translations
from hfdistill.tasks.translation.metrics import check_sacrebleu

#: One file or name, or the two files of a corpus.
Files = str | Sequence[str] | None


def translation_data(
    train_file: Files = None,
    validation_file: Files = None,
    test_file: Files = None,
    *,
    source_lang: str = "en",
    target_lang: str = "de",
    dataset_name: str = "",
    dataset_config_name: str | None = None,
    unlabeled_file: str | None = None,
    skip_empty: bool = True,
    clean: bool = False,
    min_score: float | None = None,
    score_column: str = SCORE,
    demo: bool = False,
) -> TranslationData:
    """Read the pairs of texts to distill on: files, a parallel set of the Hub, or the generated demo corpus.

    Args:
        train_file: The training pairs: one file, the two of a corpus, or its name; see `translation_dataset`. Without
            one, the set on the Hub is read.
        validation_file: By default the Hub's split, or a tenth of the training pairs.
        test_file: What is measured on at the end; by default the Hub's split, or the validation pairs.
        source_lang: Column of the source texts, or their language.
        target_lang: Column of the target texts, or their language.
        dataset_name: The parallel set on the Hub.
        dataset_config_name: Its configuration.
        unlabeled_file: More source texts, for the teacher to translate.
        skip_empty: Whether pairs with an empty side are skipped, or refused.
        clean: Whether faulty training pairs and unlabeled texts are dropped; see `clean_pairs` and `clean_texts`.
        min_score: With `clean`: pairs of a lower score are dropped, too.
        score_column: The column of the score, in a table.
        demo: Generate a corpus instead; nothing else is read.

    Raises:
        ImportError: when sacreBLEU is not installed, which the models will be measured with.
        FileNotFoundError, HubUnreachableError: when something is not there, or cannot be reached.
        ValueError: when it cannot be read, or is no pair of texts.
    """
    check_sacrebleu()
    if demo and clean:
        raise ValueError("--clean has nothing to find in the corpus that --demo generates: leave one of them out.")
    if demo:
        return replace(translation_dataset(*demo_translations().values()), name="a generated demo corpus", demo=True)
    files: list[Any] = [train_file, validation_file, test_file]
    if train_file is None:
        hub = load_hub_dataset(dataset_name, dataset_config_name)
        splits = ("train", "validation", "test")
        files = [file or hub.get(split) for file, split in zip(files, splits, strict=True)]
    how: dict[str, Any] = {"unlabeled_file": unlabeled_file, "skip_empty": skip_empty, "clean": clean}
    how |= {"min_score": min_score, "score_column": score_column}
    data = translation_dataset(*files, source=source_lang, target=target_lang, **how)
    measured_on = _name(test_file) or _name(validation_file)
    return replace(data, name=_name(train_file) or dataset_name, measured_on=measured_on)


def _name(files: Files) -> str:
    """One file as it was named, of two their own names."""
    given = [files] if isinstance(files, str) else files or ()
    return " and ".join(given if len(given) < 2 else [Path(file).name for file in given])
