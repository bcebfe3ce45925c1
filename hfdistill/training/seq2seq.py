"""Word-level distillation of encoder-decoders: the same trainer, one decision for each target token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate.utils import recursively_apply
from datasets import Dataset
from torch import Tensor, nn
from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerBase, Seq2SeqTrainer
from transformers.trainer_utils import EvalLoopOutput

from hfdistill.models.families import side_of
from hfdistill.models.inputs import main_input
from hfdistill.models.sound import SoundCollator, SoundPadding
from hfdistill.soft_targets.packing import TokenTargetCollator
from hfdistill.teachers import TEACHER_LOGITS
from hfdistill.teachers.seq2seq import as_seq2seq_teacher, check_output_sizes, decoder_inputs
from hfdistill.training.arguments import Seq2SeqDistillationTrainingArguments
from hfdistill.training.target_texts import check_target_texts
from hfdistill.training.trainer import DistillationTrainer


class Seq2SeqDistillationTrainer(DistillationTrainer, Seq2SeqTrainer):
    """A `transformers.Seq2SeqTrainer` whose student learns its teacher's distribution of each target token.

    An item of the loss is a target token: one whose label is not -100, the first included. Teacher and student read
    the same source and the same target before it; the decoder's inputs are made from the labels, once. The teacher
    must share the student's vocabulary. Where the rows carry `teacher_tokens` (made once by `token_soft_targets`),
    these are its predictions, and it is not run. Long vocabularies cost no memory in training: neither model's logits
    are ever held for the whole batch (see `training.chunked_loss`), where each term reads logits one by one, or layers.
    With `args.use_liger_kernel` Liger Kernel computes labels and soft targets where it computes the same; otherwise a
    warning names the reason.

    Args:
        model: The student, an encoder-decoder with a language model's head.
        args: `Seq2SeqDistillationTrainingArguments`.
        teacher: A model, a name or path, a `Teacher`, or `None` when the rows carry `teacher_tokens` or nothing in the
            objective needs one.
        **kwargs: `objective` as for `DistillationTrainer`, the others as for `Seq2SeqTrainer`. The rows bring
            `input_ids` and `labels`; without a `data_collator` they are padded by `DataCollatorForSeq2Seq`. Models that
            hear (Whisper) read `input_features`, as their feature extractor makes them.

    Evaluation reports what `DistillationTrainer` reports, of target tokens given the reference before them; with
    `predict_with_generate` the predictions that `compute_metrics` gets are the student's own translations.

    Raises:
        ImportError: when Liger Kernel is asked for and not installed.
        ValueError: when teacher and student have different vocabularies, a dataset has no `labels`, longer ones than
            the student has positions for, or transcripts that begin with the decoder's start token, or it carries
            stored `teacher_logits`, or when the data collator pads on the left.
    """

    args: Seq2SeqDistillationTrainingArguments
    #: How many rows the last batch had whose translations were made.
    _rows: int | None = None

    def __init__(
        self,
        model: nn.Module | None = None,
        args: Seq2SeqDistillationTrainingArguments | None = None,
        *,
        teacher: Any = None,
        **kwargs: Any,
    ) -> None:
        args = Seq2SeqDistillationTrainingArguments("tmp_trainer") if args is None else args
        _check_arguments(args)
        for name in ("train_dataset", "eval_dataset"):
            _check_columns(name, kwargs.get(name))
        tokenizer = kwargs.get("processing_class")
        hears = isinstance(model, nn.Module) and main_input(model) != "input_ids"
        if kwargs.get("data_collator") is None and hears:
            kwargs["data_collator"] = SoundCollator(SoundPadding.of(model))
        if kwargs.get("data_collator") is None and isinstance(tokenizer, PreTrainedTokenizerBase):
            kwargs["data_collator"] = DataCollatorForSeq2Seq(tokenizer)
        _check_padding_side(kwargs.get("data_collator"))
        super().__init__(model, args, teacher=as_seq2seq_teacher(teacher, args.teacher_dtype), **kwargs)
        check_output_sizes(self.teacher, self.model)
        student = self.accelerator.unwrap_model(self.model)
        classes = student.get_output_embeddings().weight.shape[0]
        tokenizer = getattr(self.processing_class, "tokenizer", self.processing_class)
        self.data_collator = TokenTargetCollator(self.data_collator, tokenizer, classes)

    def _compare_labels(self, name: str, dataset: Any) -> None:
        check_target_texts(name, dataset, self.accelerator.unwrap_model(self.model))
        super()._compare_labels(name, dataset)

    def _settle_problem_type(self, inputs: Mapping[str, Any]) -> None:
        """A model that writes text has no problem type, and none must get into its config."""

    # ---- The loss ----

    def _start_objective(self, batches: list[dict[str, Any]]) -> None:
        super()._start_objective([self._with_decoder_inputs(batch) for batch in batches])

    def _forward_both(self, model: nn.Module, inputs: Mapping[str, Any]) -> tuple[Any, Any, Mapping[str, Any]]:
        return super()._forward_both(model, self._with_decoder_inputs(inputs))

    def _with_decoder_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if inputs.get("labels") is None:
            raise ValueError("the batch has no labels: word by word a student learns along target texts.")
        sideless = [output for output in self.current_objective.outputs if not side_of(output)[0]]
        if sideless:
            raise ValueError(
                f"the objective reads {', '.join(sorted(sideless))}, which an encoder and a decoder both have: for an "
                "encoder-decoder take encoder_hidden_states, decoder_hidden_states and the like, or the terms on "
                "logits, labels, soft_targets and decoupled."
            )
        shared = inputs.get("decoder_input_ids")
        if shared is None:
            shared = decoder_inputs(self.accelerator.unwrap_model(self.model), inputs["labels"])
        # Without a cache: it is for generation, and would be kept until the backward pass.
        return {**inputs, "decoder_input_ids": shared, "use_cache": False}

    @property
    def _chooses_tokens(self) -> bool:
        return True

    # ---- Evaluation ----

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
        **gen_kwargs: Any,
    ) -> tuple[Any, Tensor | None, Tensor | None]:
        """The losses of a batch, and the student's predictions: its translations with `predict_with_generate`."""
        if self.args.predict_with_generate and inputs.get("labels") is None:  # texts to translate, and no reference
            return (
                None,
                None if prediction_loss_only else self._generate(self._prepare_inputs(inputs), gen_kwargs),
                None,
            )
        step = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        if prediction_loss_only or not self.args.predict_with_generate:
            return step
        inputs = self._prepare_inputs(inputs)
        written = self._generate(inputs, gen_kwargs)
        self._rows = len(inputs["labels"])
        return step[0], self._padded(written), self._padded(inputs["labels"])

    @torch.no_grad()
    def _generate(self, inputs: Mapping[str, Any], gen_kwargs: dict[str, Any]) -> Tensor:
        given = gen_kwargs or getattr(self, "_gen_kwargs", {})
        given = {name: value for name, value in given.items() if value is not None}
        source, labels = self._student_inputs(inputs), inputs.get("labels")
        begun = source.get("decoder_input_ids")
        if begun is not None and labels is not None and begun.shape == labels.shape:  # made of the labels
            source = {name: source[name] for name in source if not name.startswith("decoder_")}
        with self.compute_loss_context_manager():
            written = self.accelerator.unwrap_model(self.model).generate(**source, **given)
        return getattr(written, "sequences", written)  # a config may ask for scores beside them

    def _padded(self, tokens: Tensor) -> Tensor:
        """Token ids as long as `Seq2SeqTrainer` makes them: by the generation config's length, where that is longer."""
        settings: Any = self.accelerator.unwrap_model(self.model).generation_config
        length = settings.max_length or 20  # `GenerationConfig`'s own, where it is left open
        if tokens.shape[1] < length:
            return self._pad_tensors_to_max_len(tokens, length)
        if settings.max_new_tokens is not None and tokens.shape[1] < settings.max_new_tokens + 1:
            return self._pad_tensors_to_max_len(tokens, settings.max_new_tokens + 1)
        return tokens

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As in `DistillationTrainer`; rows that only fill up the last batch of all ranks count for no metric."""
        self._rows = None
        self.gather_function = self._gather
        return super().evaluation_loop(*args, **kwargs)

    def _gather(self, tensors: Any) -> Any:
        """As `gather_for_metrics`, which knows of one entry a row: `num_return_sequences` makes several."""
        state = self.accelerator.gradient_state
        if self._rows is None or not state.end_of_dataloader or state.remainder <= 0:
            return self.accelerator.gather_for_metrics(tensors)
        rows, remainder = self._rows * self.accelerator.num_processes, state.remainder
        return recursively_apply(lambda each: each[: remainder * (len(each) // rows)], self.accelerator.gather(tensors))


def _check_arguments(args: Any) -> None:
    if not isinstance(args, Seq2SeqDistillationTrainingArguments):
        raise TypeError(
            f"args must be Seq2SeqDistillationTrainingArguments here, got {type(args).__name__}: they also say how to "
            "generate."
        )


def _check_padding_side(data_collator: Any) -> None:
    if getattr(getattr(data_collator, "tokenizer", None), "padding_side", None) == "left":
        raise ValueError(
            "the data collator pads on the left, so that a text's positions, and its loss, would depend on what else "
            "is in its batch: set tokenizer.padding_side = 'right'."
        )


def _check_columns(name: str, dataset: Any) -> None:
    for split in dataset.values() if isinstance(dataset, dict) else [dataset]:
        columns = split.column_names if isinstance(split, Dataset) else []
        if TEACHER_LOGITS in columns:
            raise ValueError(
                f"{name} carries {TEACHER_LOGITS}, one prediction for a row, and here a teacher predicts for each "
                "target token: remove that column and pass teacher=..., or keep those with token_soft_targets."
            )
        if columns and "labels" not in columns:
            raise ValueError(
                f"{name} has no column labels, only {', '.join(columns)}: tokenize the target texts with "
                "tokenizer(text_target=...) and keep their input_ids as labels."
            )
