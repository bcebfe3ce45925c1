"""What all tests share: a tiny tokenizer, tiny random models, a small dataset. Nothing is downloaded."""

import gc
import gzip
import importlib
import itertools
import os
import random

import datasets
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from matplotlib.figure import Figure
from texts import TEXTS, make_tokenizer
from tiny import make_model
from transformers import BertForSequenceClassification, set_seed

from hfdistill.report import plots, quality, timing
from hfdistill.tasks.classification.data import text_classification_dataset
from hfdistill.tasks.translation import report as translation_report

# One thread here and in every process that a test starts: with another number sums are rounded otherwise, and over
# tensors this small threads only stand in one another's way.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _old_objects_are_left_alone():
    """`Trainer.train` begins with a garbage collection, of seconds once the exporters are loaded: spare it the old."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _homes(tmp_path_factory):
    """Folders that are not there yet. (`mktemp` looks at all folders there are, of thousands of tests, each time.)"""
    home = tmp_path_factory.mktemp("hf_home")
    return (str(home / str(number)) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_world(_homes, monkeypatch):
    """Every test starts from the same seed, and keeps its soft targets and corpora out of the user's cache."""
    store, home = importlib.import_module("hfdistill.soft_targets.store"), next(_homes)
    monkeypatch.setattr(store, "HF_HOME", home)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", f"{home}/datasets")
    set_seed(0)


@pytest.fixture
def quick_report(monkeypatch):
    """Reports whose figures and pictures nobody looks at: measured in one round, and rendered as an empty canvas.

    Otherwise these take most of a run. Processes that a test starts measure and draw in full.
    """
    for name in ("LATENCY_TURNS", "LATENCY_ROWS", "WARM_UP_ROWS", "THROUGHPUT_ROUNDS"):
        monkeypatch.setattr(timing, name, 1)
    monkeypatch.setattr(quality, "BOOTSTRAP_DRAWS", 3)
    monkeypatch.setattr(translation_report, "LATENCY_ROUNDS", {})
    monkeypatch.setattr(translation_report, "THROUGHPUT_ROUNDS", 1)
    monkeypatch.setattr(plots, "save", lambda figure, path: Figure().savefig(path, dpi=10))


@pytest.fixture(scope="session")
def deployed(tmp_path_factory):
    """A translator as `hfdistill export` leaves it: tracing one takes long, and those who run it share it."""
    from tiny_translators import export_by_command  # which loads the exporters' libraries

    return export_by_command(tmp_path_factory.mktemp("deployed"))


@pytest.fixture
def tokenizer():
    """A WordPiece tokenizer, the same in every run, that reads at most 64 tokens."""
    return make_tokenizer()


@pytest.fixture
def other_tokenizer():
    """A tokenizer with another vocabulary of the same kind: its words are spelled backwards."""
    return make_tokenizer([text[::-1] for text in TEXTS[:4]])


@pytest.fixture
def tiny_bert():
    """`tiny_bert(num_labels=3, seed=0, **config)`: a random BERT classifier without dropout.

    Its weights are large enough for every text to get visibly different logits.
    """

    def build(num_labels: int = 3, seed: int = 0, **config) -> BertForSequenceClassification:
        settings = {"vocab_size": 120, "max_position_embeddings": 64, "num_labels": num_labels, **config}
        with torch.random.fork_rng():
            return make_model(seed, spread=0.5, **settings).eval()

    return build


@pytest.fixture
def text_dataset() -> Dataset:
    """Thirty different sentences of many lengths, shuffled, with labels `bad`, `fair` and `good`."""
    texts = random.Random(0).sample(TEXTS, len(TEXTS))
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["bad", "fair", "good"])})
    return Dataset.from_dict({"sentence": texts, "label": [len(text) % 3 for text in texts]}, features=features)


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path; `.gz` compresses."""

    def write_file(name, content):
        path = tmp_path / name
        content = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write_file


@pytest.fixture
def read_task(write):
    """`text_classification_dataset` of a training file, as TSV rows of text and label, validated on the same."""

    def read(*rows, header="text\tlabel", validation=None, **options):
        train = write("train.tsv", "\n".join((header, *rows)) + "\n")
        if validation is not None:
            options["validation_file"] = write("validation.tsv", "\n".join((header, *validation)) + "\n")
        return text_classification_dataset(train, **{"validation_file": train, **options})

    return read
