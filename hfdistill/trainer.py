"""The trainer: ask the student, ask the teacher, ask the objective, log. It knows no loss by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.trainer_utils import EvalLoopOutput, TrainOutput
from transformers.utils import logging

from hfdistill.captures import ask
from hfdistill.evaluation import EvaluationSums
from hfdistill.label_spaces import label_names
from hfdistill.losses import COUNTED_ROWS, infer_problem_type
from hfdistill.model_card import CardFacts, evaluation_of, model_card, task_of, told_arguments
from hfdistill.models.wrappers import is_plain_module, unwrapped, without_adapters
from hfdistill.objective import Loss, Objective
from hfdistill.objective_state import average_gradients
from hfdistill.objective_trainer import ObjectiveTrainer
from hfdistill.teacher_columns import (
    TeacherCollator,
    add_teacher_columns,
    shared_collator,
    stand_in_config,
    stored_label_names,
)
from hfdistill.teachers import StoredTeacher, Teacher, TeacherSignal, as_teacher, check_finite, is_ensemble
from hfdistill.token_reader import taken_inputs, token_inputs
from hfdistill.trainer_checks import check_class_names, check_problem_types, check_signal, refuse_what_cannot_work
from hfdistill.training_args import DistillationTrainingArguments
from hfdistill.transfer_sets import labeled_share_sampler
from hfdistill.vocabularies import check_vocabularies

logger = logging.get_logger(__name__)


class DistillationTrainer(ObjectiveTrainer):
    """A `transformers.Trainer` whose student learns from a teacher as well as from labels.

    Where the rows carry `teacher_logits` (made once by `soft_targets`), these are the teacher's answer, unless a term
    needs more than logits; otherwise the teacher is asked in every step. The stored logits are put into the student's
    order of labels where the rows name theirs (`teacher_label`).

    The gradient does not depend on how a batch is cut into micro-batches, ranks or padding: each term is a sum over
    its items divided by their number in the whole optimizer step.

    Args:
        model: The student. Trained in float32 unless `args.student_dtype` says otherwise. It may be a plain torch
            module whose `forward` returns an output with `logits`: its labels are taken to be the rows' or the
            teacher's, and what is saved is what `Trainer` saves of such a module, without a card.
        args: `DistillationTrainingArguments`.
        teacher: A model, a name or path, any `Teacher`, a list of these (`args.teacher_combination` says how they are
            combined), or `None` when the rows carry `teacher_logits` or `ensemble_logits`, or nothing in the objective
            needs a teacher. It is frozen and never saved.
        objective: An `Objective`; by default the one that `args` describe, read anew whenever they change.
        **kwargs: As for `Trainer`: `train_dataset`, `eval_dataset`, `processing_class`, `compute_metrics`, ...

    Evaluation reports, beside the task metrics, each term's mean over the evaluation set (`eval_label_loss`,
    `eval_soft_target_loss`), and `eval_agreement`, the share of decisions in which student and teacher agree.
    `eval_loss` is the objective where the teacher is consulted, and the labels' loss where it is not.

    Raises:
        ValueError: when teacher and student answer different questions or read different vocabularies, the rows number
            their labels otherwise than the student, several GPUs are used without a launcher, or an argument cannot be
            honoured.
        TypeError: when `args` are those of another trainer.
    """

    # Our loss is a sum over the items of a micro-batch divided by their number in the whole step: `Trainer` must not
    # divide it by the accumulation steps again.
    loss_is_scaled_for_ga = True

    args: DistillationTrainingArguments

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
        self.teacher: Teacher | None = as_teacher(teacher, args.teacher_dtype, args.combination)
        self._stored = StoredTeacher(args.combination)
        # An ensemble that was made elsewhere brings its own combination.
        self._combined_by_args: list[Any] = [self._stored, *([self.teacher] if is_ensemble(teacher) else [])]
        self._given_objective = objective
        for name in ("train_dataset", "eval_dataset"):
            kwargs[name] = add_teacher_columns(kwargs.get(name), self.teacher)
        super().__init__(model=_in_dtype(_alone(model), args.student_dtype), args=args, **kwargs)
        if is_plain_module(self.model):
            self._stand_in = stand_in_config(self.teacher, self.train_dataset, self.eval_dataset)
        if self.args.label_names is None and not self.label_names:
            self.label_names = ["labels"]  # which `Trainer` looks for in the signature of a model's class
        # Read once: what trains a model may replace its `forward`.
        self._student_reads = token_inputs(self.model)
        self._student_lacks = self._not_for_the_student()
        self.data_collator = shared_collator(self.data_collator, self.processing_class, self.model, self.teacher)
        self._compare_labels("train_dataset", self.train_dataset)
        self._compare_labels("eval_dataset", self.eval_dataset)
        if self.teacher is not None:
            self.teacher.align(self._student_config)
            check_problem_types(self._teacher_problem_type, self._problem_type)
            check_vocabularies(self.teacher, self.model, self.processing_class)
            self.data_collator = TeacherCollator(self.data_collator, self.teacher)
            if self.teacher.callback is not None:
                self.add_callback(self.teacher.callback)
        #: What the student's card says beside what this trainer knows; a recipe sets it once it has compared.
        self.card_facts: CardFacts | None = None
        self._evaluation: EvaluationSums | None = None
        self._logged: dict[str, Tensor] = {}
        self._logged_steps: dict[str, set[int]] = {}
        self._logged_objective: Objective

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """A fresh student from `model_init`, in the dtype that is asked for; its objective starts afresh as well."""
        self.forget_objective()
        return _in_dtype(super().call_model_init(trial), self.args.student_dtype)

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As `Trainer.train`; each call, as each trial of a search, has logs of its own.

        Mixed precision ends with it: what is measured, exported or saved then is one and the same student.
        """
        self._logged, self._logged_steps = {}, {}
        output = super().train(*args, **kwargs)
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        return output

    def _compare_labels(self, name: str, dataset: Any) -> None:
        """Refuses rows whose labels are not the student's; sees in which order their stored answers stand."""
        check_class_names(name, dataset, label_names(self._student_config))
        self._stored.names = stored_label_names(self.train_dataset, self.eval_dataset, dataset)
        self._stored.align(self._student_config)

    # ---- The objective and its inputs ----

    @property
    def _teacher_problem_type(self) -> str | None:
        return None if self.teacher is None else self.teacher.problem_type

    def _settle_problem_type(self, inputs: Mapping[str, Any]) -> None:
        """Where the student's config leaves its problem type open it becomes the teacher's, or what its labels tell.

        A `transformers` model settles it likewise where it computes the loss. It is saved with the student: without
        it a pipeline would answer by a softmax over labels that do not exclude one another.
        """
        if self._problem_type is None:
            config: Any = self._student_config
            labels = inputs.get("labels")
            told = None if labels is None else infer_problem_type(config.num_labels, labels)
            config.problem_type = self._teacher_problem_type or told

    def _set_signature_columns_if_needed(self) -> None:
        # `remove_unused_columns` must keep what the teacher reads.
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            columns: Any = self._signature_columns
            columns += ["labels", *self._student_reads, *self._stored.columns]
            columns += (*self.teacher.columns, *self.teacher.shared_columns) if self.teacher else ()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.labeled_share is None:
            return super()._get_train_sampler(dataset)
        return labeled_share_sampler(dataset, self.args, lambda: int(self.state.epoch or 0))

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Tensor | int | None]:
        """As `Trainer.get_batch_samples`; rows that only fill up the last batch of all ranks are told apart."""
        self.stages.zero_grad()
        starts = self.stages.starts(self.state.max_steps)[:-1]
        if self.state.global_step in starts[1:]:
            assert self.optimizer is not None
            self.optimizer.state.clear()  # a stage starts as a run of its own would
        samples = super().get_batch_samples(map(self._tell_repeated_rows, epoch_iterator), num_batches, device)
        if self.state.global_step in starts:
            self._start_objective(samples[0])
        return samples

    def _start_objective(self, batches: list[dict[str, Any]]) -> None:
        """What the objective learns starts from a step's batches on all ranks, where it wants to."""
        objective = self.current_objective
        if not (objective.starts_from_data and batches):
            return
        sums, model = [], unwrapped(self.model).eval()  # nothing is learnt here, and no rank waits
        for inputs in map(self._prepare_inputs, batches):
            with torch.no_grad(), self.compute_loss_context_manager():
                student = ask(model, self._student_inputs(inputs), objective.outputs)
                signal = self._ask_teacher(True, inputs)
            sums.append(objective.statistics(student, signal, inputs))
        totals = {name: torch.stack([each[name] for each in sums]).sum(0) for name in sums[0]}
        if self.args.world_size > 1:
            totals = self.accelerator.reduce(totals, reduction="sum")
        objective.start(totals)

    def _tell_repeated_rows(self, batch: dict[str, Any]) -> dict[str, Any]:
        # So that every rank has as many batches, Accelerate repeats rows at the end, as `gather_for_metrics` knows.
        state = self.accelerator.gradient_state
        if self.accelerator.num_processes > 1 and state.end_of_dataloader and state.remainder > 0:
            example = next(value for value in batch.values() if isinstance(value, Tensor))
            rows = torch.arange(len(example), device=example.device) + self.accelerator.process_index * len(example)
            batch[COUNTED_ROWS] = rows < state.remainder
        return batch

    def _get_num_items_in_batch(self, batch_samples: list[Mapping[str, Any]], device: torch.device) -> Tensor | None:
        """The number of items of each term in the whole optimizer step, over all its micro-batches and ranks."""
        if not batch_samples:
            return None
        counts = self.current_objective.counts(batch_samples).to(device)
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts, reduction="sum")
        if self.is_world_process_zero() and self.is_in_train and self.state.global_step == self._initial_global_step:
            self._warn_of_idle_terms(counts)
        return counts

    def _warn_of_idle_terms(self, counts: Tensor) -> None:
        for (name, _), count in zip(self.current_objective.named_terms(active_only=True), counts.tolist(), strict=True):
            if count == 0:
                logger.warning(
                    "The term %r found nothing to count in the first step: do the rows have what it needs, such as "
                    "labels? Rows without it teach nothing here.",
                    name,
                )

    # ---- The loss ----

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective for one micro-batch, scaled so that micro-batches add up and ranks average to the whole step's.

        Args:
            model: The student as wrapped for training.
            inputs: The batch, with `labels` where it has any.
            return_outputs: Whether to return the student's task output as well.
            num_items_in_batch: The items of each active term in the whole step, as this trainer counts them, or one
                number for all; `None` counts this batch alone.
        """
        student, teacher, batch = self._ask_both(model, inputs)
        counts = None if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        objective = self.current_objective
        loss = self._loss(objective, student, teacher, batch, counts)
        # Gradients are averaged over ranks, and the counts are of all ranks.
        scale = 1 if counts is None else self.accelerator.num_processes
        if model.training:
            self._remember(objective, loss, scale)
        return (loss.total * scale, _task_output(student)) if return_outputs else loss.total * scale

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """As in `Trainer`; after a step's last micro-batch the ranks agree on what the objective has learnt."""
        loss = super().training_step(model, inputs, *args, **kwargs)
        if self.accelerator.sync_gradients:
            objective = self.current_objective
            if self.args.world_size > 1:
                average_gradients(objective, functools.partial(self.accelerator.reduce, reduction="mean"))
            objective.finish_step(self.accelerator.gather)
        return loss

    def _loss(
        self,
        objective: Objective,
        student: Any,
        teacher: TeacherSignal | None,
        batch: Mapping[str, Any],
        counts: Tensor | None,
    ) -> Loss:
        loss: Loss = objective(student, teacher, batch, counts)
        return loss

    def _ask_both(
        self, model: nn.Module, inputs: Mapping[str, Any]
    ) -> tuple[Any, TeacherSignal | None, Mapping[str, Any]]:
        self._settle_problem_type(inputs)
        objective = self.current_objective
        student = ask(model, self._student_inputs(inputs), objective.outputs)
        if getattr(student, "logits", None) is None:
            raise ValueError(
                f"the student, a {type(unwrapped(model)).__name__}, answers without logits: its forward must return an "
                "output that has them, such as SequenceClassifierOutput(logits=...)."
            )
        teacher = self._ask_teacher(model.training, inputs)
        if teacher is not None and teacher.logits is not None and self._can_look(teacher.logits):
            check_finite(teacher.logits)
        return student, teacher, inputs

    def _student_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        # Without labels: their loss is a term of the objective, and the model's own would be a mean over a cut batch.
        return {name: value for name, value in inputs.items() if name not in self._student_lacks}

    def _not_for_the_student(self) -> frozenset[str]:
        """The columns of a batch that the student is not given."""
        reserved = {"labels", COUNTED_ROWS, *self._stored.columns}
        if self.teacher is not None:
            # What a decoder reads is made for the student.
            shared = [name for name in self.teacher.shared_columns if not name.startswith("decoder_")]
            reserved |= {*self.teacher.columns, *(set(shared) - set(taken_inputs(self.model, shared)))}
        return frozenset(reserved)

    def _can_look(self, tensor: Tensor) -> bool:
        # On an accelerator a look at every answer would make it wait, so there only the first step is looked at.
        return tensor.device.type == "cpu" or self.state.global_step == 0

    def _ask_teacher(self, training: bool, inputs: Mapping[str, Any]) -> TeacherSignal | None:
        objective = self.current_objective
        if training and not objective.needs_teacher:
            return None
        for several in self._combined_by_args:  # read anew, as a search writes into the arguments between trials
            several.combination = self.args.combination
        asked = self.teacher is not None and (training or self.args.teacher_at_eval)
        step = self.state.global_step if training else None
        if self._stored.answers(inputs) and not (asked and objective.outputs):
            self._stored.step = step
            signal = self._stored(inputs)
        elif self.teacher is not None and asked:
            self.teacher.prepare(self.accelerator)
            self.teacher.step = step
            signal = self.teacher(inputs, objective.outputs)
        else:
            signal = None
        if training:
            check_signal(signal, objective)
        return signal

    # ---- Logging ----

    def _remember(self, objective: Objective, loss: Loss, scale: int) -> None:
        self._logged_objective = objective
        for name, value in loss.terms.items():
            # Summed on the device: reading it out each step would make the device wait.
            self._logged[name] = self._logged.get(name, 0.0) + value * scale
            self._logged_steps.setdefault(name, set()).add(self.state.global_step)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds each term's mean since the last log, and what is scheduled, to the training logs."""
        if "loss" in logs and self._logged:
            means = torch.stack([self._logged[name] / len(self._logged_steps[name]) for name in self._logged])
            values = self.accelerator.reduce(means, reduction="mean").tolist()
            logs.update(zip(self._logged, values, strict=True))
            logs.update(self._logged_objective.scheduled_values())  # of the step that is done, not of the next
            self._logged, self._logged_steps = {}, {}
        super().log(logs, start_time)

    # ---- The card ----

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Writes the student's card into the output folder: teacher, objective, figures.

        The figures are those of `card_facts`, or of the last evaluation. The arguments mean what they do in `Trainer`,
        and go before what `card_facts` says.
        """
        if not self.is_world_process_zero():
            return
        if is_plain_module(self.model):  # nor can `Trainer` describe one
            logger.warning("A %s is no transformers model, so that no card is written.", type(self.model).__name__)
            return
        dataset = dataset_tags if dataset is None else dataset
        told: dict[str, Any] = {"language": language, "licence": license, "tags": tags, "base_model": finetuned_from}
        told |= {"task": tasks, "dataset_tags": dataset_tags, "dataset": dataset, "dataset_args": dataset_args}
        facts = self.card_facts or self._known_facts()
        told["evaluation"] = facts.evaluation or evaluation_of(self.state, self.args.load_best_model_at_end)
        facts = dataclasses.replace(facts, **{name: value for name, value in told.items() if value is not None})
        name = model_name or Path(self.hub_model_id or self.args.output_dir or "student").name
        card = model_card(name, self.stages.describe(), told_arguments(self.args), facts)
        card.save(Path(str(self.args.output_dir)) / "README.md")

    def _known_facts(self) -> CardFacts:
        names = [member.name for member in self.teacher.members if member.name] if self.teacher else []
        task = task_of(without_adapters(self.model))
        return CardFacts(teacher=names or "a teacher", dataset="", task=task)

    # ---- Evaluation ----

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """As in `Trainer`; a dataset given here, and not when the trainer was made, gets its teacher columns first."""
        if isinstance(eval_dataset, str):
            return super().get_eval_dataloader(eval_dataset)
        self._compare_labels("eval_dataset", eval_dataset)
        return super().get_eval_dataloader(add_teacher_columns(eval_dataset, self.teacher))

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """As in `Trainer`, with the columns that the teacher reads."""
        self._compare_labels("test_dataset", test_dataset)
        return super().get_test_dataloader(add_teacher_columns(test_dataset, self.teacher))

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Any, Tensor | None]:
        """The student's logits for a batch; its losses are summed row by row into the evaluation's means."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            student, teacher, batch = self._ask_both(model, inputs)
        if self._evaluation is None:
            self._evaluation = EvaluationSums(self.current_objective, self._problem_type, self.accelerator)
        self._evaluation.add(student, teacher, batch)
        loss = None
        if "loss" in self.args.include_for_metrics:  # only then: reading it out makes an accelerator wait
            loss = torch.tensor(self._evaluation.loss_of_last_batch(), device=self.args.device)
        if prediction_loss_only:
            return loss, None, None
        return loss, self._answers(student), inputs.get("labels")

    def _answers(self, student: Any) -> Any:
        """What an evaluation gathers of the student's output, for its metrics."""
        return student.logits.detach()

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """`Trainer`'s loop, with each term's exact mean and the agreement with the teacher in its metrics."""
        self._evaluation = None
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self._take_means().items()}
        return output._replace(metrics={**(output.metrics or {}), **metrics})

    def _take_means(self) -> dict[str, float]:
        evaluation, self._evaluation = self._evaluation, None
        return evaluation.means() if evaluation else {}


def _alone(model: Any) -> Any:
    """A student without what spreads it over devices, which is for the trainer to do."""
    return extract_model_from_parallel(model) if isinstance(model, nn.Module) else model


def _task_output(student: Any) -> SequenceClassifierOutput:
    # Hidden states would be gathered over ranks and kept for a whole evaluation.
    return SequenceClassifierOutput(logits=student.logits)


def _in_dtype(model: Any, dtype: str) -> Any:
    if not isinstance(model, nn.Module) or dtype == "auto":
        return model
    wanted = getattr(torch, dtype)
    if any(parameter.dtype != wanted for parameter in model.parameters() if parameter.is_floating_point()):
        logger.info("The student is trained in %s; student_dtype='auto' would keep its own dtype.", dtype)
        model.to(dtype=wanted)
    return model
