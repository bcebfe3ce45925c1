"""The trainer: run the student, run the teacher, run the objective, log. It knows no loss by name."""

from __future__ import annotations

import copy
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

from hfdistill.data.few_labels import labeled_share_sampler, share_of_labels
from hfdistill.losses import COUNTED_ROWS, infer_problem_type
from hfdistill.models.causal_lm import (
    next_token_batch,
    predicts_next_token,
    takes_positions,
    takes_shifted_labels,
    with_positions,
)
from hfdistill.models.inputs import taken_inputs, token_inputs
from hfdistill.models.intermediate_outputs import forward
from hfdistill.models.mixed_precision import without_autocast
from hfdistill.models.wrappers import is_plain_module, unwrapped, without_adapters
from hfdistill.report.card import CardFacts, described_arguments, evaluation_of, model_card, task_of
from hfdistill.report.saved_form import saved_form
from hfdistill.teachers import (
    StoredTeacher,
    Teacher,
    TeacherSignal,
    as_language_model_teacher,
    as_teacher,
    check_finite,
    is_ensemble,
)
from hfdistill.teachers.columns import (
    TeacherCollator,
    add_teacher_columns,
    shared_collator,
    stand_in_config,
    stored_label_names,
)
from hfdistill.teachers.vocabularies import check_vocabularies
from hfdistill.training.arguments import DistillationTrainingArguments
from hfdistill.training.checks import (
    check_predictions,
    check_problem_types,
    check_signal,
    check_tokens,
    nothing_to_learn,
    refuse_stored_answers,
    refuse_what_cannot_work,
    warn_of_ignored_sharding,
)
from hfdistill.training.evaluation import EvaluationSums
from hfdistill.training.label_columns import LabelCollator, check_labels
from hfdistill.training.objective import Loss, Objective
from hfdistill.training.objective_state import average_gradients
from hfdistill.training.objective_trainer import ObjectiveTrainer

logger = logging.get_logger(__name__)


class DistillationTrainer(ObjectiveTrainer):
    """A `transformers.Trainer` whose student learns from a teacher as well as from labels.

    Where the rows carry `teacher_logits` (made once by `soft_targets`), these are the teacher's prediction, unless a
    term needs more than logits; otherwise the teacher is run in every step. The stored logits are put into the
    student's order of labels where the rows name theirs (`teacher_label`).

    The gradient does not depend on how a batch is cut into micro-batches, ranks or padding: each term is a sum over
    its items divided by their number in the whole optimizer step, whatever `average_tokens_across_devices` says.

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
    `eval_loss` is the objective where the teacher is consulted, and the labels' loss where it is not. These means are
    over all rows or tokens, where `Trainer` takes one over batches. A metric that `compute_metrics` returns under the
    same name takes the place of ours. Of the student's output an evaluation hands over the logits alone, whatever
    `ignore_keys` says, and its losses are those of the objective, also where a subclass overrides `compute_loss`.

    Raises:
        ValueError: when teacher and student solve different tasks or read different vocabularies, the rows number
            their labels otherwise than the student, several GPUs are used without a launcher, or an argument cannot be
            honored.
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
        if predicts_next_token(model):
            teacher = as_language_model_teacher(teacher, args.teacher_dtype)
        self.teacher: Teacher | None = as_teacher(teacher, args.teacher_dtype, args.combination)
        self._stored = StoredTeacher(args.combination)
        # An ensemble that was made elsewhere brings its own combination.
        self._combined_by_args: list[Any] = [self._stored, *([self.teacher] if is_ensemble(teacher) else [])]
        self._given_objective = objective
        for name in ("train_dataset", "eval_dataset"):
            if kwargs.get("data_collator") is None:
                check_tokens(name, kwargs.get(name), model, kwargs.get("processing_class"))
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
        self._settle_alpha()
        if self._label_space.item is not None:
            self.data_collator = LabelCollator(self.data_collator, self._label_space)
        warn_of_ignored_sharding(args, self.accelerator)
        self._compare_labels("train_dataset", self.train_dataset)
        self._compare_labels("eval_dataset", self.eval_dataset)
        self._settle_predictions(self.accelerator.unwrap_model(self.model))
        if self.teacher is not None:
            self.teacher.align(self._student_config)
            check_problem_types(self._teacher_problem_type, self._problem_type)
            check_vocabularies(self.teacher, self.model, self.processing_class)
            self.data_collator = TeacherCollator(self.data_collator, self.teacher)
            for member in self._asked:
                if member.callback is not None:
                    self.add_callback(member.callback)
        #: What the student's card says beside what this trainer knows; a recipe sets it once it has compared.
        self.card_facts: CardFacts | None = None
        #: What the last training was on, whatever the arguments say since.
        self._trained: tuple[list[dict[str, Any]], dict[str, Any]] | None = None
        self._evaluation: EvaluationSums | None = None
        self._logged: dict[str, Tensor] = {}
        self._logged_steps: dict[str, set[int]] = {}
        self._logged_objective: Objective
        self._seen_datasets: dict[str, Any] = {"train_dataset": self.train_dataset, "eval_dataset": self.eval_dataset}

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """A fresh student from `model_init`, in the dtype that is asked for; its objective starts afresh as well."""
        self.forget_objective()
        return _in_dtype(super().call_model_init(trial), self.args.student_dtype)

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As `Trainer.train`; mixed precision ends with it: what is measured, exported or saved then is one student."""
        output = super().train(*args, **kwargs)
        self._trained = self._told()
        without_autocast(self.accelerator.unwrap_model(self.model, keep_torch_compile=False))
        return output

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        # Each call of `train`, trial of a search, and new attempt of `auto_find_batch_size` has logs of its own.
        self._logged, self._logged_steps = {}, {}
        return super()._inner_training_loop(*args, **kwargs)

    def _see_replaced_datasets(self) -> None:
        """Looks at datasets that have taken the places of the first ones as at those: `trainer.train_dataset = ...`."""
        for name, seen in self._seen_datasets.items():
            if getattr(self, name) is not seen:
                self._compare_labels(name, getattr(self, name))
                self._seen_datasets[name] = add_teacher_columns(getattr(self, name), self.teacher)
                setattr(self, name, self._seen_datasets[name])

    def _compare_labels(self, name: str, dataset: Any) -> None:
        """Refuses rows whose labels are not the student's; sees in which order their stored predictions stand."""
        check_labels(name, dataset, self._label_space)
        self._stored.names = stored_label_names(self.train_dataset, self.eval_dataset, dataset)
        self._stored.align(self._student_config)

    # ---- The objective and its inputs ----

    @property
    def _teacher_problem_type(self) -> str | None:
        return None if self.teacher is None else self.teacher.problem_type

    def _settle_predictions(self, student: nn.Module) -> None:
        """Sees whether the student's logits at a token are about the next one, and refuses a teacher whose are not."""
        self._next_token, self._takes_positions = predicts_next_token(student), takes_positions(student)
        if takes_shifted_labels(student):
            logger.warning(
                "The loss of a %s does not shift labels, and here it is not done either: the label of each token must "
                "be the token that its logits are about, such as the next.",
                type(student).__name__,
            )
        check_predictions(self.teacher, self._next_token)
        for name in ("train_dataset", "eval_dataset") if self._next_token else ():
            refuse_stored_answers(name, getattr(self, name))

    def _as_learnt_from(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The batch as the objective reads it: each label beside the logits that are about it."""
        return next_token_batch(inputs) if self._next_token else inputs

    def _settle_problem_type(self, inputs: Mapping[str, Any]) -> None:
        """Where the student's config leaves its problem type open it becomes the teacher's, or what its labels tell.

        A `transformers` model settles it likewise where it computes the loss. It is saved with the student: without
        it a pipeline would answer by a softmax over labels that do not exclude one another.
        """
        if self._problem_type is None and not self._next_token:
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

    def get_train_dataloader(self) -> DataLoader:
        """As in `Trainer`; a dataset that took the place of the first one is checked as that was."""
        self._see_replaced_datasets()
        return super().get_train_dataloader()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.labeled_share is None:
            return super()._get_train_sampler(dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return labeled_share_sampler(dataset, self.args.labeled_share, seed, lambda: int(self.state.epoch or 0))

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Tensor | int | None]:
        """As `Trainer.get_batch_samples`; rows that only fill up the last batch of all ranks are told apart."""
        self.stages.zero_grad()
        starts = self.stages.starts(self.state.max_steps)[:-1]
        if self.state.global_step in starts[1:]:
            assert self.optimizer is not None
            self.optimizer.state.clear()  # a stage starts as a run of its own would
        samples = super().get_batch_samples(map(self._mark_repeated_rows, epoch_iterator), num_batches, device)
        if self.state.global_step in starts:
            self._start_objective(samples[0])
        return samples

    def _start_objective(self, batches: list[dict[str, Any]]) -> None:
        """What the objective learns starts from a step's batches on all ranks, where it wants to."""
        objective = self.current_objective
        if not (objective.starts_from_data and batches):
            return
        sums, model = [], unwrapped(self.model).eval()  # nothing is learned here, and no rank waits
        for inputs in map(self._prepare_inputs, batches):
            with torch.no_grad(), self.compute_loss_context_manager():
                student = forward(model, self._student_inputs(inputs), objective.outputs)
                signal = self._teacher_signal(True, inputs)
            sums.append(objective.statistics(student, signal, self._as_learnt_from(inputs)))
        totals = {name: torch.stack([each[name] for each in sums]).sum(0) for name in sums[0]}
        if self.args.world_size > 1:
            totals = self.accelerator.reduce(totals, reduction="sum")
        objective.start(totals)

    def _mark_repeated_rows(self, batch: dict[str, Any]) -> dict[str, Any]:
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
        if self._next_token and batch_samples[0].get("labels") is None:
            raise ValueError(
                "the batch has no labels: of a causal language model they are the tokens themselves, as "
                "data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False) gives them."
            )
        counts = self.current_objective.counts(map(self._as_learnt_from, batch_samples)).to(device)
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts, reduction="sum")
        if self.is_in_train:
            self._check_counts(counts, any("labels" in batch for batch in batch_samples))
        return counts

    def _check_counts(self, counts: Tensor, labeled: bool) -> None:
        """Refuses a first step that teaches nothing, and warns of terms that count nothing in their first one."""
        step = self.state.global_step
        begun = max(s for s in (self._initial_global_step, *self.stages.starts(self.state.max_steps)) if s <= step)
        if step == self._initial_global_step and not counts.any():
            if not labeled or share_of_labels(self.train_dataset, missing=self._label_space.missing) == 0:
                raise nothing_to_learn(self.train_dataset)
        if not self.is_world_process_zero():
            return
        for (name, term), count in zip(self.current_objective.named_terms(active_only=True), counts, strict=True):
            # Looked at in one step alone: an accelerator would be waited for.
            if step - begun == term.idle_steps and count == 0:
                logger.warning(
                    "The term %r found nothing to count in its first step: do the rows have what it needs, %s? Rows "
                    "without it teach nothing here.",
                    name,
                    term.needs,
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
        student, teacher, batch = self._forward_both(model, inputs)
        counts = None if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        objective = self.current_objective
        loss = self._loss(objective, student, teacher, batch, counts)
        # Gradients are averaged over ranks, and the counts are of all ranks.
        scale = 1 if counts is None else self.accelerator.num_processes
        if model.training:
            self._accumulate_logs(objective, loss, scale)
        return (loss.total * scale, _task_output(student)) if return_outputs else loss.total * scale

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """As in `Trainer`; after a step's last micro-batch the ranks agree on what the objective has learned."""
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

    def _forward_both(
        self, model: nn.Module, inputs: Mapping[str, Any]
    ) -> tuple[Any, TeacherSignal | None, Mapping[str, Any]]:
        self._settle_problem_type(inputs)
        objective = self.current_objective
        student = forward(model, self._student_inputs(inputs), objective.outputs)
        if getattr(student, "logits", None) is None:
            raise ValueError(
                f"the student, a {type(unwrapped(model)).__name__}, has no logits in its output: its forward must "
                "return an output that has them, such as SequenceClassifierOutput(logits=...)."
            )
        teacher = self._teacher_signal(model.training, inputs)
        if teacher is not None and teacher.logits is not None and self._can_look(teacher.logits):
            check_finite(teacher.logits)
        return student, teacher, self._as_learnt_from(inputs)

    def _student_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        # Without labels: their loss is a term of the objective, and the model's own would be a mean over a cut batch.
        own = {name: value for name, value in inputs.items() if name not in self._student_lacks}
        return with_positions(own) if self._takes_positions else own

    def _not_for_the_student(self) -> frozenset[str]:
        """The columns of a batch that the student is not given."""
        reserved = {"labels", COUNTED_ROWS, *self._stored.columns}
        if self.teacher is not None:
            # What a decoder reads is made for the student.
            shared = [name for name in self.teacher.shared_columns if not name.startswith("decoder_")]
            reserved |= {*self.teacher.columns, *(set(shared) - set(taken_inputs(self.model, shared)))}
        return frozenset(reserved)

    def _can_look(self, tensor: Tensor) -> bool:
        # On an accelerator a look at every prediction would make it wait, so there only the first step is looked at.
        return tensor.device.type == "cpu" or self.state.global_step == 0

    def _teacher_signal(self, training: bool, inputs: Mapping[str, Any]) -> TeacherSignal | None:
        objective = self.current_objective
        if training and not objective.needs_teacher:
            return None
        for several in self._combined_by_args:  # read anew, as a search writes into the arguments between trials
            several.combination = self.args.combination
        asked = self.teacher is not None and (training or self.args.teacher_at_eval)
        step = self.state.global_step if training else None
        if self._stored.predictions(inputs) and not (asked and objective.outputs):
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

    def _accumulate_logs(self, objective: Objective, loss: Loss, scale: int) -> None:
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
        told: dict[str, Any] = {"language": language, "license": license, "tags": tags, "base_model": finetuned_from}
        told |= {"task": tasks, "dataset_tags": dataset_tags, "dataset": dataset, "dataset_args": dataset_args}
        facts = self.card_facts or self._known_facts()
        model = self._saved_model
        location = self.hub_model_id or Path(str(self.args.output_dir)).name
        facts = dataclasses.replace(facts, form=saved_form(model), location=location)
        told["evaluation"] = facts.evaluation or evaluation_of(self.state, self.args.load_best_model_at_end)
        facts = dataclasses.replace(facts, **{name: value for name, value in told.items() if value is not None})
        name = model_name or Path(self.hub_model_id or self.args.output_dir or "student").name
        card = model_card(name, *(self._trained or self._told()), facts)
        card.save(Path(str(self.args.output_dir)) / "README.md")

    def _told(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The terms and the arguments of a training, as a card has them."""
        args = copy.copy(self.args)
        args.per_device_train_batch_size = self._train_batch_size  # `auto_find_batch_size` may have found another
        dtype = next((str(weight.dtype).removeprefix("torch.") for weight in self._saved_model.parameters()), "float32")
        return self.stages.describe(), described_arguments(args, dtype)

    @property
    def _saved_model(self) -> nn.Module:
        """What `save_model` leaves in the folder, without what is around it in training."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    def _known_facts(self) -> CardFacts:
        names = [member.name for member in self.teacher.members if member.name] if self.teacher else []
        task = task_of(without_adapters(self._saved_model))
        taught = any(objective.needs_teacher for objective in self.stages.objectives)
        return CardFacts(teacher=names or ("a teacher" if taught else ""), dataset="", task=task)

    # ---- Evaluation ----

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

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Any, Any]:
        """The student's logits for a batch; its losses are summed row by row into the evaluation's means."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            student, teacher, batch = self._forward_both(model, inputs)
        if self._evaluation is None:
            self._evaluation = EvaluationSums(self.current_objective, self._problem_type, self.accelerator)
        self._evaluation.add(student, teacher, batch)
        loss = None
        if "loss" in self.args.include_for_metrics:  # only then: reading it out makes an accelerator wait
            loss = torch.tensor(self._evaluation.loss_of_last_batch(), device=self.args.device)
        if prediction_loss_only:
            return loss, None, None
        return loss, self._predictions(student), self._told_labels(inputs)

    def _told_labels(self, inputs: Mapping[str, Any]) -> Any:
        """What an evaluation gathers for its metrics, as `Trainer`: the column of labels, or a tuple of several."""
        names = self.label_names or ["labels"]
        labels = tuple(inputs.get(name) for name in names)
        if any(column is None for column in labels):
            return None
        return labels[0] if len(labels) == 1 else labels

    def _predictions(self, student: Any) -> Any:
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
        means = {f"{metric_key_prefix}_{name}": value for name, value in self._take_means().items()}
        theirs = dict(output.metrics or {})  # of `compute_metrics`, whose names go before ours
        if "loss" in self.args.include_for_metrics:  # only then `Trainer` has losses, and takes the mean over batches
            theirs.pop(f"{metric_key_prefix}_loss", None)
        return output._replace(metrics={**means, **theirs})

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
