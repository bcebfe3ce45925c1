"""What the objective learns itself is trained, clipped, brought together over ranks, kept and restored; not shipped."""

import pytest
import torch
from processes import results_of_two_ranks
from safetensors.torch import load_file
from tiny import (
    IN_ORDER,
    LAYER_CASES,
    LAYOUTS,
    assert_logs_alike,
    distance,
    make_model,
    make_rows,
    make_trainer,
    run_layers,
    weights,
)
from transformers import BertForSequenceClassification

from hfdistill import DistillationTrainer, Objective
from hfdistill.losses import HiddenStates, Labels


def wide_teacher():
    return make_model(2, num_hidden_layers=4, hidden_size=24)


def rounding(name):
    """How far apart two cuts of one run may end: least squares make the rounding of float32 states larger."""
    return 1e-5 if name == "least_squares" else 1e-6


def assert_same_run(trainer, reference, atol=1e-6):
    assert distance(weights(trainer.model), weights(reference.model)) < atol
    assert distance(weights(trainer.stages), weights(reference.stages)) < atol


@pytest.mark.parametrize("name", LAYER_CASES)
def test_any_cut_gives_one_run(tmp_path, name):
    """Student, projections and maps; 11 rows leave a batch of 3."""
    reference, before = run_layers(tmp_path, name, 11)
    assert distance(before, weights(reference.model)) > 1e-3, "the student was not trained"
    for layout in LAYOUTS:
        trainer, _ = run_layers(tmp_path, name, 11, **layout)
        assert_same_run(trainer, reference, atol=rounding(name))
        assert_logs_alike(trainer, reference, "loss", "grad_norm")


def test_what_the_objective_learns_is_trained_and_clipped_with_the_student(tmp_path):
    """Forgotten by the optimizer, a random projection is a random target; forgotten by the clipping, it runs away."""
    trainer, _ = run_layers(tmp_path, "hidden_states", max_grad_norm=1e-3, num_train_epochs=1, max_steps=1)
    fresh, _ = run_layers(tmp_path, "hidden_states", max_steps=1, learning_rate=0.0)
    moved = distance(weights(trainer.stages), weights(fresh.stages))
    assert 0 < moved <= 0.05 * 1e-3, "at most the rate times the norm that all gradients together are clipped to"
    assert trainer.state.log_history[0]["grad_norm"] > 1e-2
    unclipped, _ = run_layers(tmp_path, "hidden_states", max_grad_norm=0.0, max_steps=1)
    assert distance(weights(unclipped.stages), weights(fresh.stages)) > 1e-3
    assert unclipped.state.log_history[0]["grad_norm"] == pytest.approx(trainer.state.log_history[0]["grad_norm"])


def test_weight_decay_is_for_matrices(tmp_path):
    student, rows, teacher, settings = LAYER_CASES["hidden_states"]()
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, weight_decay=0.3, **settings)
    groups = trainer.create_optimizer().param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0, 0.3]
    assert [id(p) for p in groups[2]["params"]] == [id(p) for p in trainer.stages.parameters()]
    assert len(trainer.create_optimizer().param_groups) == 3, "asked twice, they are added once"


@pytest.mark.parametrize(
    ("name", "step"), [("hidden_states", 2), ("least_squares", 2), ("learned_map", 3), ("exemplars", 3)]
)
def test_a_resumed_run_ends_as_if_never_interrupted(tmp_path, name, step):
    """A projection that starts anew pulls the student after it, and nobody notices."""
    settings = {"optim": "adamw_torch", "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 1}
    reference, _ = run_layers(tmp_path / "whole", name, **settings)
    checkpoint = tmp_path / "whole" / f"checkpoint-{step}"
    resumed, _ = run_layers(tmp_path / "resumed", name, resume=str(checkpoint), **settings)
    assert_same_run(resumed, reference, atol=1e-7)
    saved = load_file(tmp_path / "whole" / "checkpoint-4" / "objective.safetensors")
    assert saved.keys() == reference.stages.state_dict().keys()
    assert distance(saved, weights(reference.stages)) == 0


def test_the_student_is_saved_without_it(tmp_path):
    trainer, _ = run_layers(tmp_path, "hidden_states", save_strategy="epoch")
    trainer.save_model(str(tmp_path / "student"))
    assert not (tmp_path / "student" / "objective.safetensors").exists()
    loaded, info = BertForSequenceClassification.from_pretrained(tmp_path / "student", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert distance(weights(loaded), weights(make_model(1))) > 1e-3


def test_a_checkpoint_of_another_objective_is_refused(tmp_path):
    run_layers(tmp_path, "hidden_states", save_strategy="steps", save_steps=2)
    for name in ("learned_map", "minilm"):
        with pytest.raises(ValueError, match=r"checkpoint-2 was made with other settings: "):
            run_layers(tmp_path, name, resume=str(tmp_path / "checkpoint-2"))
    (tmp_path / "checkpoint-2" / "objective.safetensors").unlink()
    with pytest.raises(ValueError, match=r"objective\.safetensors does not fit the objective"):
        run_layers(tmp_path, "hidden_states", resume=str(tmp_path / "checkpoint-2"))


def test_the_projection_does_not_depend_on_what_was_drawn_before(tmp_path):
    """Ranks that drew another number of times would start from different ones."""
    students = []
    for draws in (0, 3):
        student, rows, teacher, settings = LAYER_CASES["hidden_states"]()
        trainer = make_trainer(tmp_path, student, rows, teacher=teacher, **settings)
        torch.rand(draws)
        state = torch.random.get_rng_state()
        students.append(weights(trainer.stages))
        assert torch.equal(torch.random.get_rng_state(), state)
    assert distance(*students) == 0


def test_a_new_trial_gets_new_projections(tmp_path):
    """A search that trains one projection through all trials measures each trial with those before it."""
    teacher = wide_teacher()
    given = {"model_init": lambda: make_model(1)}
    trainer = make_trainer(
        tmp_path, None, make_rows(8), teacher=teacher, given=given, terms=["hidden_states"], **IN_ORDER
    )
    ends = []
    for _ in range(2):
        trainer.train()
        ends.append(weights(trainer.model) | weights(trainer.stages))
    assert distance(*ends) < 1e-7


def test_a_projection_by_least_squares_starts_each_stage(tmp_path):
    """Fitted to the student as it was before the first stage, that of the second would be a guess."""
    student, rows, teacher, settings = LAYER_CASES["least_squares"]()
    stages = ["embeddings:1 steps=2", "embeddings:1 hidden_states:1 steps=2"]
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, **{**settings, "terms": None, "stages": stages})
    changed, original = {}, DistillationTrainer._start_objective

    def noted(self, batches):
        before = weights(self.stages)
        original(self, batches)
        after = weights(self.stages)
        changed[self.state.global_step] = {name for name in after if not torch.equal(before[name], after[name])}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DistillationTrainer, "_start_objective", noted)
        trainer.train()
    second = {f"objectives.1.terms.{name}.projection.weight" for name in ("embeddings", "hidden_states")}
    assert changed == {0: {"objectives.0.terms.embeddings.projection.weight"}, 2: second}


def test_the_start_by_least_squares_takes_no_dropout_and_no_draw(tmp_path):
    """A start from states with dropout differs from run to run, and shifts all that is drawn afterwards."""
    starts = []
    for seed in (3, 4):
        _, rows, teacher, settings = LAYER_CASES["least_squares"]()
        student = make_model(1, dropout=0.3)
        trainer = make_trainer(tmp_path, student, rows, teacher=teacher, **{**settings, "seed": seed})
        batches = list(trainer.get_train_dataloader())
        state = torch.random.get_rng_state()
        trainer._start_objective(batches)
        assert torch.equal(torch.random.get_rng_state(), state)
        starts.append(weights(trainer.stages))
    assert distance(*starts) == 0


def test_a_problem_type_that_is_found_out_leaves_the_projection_in_the_optimizer(tmp_path):
    """An objective built anew at the first batch has parameters that no optimizer knows."""
    student, rows, teacher, settings = LAYER_CASES["hidden_states"]()
    assert student.config.problem_type is None
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, **settings)
    before = weights(trainer.stages)
    trainer.train()
    assert student.config.problem_type == "single_label_classification"
    assert distance(before, weights(trainer.stages)) > 1e-3


@pytest.mark.parametrize("sharded", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_what_is_sharded_cannot_learn_projections(tmp_path, sharded):
    trainer = make_trainer(tmp_path, make_model(1), make_rows(), teacher=wide_teacher(), terms=["hidden_states:1"])
    setattr(trainer, sharded, True)
    with pytest.raises(ValueError, match="cannot be trained under FSDP or DeepSpeed"):
        trainer.create_optimizer()


@pytest.mark.parametrize("scheduled", [False, True])
def test_an_optimizer_of_the_users_trains_it_and_a_schedule_cannot(tmp_path, scheduled):
    """A schedule knows the groups of parameters that there were when it was made."""
    student = make_model(1)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0) if scheduled else None
    given = {"optimizers": (optimizer, schedule)}
    trainer = make_trainer(
        tmp_path, student, make_rows(), teacher=wide_teacher(), given=given, terms=["hidden_states:1"]
    )
    before = weights(trainer.stages)
    if scheduled:
        with pytest.raises(ValueError, match=r"pass optimizers=\(optimizer, None\)"):
            trainer.train()
        return
    for _ in range(2):
        trainer.train()
    assert distance(before, weights(trainer.stages)) > 1e-3
    assert [len(group["params"]) for group in trainer.optimizer.param_groups] == [len(list(student.parameters())), 1]


def test_a_given_objective_learns_likewise(tmp_path):
    student, rows, teacher, settings = LAYER_CASES["hidden_states"]()
    objective = Objective({"labels": (0.5, Labels()), "hidden_states": (1.0, HiddenStates())})
    given = {"objective": objective}
    trainer = make_trainer(tmp_path, student, rows, teacher=teacher, given=given, **{**settings, "terms": None})
    trainer.train()
    reference, _ = run_layers(tmp_path, "hidden_states")
    assert_same_run(trainer, reference)


@pytest.mark.slow
def test_two_ranks_train_what_one_process_does(tmp_path):
    """DDP knows the student's parameters alone: projections left to themselves go apart on the ranks."""
    first, second = results_of_two_ranks("train_layers_in_ranks.py", tmp_path)
    # A rank is as good as a micro-batch, with pairs of its own.
    pairs = {"relations": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}}
    for name in (*LAYER_CASES, "relations"):
        reference, _ = run_layers(tmp_path, name, 11, **pairs.get(name, {}))
        for part, expected in (("student", reference.model), ("objective", reference.stages)):
            assert distance(first[name][part], second[name][part]) == 0, "the ranks went apart"
            assert distance(first[name][part], weights(expected)) < rounding(name)
            if name == "hidden_states":  # two micro-batches a step on each rank
                assert distance(first["accumulated"][part], weights(expected)) < 1e-6
