"""Where questions come from: files, the Hub or the demo corpus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hfdistill.data.hub import load_hub_dataset
from hfdistill.tasks.answering.data import QuestionAnsweringData, question_answering_dataset
from hfdistill.tasks.answering.demo import demo_questions


def question_answering_data(
    train_file: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
    *,
    unlabeled_file: str | None = None,
    dataset_name: str = "",
    dataset_config_name: str | None = None,
    demo: bool = False,
) -> QuestionAnsweringData:
    """Read the questions to distill on: files, a dataset of the Hub, or the generated demo corpus.

    Args:
        train_file: A file of training questions; see `question_answering_dataset`. Without one, the dataset on the Hub
            is read.
        validation_file: By default the Hub's split, or a tenth of the training questions.
        test_file: What is measured on at the end; by default the validation questions.
        unlabeled_file: More questions, for the teacher to answer.
        dataset_name: The dataset on the Hub.
        dataset_config_name: Its configuration.
        demo: Generate a corpus instead; nothing else is read.

    Raises:
        FileNotFoundError, HubUnreachableError: when something is not there, or cannot be reached.
        ValueError: when it cannot be read, or an answer is not in its context.
    """
    if demo:
        splits = demo_questions()
        data = question_answering_dataset(*(splits[name] for name in ("train", "validation", "test")))
        return replace(data, name="a generated demo corpus", demo=True)
    train: Any = train_file
    validation: Any = validation_file
    if train_file is None:
        hub = load_hub_dataset(dataset_name, dataset_config_name)
        train, validation = hub["train"], validation_file or hub.get("validation")
    data = question_answering_dataset(train, validation, test_file, unlabeled_file=unlabeled_file)
    return replace(data, name=train_file or dataset_name)
