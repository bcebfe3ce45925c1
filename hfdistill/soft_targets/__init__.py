"""A teacher's outputs for a dataset, precomputed by all processes and kept on disk, keyed by what the teacher read."""

from hfdistill.soft_targets.dataset import soft_targets
from hfdistill.soft_targets.store import StaleSoftTargets

__all__ = ["StaleSoftTargets", "soft_targets"]
