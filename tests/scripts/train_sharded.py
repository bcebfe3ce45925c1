"""Trains tiny cases on two processes that shard student and teacher by FSDP2: `train_sharded.py OUT`.

Accelerate shards on accelerators alone, though torch does on processors as well: here it is told that it may.
"""

import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import IN_ORDER, live, make_model, make_rows, make_trainer, mixed, stored, weights
from tiny_seq2seq import make_pairs, make_seq2seq, make_seq2seq_trainer

from hfdistill import MovingAverageTeacher, train_and_save

_INIT = AcceleratorState.__init__


def init_and_shard(self, *args, fsdp_plugin=None, **kwargs):
    _INIT(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


def on_layers():
    terms = ["soft_targets:1", "minilm:1", "hidden_states:1"]
    return make_model(1), make_rows(), make_model(2, num_hidden_layers=4), {"terms": terms, **IN_ORDER}


def minilm_alone():
    """Of the last layer the queries, keys and values are read, and not its output."""
    return make_model(1), make_rows(), make_model(2, num_hidden_layers=4), {"terms": ["minilm:1"], **IN_ORDER}


CASES = {case.__name__: case for case in (stored, live, mixed, on_layers, minilm_alone)}


def new_trainer(out, name, **changes):
    """A trainer of a case, on all rows of a step."""
    student, rows, teacher, settings = CASES[name]()
    return make_trainer(out, student, rows, teacher=teacher, given={"eval_dataset": rows}, **settings, **changes)


def sharded(model):
    return all(isinstance(parameter, DTensor) for parameter in model.parameters())


def train(out, name):
    trainer = new_trainer(out, name, fsdp=True, per_device_train_batch_size=4)
    trainer.train()
    return {
        "logs": trainer.state.log_history[:-1],
        "metrics": trainer.evaluate(),
        "weights": trainer.accelerator.get_state_dict(trainer.model),
        "sharded": sharded(trainer.model) and (trainer.teacher is None or sharded(trainer.teacher._sharded)),
    }


def save(out):
    """What a run leaves to its main process: the folder, the student and its teacher, whole."""
    trainer = new_trainer(out / "saved", "live", fsdp=True, per_device_train_batch_size=4, save_strategy="epoch")
    train_and_save(trainer, resume=False)
    return {"weights": weights(trainer.model), "teacher": weights(trainer.teacher.model)}


#: What a run is refused for: words of the sentence, and its arguments.
REFUSED = {
    "fsdp_state_dict_type": {"fsdp_config": {"state_dict_type": "SHARDED_STATE_DICT"}},
    "fsdp_cpu_ram_efficient_loading": {"fsdp_config": {"cpu_ram_efficient_loading": True}},
    "no process has all weights": {"teacher": MovingAverageTeacher(make_model(1))},
}


def sentence(make):
    """What is said against a run."""
    with pytest.raises(ValueError) as refused:
        make()
    return str(refused.value)


def refusals(out):
    def refused(given):
        return sentence(lambda: make_trainer(out, make_model(1), make_rows(), **{**shards, **given}))

    shards = {"teacher": make_model(2), "fsdp": True}
    said = {words: refused(given) for words, given in REFUSED.items()}
    translators, teacher = (make_seq2seq(seed=1), make_pairs()), make_seq2seq(seed=2)
    said["in more than two places"] = sentence(
        lambda: make_seq2seq_trainer(out, *translators, teacher=teacher, fsdp=True)
    )
    return said


if __name__ == "__main__":
    AcceleratorState.__init__ = init_and_shard
    out = Path(sys.argv[1])
    results = {name: train(out, name) for name in CASES}
    results["saved"], results["refused"] = save(out), refusals(out)
    torch.save(results, out / f"rank{torch.distributed.get_rank()}.pt")
    torch.distributed.destroy_process_group()
