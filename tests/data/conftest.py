"""Files to read, written on the spot."""

import gzip

import pytest

from hfdistill.data import text_classification_dataset


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
