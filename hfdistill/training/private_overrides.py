"""What of `transformers.Trainer` this package overrides or calls that is not its public interface.

`transformers` may move or change any of it in any release. A test compares the table with the installed release, and
fails with the name of what has changed; then read the new method, and mend the override.
"""

#: The releases of `transformers` in which each method was read.
READ_IN = ("5.19.0", "5.23.0")

#: Each private method that a trainer here overrides, with its parameters, and the reason.
OVERRIDDEN: dict[str, tuple[tuple[str, ...], str]] = {
    "_clip_grad_norm": (("model",), "the objective's own parameters are clipped with the student"),
    "_get_grad_norm": (("model", "grad_norm"), "and are part of the norm that is logged"),
    "_get_train_sampler": (("train_dataset",), "labeled_share, max_tokens_per_batch"),
    "_load_best_model": ((), "weights that a family saves under other names; several online students"),
    "_load_from_checkpoint": (
        ("resume_from_checkpoint", "model"),
        "likewise",
    ),
    "_load_optimizer_and_scheduler": (("checkpoint",), "what the objective and the teacher have learned"),
    "_push_from_checkpoint": (("checkpoint_folder",), "no path of this machine is pushed"),
    "_save": (("output_dir", "state_dict"), "no path of this machine is saved; several online students"),
    "_save_checkpoint": (("model", "trial"), "a checkpoint is begun with a mark, and its settings"),
    "_save_optimizer_and_scheduler": (("output_dir",), "what the objective and the teacher have learned"),
    "_set_signature_columns_if_needed": ((), "remove_unused_columns keeps what the teacher reads"),
}

#: Each private method that is called and not overridden, and the public one that is replaced as a whole.
CALLED: dict[str, tuple[str, ...]] = {
    "_get_output_dir": ("trial",),
    "_pad_tensors_to_max_len": ("tensor", "max_length"),
    "_prepare_inputs": ("inputs",),
    "get_batch_samples": ("epoch_iterator", "num_batches", "device"),
}

#: Private attributes that are read or written.
ATTRIBUTES = ("_created_lr_scheduler", "_gen_kwargs", "_initial_global_step", "_signature_columns", "_train_batch_size")
