"""Every argument of `TrainingArguments` does what it does with the stock trainer."""

import pytest
from both_trainers import assert_same_run, train_both

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
        for kind, settings in {
            "linear": {},
            "cosine": {},
            "cosine_with_restarts": {"num_cycles": 2},
            "polynomial": {"power": 2.0},
            "constant": {},
            "constant_with_warmup": {},
            "inverse_sqrt": {"timescale": 3},
            "cosine_with_min_lr": {"min_lr": 0.01},
            "cosine_warmup_with_min_lr": {"min_lr": 0.01},
            "warmup_stable_decay": {"num_decay_steps": 3},
        }.items()
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
        for kind in ("adamw_torch", "adamw_torch_fused", "rmsprop", "adagrad")
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
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
def test_an_argument_means_what_it_means_to_the_stock_trainer(tmp_path, arguments):
    assert_same_run(*train_both(tmp_path, **arguments))
