"""Every argument of `TrainingArguments` does what it does with the stock trainer, on every kind of labels."""

import dataclasses
import re
import signal
from pathlib import Path

import pytest
from both_trainers import assert_same_run, figures, train_both
from tiny import MULTI, REGRESSION, make_model, make_rows, make_tokenizer
from transformers import (
    BertForTokenClassification,
    DataCollatorForTokenClassification,
    Seq2SeqTrainingArguments,
    TrainerCallback,
)

EVALUATED = {"eval_strategy": "steps", "eval_steps": 2}
SAVED = {"save_strategy": "steps", "save_steps": 2}

#: Arguments that are given together, by what they are about.
ARGUMENTS = {
    "nothing": {},
    "max_steps": {"max_steps": 5},
    "fraction of an epoch": {"num_train_epochs": 1.5},
    "learning_rate": {"learning_rate": 0.2, "weight_decay": 0.1},
    **{
        f"lr_scheduler_type {kind}": {"lr_scheduler_type": kind, "lr_scheduler_kwargs": settings, "warmup_steps": 2}
        for kind, settings in {"linear": {}, "cosine": {}, "warmup_stable_decay": {"num_decay_steps": 3}}.items()
    },
    "lr_scheduler_type reduce_lr_on_plateau": {
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"patience": 0, "factor": 0.5},
        "metric_for_best_model": "loss",
        "greater_is_better": False,
        **EVALUATED,
    },
    "lr_scheduler_type greedy": {"lr_scheduler_type": "greedy", "metric_for_best_model": "loss", **EVALUATED},
    "warmup as a share": {"warmup_steps": 0.5},
    # An epsilon that noise, as in the gradient of a key's bias, does not get past.
    **{
        f"optim {kind}": {"optim": kind, "learning_rate": 0.01, "adam_epsilon": 1e-2}
        for kind in ("adamw_torch", "adagrad")
    },
    "adam_beta1 adam_beta2": {"optim": "adamw_torch", "adam_beta1": 0.5, "adam_beta2": 0.9, "adam_epsilon": 1e-2},
    "optim_args": {"optim": "rmsprop", "optim_args": "momentum=0.5,eps=0.1", "learning_rate": 0.01},
    "no max_grad_norm": {"max_grad_norm": 0.0},
    "label_smoothing_factor": {"label_smoothing_factor": 0.2},
    "bf16": {"bf16": True},
    "activation_checkpointing": {
        "activation_checkpointing": True,
        "activation_checkpointing_kwargs": {"use_reentrant": False, "every_n_layers": 2},
    },
    "gradient_checkpointing": {"gradient_checkpointing": True},
    "neftune_noise_alpha": {"neftune_noise_alpha": 5.0},
    "torch_empty_cache_steps": {"torch_empty_cache_steps": 2},
    "logging_steps": {"logging_steps": 3, "logging_first_step": True},
    "logging_steps as a share": {"logging_steps": 0.25},
    "logging_strategy epoch": {"logging_strategy": "epoch"},
    "logging_strategy no": {"logging_strategy": "no"},
    "include_num_input_tokens_seen all": {"include_num_input_tokens_seen": "all"},
    "include_num_input_tokens_seen non_padding": {"include_num_input_tokens_seen": "non_padding"},
    "eval_strategy epoch": {"eval_strategy": "epoch", "eval_on_start": True},
    "eval_delay": {**EVALUATED, "eval_delay": 4},
    "save_strategy epoch": {"save_strategy": "epoch"},
    "save_total_limit": {**SAVED, "save_total_limit": 2},
    "save_only_model": {**SAVED, "save_only_model": True},
    "train_sampling_strategy sequential": {"train_sampling_strategy": "sequential"},
    "train_sampling_strategy group_by_length": {"train_sampling_strategy": "group_by_length"},
    "data_seed": {"data_seed": 11},
    "dataloader_drop_last": {"per_device_train_batch_size": 5, "dataloader_drop_last": True, **EVALUATED},
    "a last batch that is cut": {"per_device_train_batch_size": 5},
    "dataloader workers": {
        "dataloader_num_workers": 1,
        "dataloader_persistent_workers": True,
        "dataloader_prefetch_factor": 2,
        "dataloader_in_order": True,
        **EVALUATED,
    },
    "dataloader_pin_memory": {"dataloader_pin_memory": False},
    "accelerator_config": {"accelerator_config": {"split_batches": True, "use_seedable_sampler": False}},
    "remove_unused_columns": {"remove_unused_columns": False},
    "auto_find_batch_size": {"auto_find_batch_size": True},
    "skip_memory_metrics": {"skip_memory_metrics": False},
    "use_cache": {"use_cache": True},
    "length_column_name": {
        "train_sampling_strategy": "group_by_length",
        "length_column_name": "size",
        "train_dataset": lambda: (rows := make_rows()).add_column(
            "size", [index * 7 % 16 for index in range(len(rows))]
        ),
    },
    "label_names": {"label_names": ["labels"]},
    "for scripts": {"do_train": True, "do_eval": True, "do_predict": True, "run_name": "a run", "log_level": "error"},
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
def test_an_argument_means_what_it_means_to_the_stock_trainer(tmp_path, arguments):
    assert_same_run(*train_both(tmp_path, **arguments))


def tagged_rows():
    rows = make_rows()
    tags = [[-100, *(token % 3 for token in ids[1:-1]), -100] for ids in rows["input_ids"]]
    return rows.remove_columns("labels").add_column("labels", tags)


def tagger():
    return BertForTokenClassification(make_model(1, dropout=0.1).config)


def adapted():
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=2, target_modules=["query", "value"], modules_to_save=["classifier"], lora_dropout=0.1)
    return peft.get_peft_model(make_model(1, dropout=0.1), lora)


KINDS = {
    "many labels": {
        "model": lambda: make_model(1, dropout=0.1, problem_type=MULTI),
        "train_dataset": lambda: make_rows(problem_type=MULTI),
        "eval_dataset": lambda: make_rows(8, MULTI),
    },
    "many labels, problem_type not set": {
        "train_dataset": lambda: make_rows(problem_type=MULTI),
        "eval_dataset": lambda: make_rows(8, MULTI),
    },
    "a number": {
        "model": lambda: make_model(1, dropout=0.1, num_labels=1),
        "train_dataset": lambda: make_rows(problem_type=REGRESSION),
        "eval_dataset": lambda: make_rows(8, REGRESSION),
    },
    "adapters": {"model": adapted, "save_strategy": "epoch"},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_of_labels_is_learned_alike(tmp_path, kind):
    stock, ours = train_both(tmp_path, eval_strategy="epoch", **kind)
    assert_same_run(stock, ours)
    assert stock.model.config.problem_type == ours.model.config.problem_type


def test_labels_of_tokens_are_learned_alike(tmp_path):
    """The evaluation is of rows of one batch: over several the stock trainer takes the mean of means."""
    kind = {"train_dataset": tagged_rows, "eval_dataset": lambda: tagged_rows().select(range(4))}
    collator = DataCollatorForTokenClassification(make_tokenizer())
    assert_same_run(*train_both(tmp_path, model=tagger, data_collator=collator, eval_strategy="epoch", **kind))


def broken():
    model = make_model(1)
    model.classifier.bias.data[0] = float("nan")
    return model


@pytest.mark.parametrize("filtered", [True, False])
def test_losses_that_are_no_numbers_are_logged_alike(tmp_path, filtered):
    arguments = {"model": broken, "logging_nan_inf_filter": filtered, "max_steps": 4}
    logs = [
        [str(figures(log).get("loss")) for log in one.state.log_history] for one in train_both(tmp_path, **arguments)
    ]
    assert logs[0][1:] == logs[1][1:]
    assert ("nan" in logs[0]) != filtered


class Terminate(TrainerCallback):
    """What a cluster does to a process whose time is over."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2:
            signal.raise_signal(signal.SIGTERM)


def test_a_terminated_run_saves_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("threading.Timer.start", lambda timer: timer.function())  # without the seconds of grace
    stock, ours = train_both(tmp_path, callbacks=lambda: [Terminate()], enable_jit_checkpoint=True)
    assert_same_run(stock, ours)
    assert Path(ours.args.output_dir, "checkpoint-2", "model.safetensors").exists()
    assert ours.state.global_step < ours.state.max_steps


#: What is not compared here, and why.
ELSEWHERE = {
    # Tested with ours in other files: folders pushed, compiled models, processes, parallelism.
    **dict.fromkeys(["push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy"], "the Hub"),
    **dict.fromkeys(["hub_always_push", "hub_revision"], "the Hub"),
    **dict.fromkeys(["torch_compile", "torch_compile_backend", "torch_compile_mode"], "compiled models"),
    **dict.fromkeys(["use_liger_kernel", "liger_kernel_config"], "Liger Kernel"),
    # What transformers does around the training, in code that we do not override.
    "full_determinism": "seeds",
    "restore_callback_states_from_checkpoint": "callbacks",
    "average_tokens_across_devices": "the counts are always of all processes",
    "parallelism_config": "refused where it cuts texts",
    # Without an effect on one process of a CPU.
    **dict.fromkeys(["fp16", "fp16_full_eval", "tf32", "deepspeed", "fsdp", "fsdp_config"], "accelerators"),
    **dict.fromkeys(["log_on_each_node", "save_on_each_node", "log_level_replica", "local_rank"], "processes"),
    **dict.fromkeys(["ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers"], "processes"),
    **dict.fromkeys(["ddp_static_graph", "ddp_backend", "ddp_timeout"], "processes"),
    # Of other packages, or refused by the stock trainer for these models.
    **dict.fromkeys(["project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"], "trackers"),
    "optim_target_modules": "optimizers of other packages",
    "debug": "hooks that cannot look at boolean masks",
    "dataloader_multiprocessing_context": "how workers are started; their collator is pickled in a test",
    "gradient_checkpointing_kwargs": "the older name of activation_checkpointing_kwargs",
    "sortish_sampler": "read by nobody",
}


def test_no_argument_is_left_out():
    """A field that `transformers` adds is compared, or stands above with the reason why not."""
    here = Path(__file__).parent
    sources = "".join(path.read_text() for path in (*here.glob("*_contract.py"), here / "both_trainers.py"))
    start = sources.index("\nELSEWHERE = {")
    compared = set(re.findall(r"\w+", sources[:start] + sources[sources.index("\n}\n", start) :]))
    fields = {field.name for field in dataclasses.fields(Seq2SeqTrainingArguments)}
    assert fields - compared - ELSEWHERE.keys() == set()
    assert ELSEWHERE.keys() & compared <= {"fp16"}
