"""What the figures come to: two sentences that are true of them, and one piece of advice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import make_model, make_rows, make_trainer

from hfdistill.report import Comparison, ModelFigures
from hfdistill.report.quality import PairedTest
from hfdistill.report.verdict import LONGER, Training, advice, training_of, verdict
from hfdistill.tasks.translation.report import TranslationComparison, TranslatorFigures


def figures(score, latency=10.0, megabytes=100.0, metric="accuracy", kind=ModelFigures, **more):
    return kind({metric: score}, 1_000_000, 10, megabytes, latency, 100.0, **more)


def compared(student=0.89, baseline=0.888, p=0.78, latency=6.6, megabytes=77.0, teacher=0.9, **more):
    models = {"teacher": figures(teacher), "student": figures(student, latency, megabytes, **more)}
    if baseline is None:
        return Comparison(models, rows=1000)
    models["baseline"] = figures(baseline, latency, megabytes)
    return Comparison(models, rows=1000, paired=PairedTest(10, 9, p))


CASES = {
    "no proven gain": (
        compared(),
        "Keeps 98.9 % of the teacher's accuracy, 1.5 times as fast, 77 % of its bytes. "
        "Against the same student without a teacher: +0.2 points of accuracy, p = 0.78: no proven gain.",
    ),
    "a gain": (compared(baseline=0.8, p=5e-23), "+9.0 points of accuracy, p = 5e-23: the teacher helped."),
    "harm": (compared(baseline=0.95, p=0.001), "-6.0 points of accuracy, p = 0.001: the teacher did harm."),
    "a loss by chance": (compared(baseline=0.9), "-1.0 points of accuracy, p = 0.78: no proven loss."),
    "no baseline": (compared(baseline=None), "What the teacher added is not known: --baseline trains"),
    "better than the teacher": (compared(student=0.95), "Keeps all of the teacher's accuracy (0.9500, teacher 0.9000)"),
    "much worse": (compared(student=0.45), "Keeps only 50.0 % of the teacher's accuracy"),
    "slower": (compared(latency=20.0), "accuracy, slower: 2.0 times the latency, 77 %"),
    "as fast": (compared(latency=10.2), "accuracy, no faster, 77 %"),
    "a little faster": (compared(latency=9.0), "accuracy, 11 % faster, 77 %"),
    "no smaller": (compared(megabytes=100.0), "1.5 times as fast, no smaller."),
    "almost all": (compared(student=0.8998), "Keeps 99.98 % of"),
    "a busy machine": (
        compared(speedup_quartiles=(0.8, 5.6)),
        "0.8 to 5.6 times as fast (measured on a busy machine), 77 %",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_says_what_the_figures_do(case):
    """A loss in the words of a gain is worse than a table that nobody reads."""
    comparison, expected = CASES[case]
    assert expected in verdict(comparison)


def test_a_translators_points_are_bleu():
    """24 BLEU are no 2,400 points."""
    scores = {"teacher": 30.0, "student": 24.0, "baseline": 22.5}
    models = {role: figures(score, metric="bleu", kind=TranslatorFigures) for role, score in scores.items()}
    told = verdict(TranslationComparison(models, rows=5, paired=PairedTest(None, None, 0.03)))
    assert told.startswith("Keeps only 80.0 % of the teacher's BLEU, no faster, no smaller.")
    assert "without a teacher: +1.5 BLEU, p = 0.03: the teacher helped." in told


def test_another_student_is_named_and_an_export_is_none():
    """An int8 file of the student is no answer to what its teacher was good for."""
    comparison = compared(baseline=None)
    comparison.models["int8"] = figures(0.7, engine="ONNX Runtime")
    assert "is not known" in verdict(comparison)
    comparison.models["logits"] = figures(0.88)
    assert verdict(comparison).endswith("Against logits: +1.0 points of accuracy.")


def test_students_without_a_teacher_keep_nothing_of_one():
    """In the teacher's column is the second student."""
    told = verdict(replace(compared(), taught=False))
    assert told.startswith(
        "There was no teacher: accuracy 0.8900, 77.0 MB, 6.6 ms for a text. Against the same student alone"
    )


FALLING = [{"eval_loss": 0.5, "step": 1}, {"eval_loss": 0.4, "step": 2}]
ADVICE = {
    "a better teacher": (compared(baseline=0.91), Training(alpha=0.5), "a better teacher"),
    "less of the teacher": (compared(baseline=0.899, p=0.01), Training(alpha=0.9), "a lower --alpha (it was 0.9)"),
    "longer": (compared(), Training(history=FALLING), "more epochs (--num_train_epochs)"),
    "more steps": (compared(), Training(history=FALLING, longer=LONGER[True]), "more steps (--max_steps)"),
    "less by a share of labels": (compared(baseline=0.899, p=0.01), Training(alpha=4 / 7), "(it was 0.571)"),
    "faster": (
        compared(student=0.5, baseline=0.4),
        Training(history=FALLING, learning_rate=2e-5),
        "a higher --learning_rate (it was 2e-05)",
    ),
    "fewer layers": (compared(latency=9.9), Training(), "fewer layers (--student_num_hidden_layers)"),
    "no fewer than one": (compared(latency=9.9), Training(layers=1), "--unlabeled_file"),
    "smaller": (
        compared(student=0.899),
        Training(layers_option="--student_num_decoder_layers"),
        "(--student_num_decoder",
    ),
    "layers": (compared(), Training(narrower=True), "--terms labels soft_targets minilm"),
    "no layers of other tokens": (compared(), Training(narrower=True, shares_tokens=False), "--unlabeled_file"),
    "more of the teacher": (compared(), Training(alpha=0.5), "a higher --alpha (it was 0.5)"),
    "more text": (compared(), Training(alpha=0.95), "--unlabeled_file"),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice_is_one_thing_that_the_figures_ask_for(case):
    """A list of all that could be done is no advice."""
    comparison, training, expected = ADVICE[case]
    told = advice(comparison, training)
    assert told.startswith("To try first: ") and expected in told and told.count("--") <= 1


def test_no_advice_without_a_reason():
    """Whoever did all of it is left alone."""
    assert advice(compared(p=0.001), Training(unlabeled_rows=5)) == ""
    assert advice(replace(compared(), taught=False), Training()) == ""


def test_advice_names_options_that_there_are():
    """An option that was renamed sends the reader nowhere."""
    from hfdistill.commands.distill_options import GROUPS
    from hfdistill.losses import TERMS
    from hfdistill.report.verdict import LAYER_TERMS
    from hfdistill.tasks.classification.arguments import ClassificationTrainingArguments

    options = {f"--{name}" for one in (*GROUPS, ClassificationTrainingArguments) for name in one.__dataclass_fields__}
    told = " ".join(
        advice(*ADVICE[case][:2]).replace("(", " ").replace(")", " ") for case in ADVICE if case != "smaller"
    )
    assert {word for word in told.replace(",", " ").split() if word.startswith("--")} <= options
    assert set(LAYER_TERMS.split()) <= TERMS.keys()


def test_advice_on_the_length_names_the_option_that_counts(tmp_path):
    """Where steps are given, `Trainer` does not read the number of epochs."""
    model = make_model(1)
    for settings, longer in (({}, LONGER[False]), ({"max_steps": 2}, LONGER[True])):
        known = training_of(make_trainer(tmp_path, model, make_rows(), **settings), model)
        assert (known.longer, known.layers) == (longer, 2)
