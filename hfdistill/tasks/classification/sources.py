"""Where the texts of a classifier come from: files, the Hub or the demo corpus, in a teacher's label order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedConfig

from hfdistill.data.class_names import read_class_names
from hfdistill.data.hub import load_hub_dataset
from hfdistill.models.adapters import load_config
from hfdistill.models.labels import MULTI, REGRESSION, SINGLE, LabelSpace, names_of
from hfdistill.report.terminal import print_main
from hfdistill.tasks.classification.data import TextClassificationData, text_classification_dataset
from hfdistill.tasks.classification.demo import demo_dataset


def classification_data(
    train_file: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
    *,
    dataset_name: str = "",
    dataset_config_name: str | None = None,
    teacher: str | None = None,
    class_names: Sequence[str] | None = None,
    trust_remote_code: bool = False,
    demo: bool = False,
    **columns: Any,
) -> TextClassificationData:
    """Read the texts and labels to distill on: files, a dataset of the Hub, or the generated demo corpus.

    Args:
        train_file: A file of training texts: csv, tsv, json or parquet. Without one, the dataset on the Hub is read.
        validation_file: By default the Hub's split, or a tenth of the training texts.
        test_file: What is measured on at the end; by default the validation texts. (A Hub's test split is not read:
            GLUE hides the labels of its own.)
        dataset_name: The dataset on the Hub.
        dataset_config_name: Its configuration.
        teacher: Name or path of a fine-tuned classifier, whose labels and their order the texts take over. `None` for
            a teacher that is going to be trained on these labels, or where there is none.
        class_names: Names of the numbered classes, or a file of one a line; default `labels.txt` beside `train_file`.
        trust_remote_code: Whether code that is kept with the teacher is run.
        demo: Generate a corpus instead; nothing else is read.
        **columns: `text_column`, `text_pair_column`, `label_column`, `unlabeled_file` and `max_unlabeled`, as in
            `text_classification_dataset`.

    Raises:
        FileNotFoundError, HubUnreachableError: when something is not there, or cannot be reached.
        ValueError: when it cannot be read, a label is not understood, or the teacher solves another task.
    """
    if demo:
        splits = demo_dataset()
        data = text_classification_dataset(splits["train"], splits["validation"], splits["test"])
        return replace(data, name="a generated demo corpus", demo=True)
    names = read_class_names(class_names, train_file)
    train: Any = train_file
    validation: Any = validation_file
    if train_file is None:
        hub = load_hub_dataset(dataset_name, dataset_config_name)
        train, validation = hub["train"], validation_file or hub.get("validation")
    numbered = train_file is not None and not names
    order = {} if teacher is None else _labels_of(teacher, trust_remote_code, numbered)
    data = text_classification_dataset(train, validation, test_file, class_names=names, **order, **columns)
    if data.problem_type != "regression" and (data.label_names or ("LABEL_0",))[0] == "LABEL_0":
        print_main(
            "The classes have no names, so the student will predict LABEL_0, LABEL_1, ...: name them one a line in "
            "labels.txt beside the texts, or with --class_names of hfdistill distill."
        )
    measured_on = test_file or validation_file or ""
    return replace(data, name=train_file or dataset_name, measured_on=measured_on)


def _labels_of(teacher: str, trust_remote_code: bool, numbered: bool) -> dict[str, Any]:
    """The task and the label names of a fine-tuned teacher."""
    config: Any = load_config(teacher, trust_remote_code)
    _refuse_other_heads(teacher, config)
    names = LabelSpace.of_config(config).names
    # A teacher without names for its labels is taken to number them as the Hub's dataset does; a file that names its
    # labels gives no order, so there LABEL_0, LABEL_1, ... must stand in it, or their numbers.
    if names is None and numbered and config.num_labels > 1:
        names = tuple(names_of(config))
    usual = REGRESSION if config.num_labels == 1 else SINGLE
    problem_type = MULTI if config.problem_type == MULTI else usual
    return {"label_names": names, "problem_type": problem_type}


def _refuse_other_heads(name: str, config: PreTrainedConfig) -> None:
    """Refuses a model that was never taught to give one label, before its made-up names are taken for the labels'."""
    heads = config.architectures or ()
    if heads and not any("Classification" in head for head in heads):
        raise ValueError(
            f"{name} is a {heads[0]}, which was not trained to classify: fine-tune it on the labels first with "
            "--train_teacher true, or name a fine-tuned classifier."
        )
