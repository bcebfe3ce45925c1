"""The trainer of encoders on raw text, which measures them by what they know."""

from __future__ import annotations

from typing import Any

from accelerate.utils import broadcast_object_list

from hfdistill.models.heads import head_of
from hfdistill.models.sharding import put_together
from hfdistill.models.wrappers import unwrapped
from hfdistill.tasks.language_modeling.metrics import masked_accuracy, most_likely
from hfdistill.tasks.language_modeling.probe import Probe
from hfdistill.training.trainer import DistillationTrainer

#: What a bare encoder learns where the arguments do not say.
BARE_TERMS = ("minilm:1", "hidden_states:1")


class EncoderTrainer(DistillationTrainer):
    """A `DistillationTrainer` of encoders, which measures how many masked tokens they predict right, and by a probe.

    Args:
        model: The student, bare or one that fills in masked tokens.
        args: As for `DistillationTrainer`; without terms or stages a bare student learns `BARE_TERMS`.
        probe: Adds `probe_accuracy` to each evaluation.
        **kwargs: As for `DistillationTrainer`.
    """

    def __init__(self, model: Any, args: Any, *, probe: Probe | None = None, **kwargs: Any) -> None:
        if head_of(model).gives_logits:
            measures = {"compute_metrics": masked_accuracy, "preprocess_logits_for_metrics": most_likely}
            kwargs = {**measures, **kwargs}
        elif not (args.terms or args.stages):
            args.terms = list(BARE_TERMS)
        super().__init__(model, args, **kwargs)
        self.probe = probe

    def further_measures(self) -> dict[str, float]:
        """The probe's accuracy, which the main process finds, so that all choose alike by it."""
        if self.probe is None:
            return {}
        model = put_together(self.model) if self.accelerator.is_fsdp2 else unwrapped(self.model)
        found = [self.probe.accuracy(model) if self.args.process_index == 0 else None]
        return {"probe_accuracy": broadcast_object_list(found)[0]}
