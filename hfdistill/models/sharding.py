"""Models sharded over processes by FSDP2: what is sharded together, a copy that is, and one put together again."""

from __future__ import annotations

import copy
from typing import Any

from accelerate import Accelerator
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from hfdistill.models.wrappers import device_of


def layer_classes(model: Any) -> list[str]:
    """The classes of the modules that are sharded one by one: those that `transformers` keeps on one device.

    None of them holds the token embeddings, as one of BERT's does: Accelerate shards these by themselves, and `torch`
    refuses to shard a tensor twice.
    """
    names, embeddings = model._no_split_modules or (), model.get_input_embeddings()
    parts = [module for module in model.modules() if type(module).__name__ in names]
    holders = {type(module).__name__ for module in parts if any(part is embeddings for part in module.modules())}
    return [name for name in names if name not in holders]


def has_more_embeddings(model: Any) -> bool:
    """Whether further modules share the table of the token embeddings, as encoder and decoder of Marian do.

    Accelerate shards the input's and the output's together, and `torch` refuses a third.
    """
    known = (model.get_input_embeddings(), model.get_output_embeddings())
    table = getattr(known[0], "weight", None)
    others = (module for module in model.modules() if all(module is not one for one in known))
    return table is not None and any(getattr(module, "weight", None) is table for module in others)


def sharded_copy(model: Any, accelerator: Accelerator) -> Any:
    """A copy of a model for inference, sharded over all processes; each must run it as often as the others.

    The model itself stays whole, where it is, for what one process does alone.
    """
    mesh, layers = accelerator.torch_device_mesh, layer_classes(model)
    if mesh is not None:
        mesh = mesh[tuple(accelerator.parallelism_config.fsdp_dim_names)]
    sharded = copy.deepcopy(model)
    for module in list(sharded.modules()):
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh)
    return fully_shard(sharded, mesh=mesh, reshard_after_forward=True)  # there is no backward pass to keep it for


def put_together(model: Any) -> Any:
    """A whole model with the weights of a sharded one, on each process; all of them must call it."""
    plain: Any = next(kind for kind in type(model).__mro__ if not issubclass(kind, FSDPModule))
    whole = plain(model.config)
    shards = model.state_dict()
    whole.load_state_dict(
        {name: one.full_tensor() if isinstance(one, DTensor) else one for name, one in shards.items()}
    )
    return whole.to(device_of(model))
