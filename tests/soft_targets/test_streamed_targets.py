"""What is made once of many rows is written to disk as it is made, a few rows at a time."""

import pytest
from processes import run_script
from tiny import make_tokenizer
from tiny_media import make_writer, make_writer_tokenizer, writer_rows
from tiny_seq2seq import make_pairs, make_seq2seq

from hfdistill import pseudo_transcripts, token_soft_targets


def test_columns_of_targets_are_on_disk_and_those_of_rows_that_stay_are_found_again(tmp_path):
    """They were Python lists; a store that other rows were added to made a whole new column of the same ones."""
    pairs, recordings = make_pairs(12), writer_rows()

    def tokens(rows):
        return token_soft_targets(make_seq2seq(seed=2), rows, make_tokenizer(), k=6, store=tmp_path / "tokens")

    def transcripts(rows):
        how = {"max_wer": None, "store": tmp_path / "transcripts", "max_length": 8}
        return pseudo_transcripts(make_writer(2), rows, make_writer_tokenizer(), **how)

    for made, rows, others in ((tokens, pairs, make_pairs(3, seed=9)), (transcripts, recordings, writer_rows(20))):
        first = made(rows)
        files = [one["filename"] for one in first.cache_files]
        assert files and [one["filename"] for one in made(others).cache_files] != files
        again = made(rows)
        assert [one["filename"] for one in again.cache_files] == files and again[:] == first[:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tokens", "texts"])
def test_memory_does_not_grow_with_the_rows(tmp_path, kind):
    """Of packed distributions; 90,000 rows more took 185 MiB more."""
    peaks = []
    for count in (10_000, 100_000):
        done = run_script("stream_targets.py", kind, count, HF_HOME=str(tmp_path / "home"))
        assert done.returncode == 0, done.stderr[-3000:]
        peaks.append(float(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 40, peaks
