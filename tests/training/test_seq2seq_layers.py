"""Training on the layers of encoder and decoder: any cut, in chunks or whole, tied or not, stopped and resumed."""

import pytest
import torch
from resuming import SCHEDULES, SETTINGS, assert_same_end, resumed_after_a_kill, resumed_from_steps
from tiny import IN_ORDER, LAYOUTS, assert_logs_alike, distance, logs_of, weights
from tiny_seq2seq import (
    FAMILIES,
    ON_LAYERS,
    compute_few_at_once,
    make_pairs,
    make_seq2seq,
    make_seq2seq_trainer,
    unlike_pair,
)

LOGGED = ("loss", "label_loss", "soft_target_loss", "encoder_hidden_states_loss", "decoder_hidden_states_loss")
LOGGED += ("decoder_minilm_loss", "grad_norm")


def run(out, family="marian", rows=16, student=None, settle=None, **layout):
    """Trains on labels, soft targets and layers; the trainer."""
    own, teacher = unlike_pair(family, **(student or {}))
    pairs = make_pairs(rows, family)
    trainer = make_seq2seq_trainer(out, own, pairs, teacher=teacher, **{**ON_LAYERS, **IN_ORDER, **layout})
    if settle is not None:
        trainer._projects_plainly = settle
    before, projections = weights(own), weights(trainer.stages)
    trainer.train()
    assert distance(before, weights(own)) > 0.003
    assert all((projections[name] - tensor).abs().max() > 1e-5 for name, tensor in weights(trainer.stages).items())
    return trainer


def assert_alike(one, other):
    assert distance(weights(one.model), weights(other.model)) < 3e-6
    assert distance(weights(one.stages), weights(other.stages)) < 3e-6
    assert_logs_alike(one, other, *LOGGED)


@pytest.mark.parametrize("rows", [16, 11])
def test_any_cut_gives_one_run(tmp_path, rows):
    """A mean over each micro-batch would weigh the tokens of short sentences more; each side has its own count."""
    whole = run(tmp_path, rows=rows)
    assert whole._projects_plainly, "or the loss in chunks is not tried"
    for layout in LAYOUTS:
        assert_alike(run(tmp_path, rows=rows, **layout), whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_chunked_and_whole_loss_train_one_student(tmp_path, monkeypatch, family):
    """Terms on layers stand beside a loss that holds few logits, in every family."""
    whole = run(tmp_path, family, rows=8, settle=False, max_steps=3)
    compute_few_at_once(monkeypatch)
    chunked = run(tmp_path, family, rows=8, max_steps=3)
    assert chunked._projects_plainly and not whole._projects_plainly
    assert_alike(chunked, whole)


def test_untied_embeddings_learn_as_well(tmp_path):
    """With ties, which the others have, one weight gets gradients from both sides, the head and the terms."""
    student = {"tie_word_embeddings": False}
    assert_alike(
        run(tmp_path, "bart", rows=8, student=student, settle=False, max_steps=3),
        run(tmp_path, "bart", rows=8, student=student, max_steps=3),
    )


@pytest.mark.parametrize("terms", [["encoder_hidden_states:1"], ["decoder_minilm:1", "decoder_embeddings:1"]])
def test_layers_alone_train_without_a_term_on_logits(tmp_path, terms):
    student, teacher = unlike_pair()
    before = weights(student)
    trainer = make_seq2seq_trainer(tmp_path, student, make_pairs(8), teacher=teacher, terms=terms, max_steps=2)
    trainer.train()
    assert distance(before, weights(student)) > 1e-4
    assert logs_of(trainer, *(f"{term[:-2]}_loss" for term in terms))[0][0] > 0


def test_gradient_checkpointing_changes_nothing(tmp_path):
    checkpointed = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    assert_alike(run(tmp_path, rows=8, max_steps=2, **checkpointed), run(tmp_path, rows=8, max_steps=2))


def test_evaluation_reports_the_terms_of_both_sides(tmp_path):
    found = []
    for size in (1, 5):
        student, teacher = unlike_pair()
        given = {"eval_dataset": make_pairs(11)}
        trainer = make_seq2seq_trainer(
            tmp_path, student, make_pairs(4), teacher=teacher, given=given, per_device_eval_batch_size=size, **ON_LAYERS
        )
        found.append([trainer.evaluate()[f"eval_{name}"] for name in LOGGED[:-1]])
    assert found[0] == pytest.approx(found[1], rel=1e-5) and min(found[0]) > 0


def test_a_list_for_the_other_sides_layers_is_refused(tmp_path):
    student, teacher = unlike_pair()
    settings = {"terms": ["decoder_hidden_states:1"], "layer_map": ["0", "3"]}
    with pytest.raises(ValueError, match=r"layer_map \[0, 3\] names layer 3, and the teacher's layers are 0 to 2"):
        make_seq2seq_trainer(tmp_path, student, make_pairs(4), teacher=teacher, max_steps=1, **settings).train()


# ---- Resuming ----


KINDS = {"word": SCHEDULES, "layers": ON_LAYERS}


def resumable(out, kind, given=None):
    """A run with everything that has a state: dropout, shuffling, Adam, schedules, projections and maps."""
    alike = make_seq2seq(seed=1, dropout=0.3), make_seq2seq(seed=2)
    own, teacher = unlike_pair(dropout=0.3) if kind == "layers" else alike
    return make_seq2seq_trainer(out, own, make_pairs(22), teacher=teacher, given=given, **SETTINGS, **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_as_if_never_interrupted(tmp_path, kind):
    for resumed, reference in resumed_from_steps(resumable, tmp_path, kind):
        assert_same_end(resumed, reference)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_process_resumes_to_the_same_end(tmp_path, kind):
    """The last checkpoint must suffice, the loss in chunks included."""
    assert_same_end(*resumed_after_a_kill(resumable, tmp_path, kind))


def test_nothing_of_distillation_gets_into_the_students_folder(tmp_path):
    """A problem type would make a classifier of it; the generation config must stay."""
    trainer = run(tmp_path / "out", rows=8, max_steps=2)
    trainer.save_model()
    loaded = type(trainer.model).from_pretrained(tmp_path / "out")
    assert distance(weights(loaded), weights(trainer.model)) == 0
    assert loaded.config.problem_type is None and loaded.generation_config.max_length == 12
    assert torch.load(tmp_path / "out" / "training_args.bin", weights_only=False).decoder_layer_map == ["uniform"]
    assert not list((tmp_path / "out").glob("objective*"))
