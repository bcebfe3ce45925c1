"""Running student and teacher on a batch: what each of them reads of it, and the datasets it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import DataCollatorForTokenClassification, PreTrainedTokenizerBase, TrainerCallback
from transformers.utils import logging

from hfdistill.data.choices import ChoiceCollator
from hfdistill.data.few_labels import labeled_share_sampler
from hfdistill.losses import COUNTED_ROWS, infer_problem_type
from hfdistill.models.causal_lm import predicts_next_token, takes_positions, takes_shifted_labels, with_positions
from hfdistill.models.dispatched import placed
from hfdistill.models.heads import (
    CHOICE_MASK,
    ITEM_MASK,
    ChoiceHead,
    CTCHead,
    EmbeddingHead,
    RepresentationHead,
    TokenHead,
    VocabularyHead,
    head_of,
)
from hfdistill.models.inputs import max_positions, taken_inputs, token_inputs
from hfdistill.models.intermediate_outputs import forward
from hfdistill.models.mixed_precision import warn_if_emulated
from hfdistill.models.packed_texts import SEGMENT_IDS, as_packed, check_packed
from hfdistill.models.sequences import SEQUENCE_MASK, SequenceMasks
from hfdistill.models.sound import FrameLengths, SoundCollator, SoundPadding
from hfdistill.models.wrappers import is_plain_module, unwrapped
from hfdistill.soft_targets.packing import TokenTargetCollator
from hfdistill.teachers import (
    TEACHER_DISAGREEMENT,
    ModelTeacher,
    Teacher,
    TeacherContext,
    TeacherSignal,
    as_language_model_teacher,
    as_teacher,
    check_finite,
)
from hfdistill.teachers.columns import TeacherCollator, add_teacher_columns, shared_collator, stand_in_config
from hfdistill.teachers.seq2seq import check_output_sizes
from hfdistill.teachers.vocabularies import check_vocabularies
from hfdistill.training.arguments import DistillationTrainingArguments
from hfdistill.training.checks import (
    check_divisible,
    check_predictions,
    check_problem_types,
    check_signal,
    check_tokens,
    refuse_packed,
    refuse_stored_answers,
    refuse_what_cannot_work,
)
from hfdistill.training.evaluation import EvaluatingTrainer
from hfdistill.training.label_columns import LabelCollator, check_labels
from hfdistill.training.objective import Objective
from hfdistill.training.sharding import settle_sharding
from hfdistill.training.signals import SignalSource
from hfdistill.training.token_budget import TokenBudgetSampler, row_lengths
from hfdistill.training.transcripts import check_transcripts

logger = logging.get_logger(__name__)


class ForwardTrainer(EvaluatingTrainer):
    """A trainer that runs student and teacher on the same batch; its arguments are those of `DistillationTrainer`."""

    args: DistillationTrainingArguments
    #: Whether packed rows have come, and all models keep their texts apart.
    _packs = False

    def __init__(
        self,
        model: nn.Module | None = None,
        args: DistillationTrainingArguments | None = None,
        *,
        teacher: Any = None,
        objective: Objective | None = None,
        **kwargs: Any,
    ) -> None:
        args = DistillationTrainingArguments("tmp_trainer") if args is None else args
        refuse_what_cannot_work(model, args, teacher, {**kwargs, "objective": objective})
        if predicts_next_token(model):
            teacher = as_language_model_teacher(teacher, args.teacher_dtype)
        self.teacher: Teacher | None = as_teacher(teacher, args.teacher_dtype)
        self._signals = SignalSource(self.teacher, TeacherContext(combination=args.combination))
        self._given_objective = objective
        for name in ("train_dataset", "eval_dataset"):
            if kwargs.get("data_collator") is None:
                check_tokens(name, kwargs.get(name), model, kwargs.get("processing_class"))
            kwargs[name] = add_teacher_columns(kwargs.get(name), self.teacher)
        if kwargs.get("data_collator") is None:
            kwargs["data_collator"] = _usual_collator(model, kwargs.get("processing_class"))
        super().__init__(model=_in_dtype(_alone(model), args.student_dtype), args=args, **kwargs)
        self._settle_columns()
        warn_if_emulated("bfloat16" if args.bf16 else args.student_dtype, "bf16" if args.bf16 else "student_dtype")
        if hasattr(kwargs.get("data_collator"), "set_epoch"):
            self.add_callback(_EpochOf(kwargs["data_collator"]))
        settle_sharding(args, self.accelerator, self.model, self._members)
        self._compare_labels("train_dataset", self.train_dataset)
        self._compare_labels("eval_dataset", self.eval_dataset)
        self._settle_predictions(self.accelerator.unwrap_model(self.model))
        if self.teacher is not None:
            self._settle_teacher(self.teacher)
        self._seen_datasets: dict[str, Any] = {"train_dataset": self.train_dataset, "eval_dataset": self.eval_dataset}

    def _settle_columns(self) -> None:
        """What the student reads of a batch, and the collator that pads the rows to one."""
        if is_plain_module(self.model):
            self._stand_in = stand_in_config(self.teacher, self.train_dataset, self.eval_dataset)
        if self.args.label_names is None and not self.label_names:
            self.label_names = ["labels"]  # which `Trainer` looks for in the signature of a model's class
        # Read once: what trains a model may replace its `forward`.
        self._student_reads = token_inputs(self.model)
        self._student_lacks = self._not_for_the_student()
        self.data_collator = shared_collator(self.data_collator, self.processing_class, self.model, self.teacher)
        self._settle_alpha()
        if self._label_space.item is not None:
            self.data_collator = LabelCollator(self.data_collator, self._label_space)

    def _settle_teacher(self, teacher: Teacher) -> None:
        """Puts the teacher's labels in the student's order, and refuses one that cannot teach this student."""
        teacher.align(self._student_config)
        check_problem_types(self._teacher_problem_type, self._problem_type)
        check_vocabularies(teacher, self.model, self.processing_class)
        self.data_collator = TeacherCollator(self.data_collator, teacher)
        for member in self._members:
            if member.callback is not None:
                self.add_callback(member.callback)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """A fresh student from `model_init`, in `student_dtype`; its objective starts afresh as well."""
        self.forget_objective()
        return _in_dtype(super().call_model_init(trial), self.args.student_dtype)

    # ---- The datasets ----

    def create_accelerator_and_postprocess(self) -> None:
        """As in `Trainer`; of a stream each process reads its rows: one that read for all would join unlike widths."""
        super().create_accelerator_and_postprocess()
        loading = self.accelerator.dataloader_config
        if loading.dispatch_batches is None:
            loading.dispatch_batches = False

    def _see_replaced_datasets(self) -> None:
        """Checks datasets that have taken the places of the first ones: `trainer.train_dataset = ...`."""
        for name, seen in self._seen_datasets.items():
            if getattr(self, name) is not seen:
                self._compare_labels(name, getattr(self, name))
                self._seen_datasets[name] = add_teacher_columns(getattr(self, name), self.teacher)
                setattr(self, name, self._seen_datasets[name])

    def _compare_labels(self, name: str, dataset: Any) -> None:
        """Refuses rows whose labels are not the student's; finds the order of labels of their stored predictions."""
        check_labels(name, dataset, self._label_space)
        if isinstance(head_of(self.model), CTCHead):
            config: Any = self._student_config
            check_transcripts(name, dataset, FrameLengths.of(self.model), config.pad_token_id)
        self._signals.align(self._student_config, self.train_dataset, self.eval_dataset, dataset)

    def get_train_dataloader(self) -> DataLoader:
        """As in `Trainer`; a dataset that took the place of the first one is checked as that was."""
        self._see_replaced_datasets()
        # Each call of `train`, trial of a search, and new attempt of `auto_find_batch_size` begins here.
        self._forget_logs()
        return super().get_train_dataloader()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        args = self.args
        dataset = self.train_dataset if train_dataset is None else train_dataset
        seed = args.seed if args.data_seed is None else args.data_seed

        def epoch() -> int:
            return int(self.state.epoch or 0)

        if args.labeled_share is not None:
            return labeled_share_sampler(dataset, args.labeled_share, seed, epoch)
        if args.max_tokens_per_batch is not None:
            lengths = row_lengths(dataset, args.length_column_name)
            ranks = (args.world_size, args.process_index, args.gradient_accumulation_steps)
            return TokenBudgetSampler(lengths, args.max_tokens_per_batch, *ranks, seed, epoch)
        return super()._get_train_sampler(dataset)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """As in `Trainer`; a dataset given here, and not when the trainer was made, gets its teacher columns first."""
        self._see_replaced_datasets()
        if isinstance(eval_dataset, str):
            return super().get_eval_dataloader(eval_dataset)
        self._compare_labels("eval_dataset", eval_dataset)
        if eval_dataset is not self.eval_dataset:
            eval_dataset = add_teacher_columns(eval_dataset, self.teacher)
        return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """As in `Trainer`, with the columns that the teacher reads."""
        self._compare_labels("test_dataset", test_dataset)
        return super().get_test_dataloader(add_teacher_columns(test_dataset, self.teacher))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save and isinstance(self._head, EmbeddingHead):
            student, tokenizer = self.accelerator.unwrap_model(self.model), cast(Any, self.processing_class)
            length = max_positions(student, tokenizer)
            self._head.pooling.write(output_dir or str(self.args.output_dir), student.config.hidden_size, length)

    # ---- What each of the two reads ----

    @property
    def _teacher_problem_type(self) -> str | None:
        return None if self.teacher is None else self.teacher.problem_type

    def _settle_predictions(self, student: nn.Module) -> None:
        """Finds out what the student decides, and refuses a teacher that decides something else."""
        self._head, self._takes_positions = head_of(student), takes_positions(student)
        self._sequence_masks = SequenceMasks(student)
        self._signals.stored.head = self._head
        if takes_shifted_labels(student):
            logger.warning(
                "The loss of a %s does not shift labels, and here it is not done either: the label of each token must "
                "be the token that its logits are about, such as the next.",
                type(student).__name__,
            )
        check_predictions(self.teacher, student)
        pooler = getattr(student, "pooler", None)
        if isinstance(self._head, (EmbeddingHead, RepresentationHead)) and isinstance(pooler, nn.Module):
            pooler.requires_grad_(False)  # which no layer reads, so that DDP would wait for its gradient
        if isinstance(self._head, VocabularyHead):
            check_output_sizes(self.teacher, student)
            classes = cast(Any, student).get_output_embeddings().weight.shape[0]
            self.data_collator = TokenTargetCollator(self.data_collator, self.processing_class, classes, self._head)
        check_divisible(self._head, self.args, self._given_objective)
        for name in ("train_dataset", "eval_dataset") if not self._head.storable else ():
            refuse_stored_answers(name, getattr(self, name), self._head)

    def _objective_batch(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The batch as the objective reads it: each label beside the logits that are about it."""
        if "input_ids" not in inputs and (self._head.by_frame or self.current_objective.outputs):
            inputs = {**inputs, SEQUENCE_MASK: self._sequence_masks(inputs)}
        return self._head.labeled(inputs)

    def _settle_problem_type(self, inputs: Mapping[str, Any]) -> None:
        """Where the student's config leaves its problem type open it becomes the teacher's, or that of its labels.

        A `transformers` model settles it likewise where it computes the loss. It is saved with the student: without
        it a pipeline would apply a softmax over labels that do not exclude one another.
        """
        if self._problem_type is None and self._head.classifies:
            config: Any = self._student_config
            labels = inputs.get("labels")
            inferred = None if labels is None else infer_problem_type(config.num_labels, labels)
            config.problem_type = self._teacher_problem_type or inferred

    def _set_signature_columns_if_needed(self) -> None:
        # `remove_unused_columns` must keep what the teacher reads.
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            columns: Any = self._signature_columns
            columns += ["labels", ITEM_MASK, SEGMENT_IDS, *self._student_reads, *self._signals.stored_columns]
            columns += (*self.teacher.columns, *self.teacher.shared_columns) if self.teacher else ()

    # ---- Their outputs ----

    def _forward_both(
        self, model: nn.Module, inputs: Mapping[str, Any]
    ) -> tuple[Any, TeacherSignal | None, Mapping[str, Any]]:
        """The student's output, the teacher's signal, and the batch as the objective reads it."""
        self._settle_problem_type(inputs)
        objective = self.current_objective
        student = self._student_output(model, inputs, objective.outputs)
        teacher = self._teacher_signal(model.training, inputs)
        if teacher is not None and teacher.logits is not None and self._may_wait_for(teacher.logits):
            check_finite(teacher.logits)
        return student, teacher, self._objective_batch(inputs)

    def _student_output(self, model: nn.Module, inputs: Mapping[str, Any], outputs: frozenset[str]) -> Any:
        """The student's output for a batch, with `logits` beside which the labels stand."""
        student = forward(model, self._head.inputs(self._student_inputs(inputs)), outputs)
        scores = self._head.scores(student)
        if scores is None:
            raise ValueError(
                f"the student, a {type(unwrapped(model)).__name__}, has no logits in its output: its forward must "
                "return an output that has them, such as SequenceClassifierOutput(logits=...)."
            )
        logits = self._head.logits(scores, inputs)
        if getattr(student, "logits", None) is not logits:
            student.logits = logits
        return student

    def _student_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        # Without labels: their loss is a term of the objective, and the model's own would be a mean over a cut batch.
        own = {name: value for name, value in inputs.items() if name not in self._student_lacks}
        if SEGMENT_IDS in inputs:
            self._check_packing(own, inputs[SEGMENT_IDS])
            return as_packed(self.model, own, inputs[SEGMENT_IDS])
        return with_positions(own) if self._takes_positions else own

    def _check_packing(self, read: Mapping[str, Any], segments: Tensor) -> None:
        """Once: refuses packed rows where a model or a term would mix their texts."""
        if self._packs:
            return
        refuse_packed(self.current_objective, self._head, self.teacher)
        student = self.accelerator.unwrap_model(self.model)
        check_packed(student, read, segments, "student")
        for member in self.teacher.members if self.teacher else ():
            if isinstance(member, ModelTeacher):
                check_packed(placed(member.model, segments.device), read, segments, "teacher")
        self._packs = True

    def _not_for_the_student(self) -> frozenset[str]:
        """The columns of a batch that the student is not given."""
        reserved = {"labels", *self.label_names, COUNTED_ROWS, ITEM_MASK, SEGMENT_IDS, CHOICE_MASK}
        reserved |= {*self._signals.stored_columns, TEACHER_DISAGREEMENT}
        if self.teacher is not None:
            # What a decoder reads is made for the student.
            shared = [name for name in self.teacher.shared_columns if not name.startswith("decoder_")]
            reserved |= {*self.teacher.columns, *(set(shared) - set(taken_inputs(self.model, shared)))}
        return frozenset(reserved)

    def _may_wait_for(self, tensor: Tensor) -> bool:
        # On an accelerator a look at every prediction would make it wait, so there only the first step is looked at.
        return tensor.device.type == "cpu" or self.state.global_step == 0

    def _teacher_signal(self, training: bool, inputs: Mapping[str, Any]) -> TeacherSignal | None:
        objective = self.current_objective
        if training and not objective.needs_teacher:
            return None
        step = self.state.global_step if training else None
        context = TeacherContext(step, self.accelerator, self.args.combination)
        signal = self._signals(inputs, objective.outputs, context, run_live=training or self.args.teacher_at_eval)
        if training:
            check_signal(signal, objective)
        return signal


class _EpochOf(TrainerCallback):
    """Tells a collator of each epoch."""

    def __init__(self, collator: Any) -> None:
        self.collator = collator

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.collator.set_epoch(int(state.epoch or 0))


def _usual_collator(model: Any, tokenizer: Any) -> Any:
    """What pads rows of a head that the usual collator of `Trainer` does not pad; `None` of others."""
    if isinstance(model, nn.Module) and FrameLengths.of(model) is not None:
        return SoundCollator(SoundPadding.of(model))
    if not (isinstance(model, nn.Module) and isinstance(tokenizer, PreTrainedTokenizerBase)):
        return None
    head = head_of(model)
    if isinstance(head, ChoiceHead):
        return ChoiceCollator(tokenizer)
    return DataCollatorForTokenClassification(tokenizer) if isinstance(head, TokenHead) else None


def _alone(model: Any) -> Any:
    """A student without what spreads it over devices, which is for the trainer to do."""
    return extract_model_from_parallel(model) if isinstance(model, nn.Module) else model


def _in_dtype(model: Any, dtype: str) -> Any:
    if not isinstance(model, nn.Module) or dtype == "auto":
        return model
    wanted = getattr(torch, dtype)
    if any(parameter.dtype != wanted for parameter in model.parameters() if parameter.is_floating_point()):
        logger.info("The student is trained in %s; student_dtype='auto' would keep its own dtype.", dtype)
        model.to(dtype=wanted)
    return model
