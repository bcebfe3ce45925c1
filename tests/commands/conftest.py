"""Fixtures of the runs of `hfdistill distill`."""

from classification_runs import distill, home, refusal  # noqa: F401
