"""FSDP: what Accelerate must know of the student, and what cannot be sharded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType, parse_flag_from_env
from transformers.utils import logging

from hfdistill.models.sharding import has_more_embeddings, layer_classes
from hfdistill.teachers import Teacher
from hfdistill.training.arguments import DistillationTrainingArguments

logger = logging.get_logger(__name__)


def settle_sharding(
    args: DistillationTrainingArguments, accelerator: Accelerator, student: Any, teachers: Sequence[Teacher]
) -> None:
    """Has Accelerate shard the student layer by layer, and refuses what would be lost or never be there.

    Raises:
        ValueError: for weights that would be saved in pieces, a teacher that only one process has the weights of, one
            that follows the student's, or a student with embeddings that cannot be sharded.
    """
    if accelerator.distributed_type != DistributedType.FSDP:
        _warn_of_ignored_sharding(args, accelerator)
        return
    plugin = accelerator.state.fsdp_plugin
    if "FULL_STATE_DICT" not in str(plugin.state_dict_type):
        raise ValueError(
            "a student that is saved in pieces is no folder for from_pretrained: set fsdp_state_dict_type to "
            "FULL_STATE_DICT."
        )
    if teachers and plugin.cpu_ram_efficient_loading:
        raise ValueError(
            "with fsdp_cpu_ram_efficient_loading only the first process loads a teacher's weights, and the others "
            "would learn from empty ones: set it to false."
        )
    if any(teacher.callback is not None for teacher in teachers):
        raise ValueError(
            "under FSDP no process has all weights of the student for its teacher to follow: leave it out."
        )
    if plugin.fsdp_version == 2 and has_more_embeddings(student):
        raise ValueError(
            f"a {type(student).__name__} has its token embeddings in more than two places, which Accelerate's FSDP2 "
            "cannot shard: use several processes without sharding."
        )
    if plugin.fsdp_version == 2 and plugin.transformer_cls_names_to_wrap is None:
        plugin.transformer_cls_names_to_wrap = layer_classes(student)


def _warn_of_ignored_sharding(args: DistillationTrainingArguments, accelerator: Accelerator) -> None:
    """Says that FSDP was asked for and each process holds the whole model, as on processors Accelerate has it."""
    asked = args.fsdp or parse_flag_from_env("ACCELERATE_USE_FSDP")
    if asked and args.process_index == 0:
        logger.warning(
            "FSDP was asked for (--fsdp, or Accelerate's configuration), and Accelerate does not shard on %s with %d "
            "process(es): each of them trains the whole model.",
            accelerator.device.type,
            args.world_size,
        )
