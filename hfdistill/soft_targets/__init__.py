"""A teacher's answers to a dataset, made once: by all processes, kept on disk, each row under what the teacher read."""

from hfdistill.soft_targets.dataset import soft_targets
from hfdistill.soft_targets.store import StaleSoftTargets

__all__ = ["StaleSoftTargets", "soft_targets"]
