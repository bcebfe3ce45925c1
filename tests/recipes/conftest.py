"""Fixtures of the runs of `recipes/sst2.py`."""

from classification_runs import home, recipe  # noqa: F401
