"""Pictures: what is drawn, and that nothing global is touched by drawing it."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.image import imread

from hfdistill.report import Comparison, ModelFigures, plots
from hfdistill.report.plots import COLOR_OF, plot_confusion, plot_losses, plot_reliability, plot_tradeoff
from hfdistill.report.quality import Calibration

STUDENT = [
    {"loss": 3.0, "label_loss": 2.0, "soft_target_loss": 4.0, "learning_rate": 1e-3, "step": 1},
    {"eval_loss": 2.5, "eval_label_loss": 1.5, "eval_soft_target_loss": 3.5, "eval_runtime": 1.0, "step": 2},
    {"loss": 2.0, "label_loss": 1.0, "soft_target_loss": 3.0, "learning_rate": 5e-4, "step": 3},
    {"train_runtime": 9.0, "train_loss": 2.5, "total_flos": 1.0, "step": 3},
]
BASELINE = [{"loss": 1.5, "label_loss": 1.5, "step": 1}]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, while they are also written."""
    figures = []
    save = plots.save
    monkeypatch.setattr(plots, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


@pytest.fixture
def comparison():
    """Three models of different cost and quality."""

    def figures(accuracy, latency, parameters):
        metrics = {"accuracy": accuracy, "f1": accuracy / 2}
        return ModelFigures(metrics, parameters, 10, 4 * parameters / 1e6, latency, 10.0)

    models = {
        "teacher": figures(0.9, 8.0, 110_000_000),
        "student": figures(0.8, 4.0, 66_000_000),
        "baseline": figures(0.7, 4.1, 66_000_000),
    }
    return Comparison(models, rows=10, device="a device")


def lines_of(axes):
    return {line.get_label(): [tuple(point) for point in line.get_xydata()] for line in axes.lines}


def is_transparent_picture(path):
    picture = imread(path)
    alpha = picture[..., 3]
    return picture.shape[2] == 4 and alpha[0, 0] == 0 and (alpha > 0).any()


def test_every_logged_loss_has_axes_of_its_own(tmp_path, drawn):
    """On one axis a student's weighted sum lay far below its baseline's loss, as if it had learned more."""
    plot_losses({"student": STUDENT, "baseline": BASELINE}, tmp_path / "losses.png")
    panels = {axes.get_title(): axes for axes in drawn[0].axes}
    assert list(panels) == ["objective (weighted sum)", "label_loss", "soft_target_loss"]
    assert list(lines_of(panels["objective (weighted sum)"]).values()) == [[(1, 3.0), (3, 2.0)], [(2, 2.5)]]
    own, others, alone = panels["label_loss"].lines
    assert [line.get_xydata().tolist() for line in (own, others, alone)] == [
        [[1, 2.0], [3, 1.0]],
        [[2, 1.5]],
        [[1, 1.5]],
    ]
    assert to_hex(own.get_color()) == to_hex(others.get_color()) == COLOR_OF["student"]
    assert to_hex(alone.get_color()) == COLOR_OF["baseline"] and own.get_linestyle() != others.get_linestyle()
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["student", "baseline", "training", "evaluation"]


def test_an_objective_of_many_terms_is_drawn_in_full(tmp_path, drawn):
    """The terms after the first few must not vanish, nor leave a hole in the picture."""
    terms = {f"term{index}_loss": float(index) for index in range(9)}
    plot_losses({"student": [{"loss": 1.0, **terms, "step": 1}]}, tmp_path / "losses.png")
    assert [len(axes.lines) for axes in drawn[0].axes] == [1] * 10


def test_a_model_has_one_color_in_all_pictures(tmp_path, drawn, comparison):
    """Without a teacher's curve the student took the teacher's color."""
    plot_losses({"student": STUDENT}, tmp_path / "losses.png")
    plot_tradeoff(comparison, "f1", tmp_path / "tradeoff.png")
    losses, tradeoff = drawn
    dots = {
        one.get_label(): to_hex(one.get_facecolor()[0])
        for one in tradeoff.axes[0].collections
        if one.get_label()[0] != "_"
    }
    assert dots == COLOR_OF and to_hex(losses.axes[0].lines[0].get_color()) == dots["student"]


@pytest.mark.parametrize(
    "runs", [{}, {"student": []}, {"student": BASELINE}, {"a": STUDENT, "b": STUDENT, "c": STUDENT}]
)
def test_losses_of_any_number_of_runs_and_points(tmp_path, runs):
    """A run that ended before its first log must still leave its report."""
    plot_losses(runs, tmp_path / "losses.png")
    assert imread(tmp_path / "losses.png").shape[2] == 4


def test_models_are_points_by_cost_and_metric(tmp_path, drawn, comparison):
    """A swapped axis makes the slow model look fast."""
    plot_tradeoff(comparison, "f1", tmp_path / "tradeoff.png")
    speed, size = drawn[0].axes
    for axes, costs in ((speed, [8.0, 4.0, 4.1]), (size, [440.0, 264.0, 264.0])):
        dots = [one for one in axes.collections if isinstance(one, PathCollection)]
        points = np.concatenate([one.get_offsets() for one in dots])
        np.testing.assert_allclose(points, list(zip(costs, [0.45, 0.4, 0.35], strict=True)))
        assert [one.get_label() for one in dots] == ["teacher", "student", "baseline"]
        assert axes.get_xlim()[0] == 0 and axes.get_ylabel() == "f1"
    assert speed.get_title() == "f1 and speed" and speed.get_xlabel() == "latency of one text, ms (a device)"
    assert size.get_title() == "f1 and size" and size.get_xlabel() == "size of the weights, MB"
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["teacher", "student", "baseline"]


def test_the_interval_of_a_metric_is_drawn(tmp_path, drawn, comparison):
    """Without it, two points a row apart look like a gain."""
    models = {**comparison.models}
    models["student"] = replace(models["student"], intervals={"f1": (0.35, 0.45)})
    plot_tradeoff(replace(comparison, models=models), "f1", tmp_path / "tradeoff.png")
    lines = [one.get_segments()[0] for one in drawn[0].axes[0].collections if isinstance(one, LineCollection)]
    np.testing.assert_allclose(lines[1], [[4.0, 0.35], [4.0, 0.45]])


def calibrated(comparison):
    """The models with a calibration each, and a confusion of fourteen classes."""
    one = Calibration(0.1, 0.05, 1.5, (0.3, 0.9), (0.5, 0.7), (0.25, 0.75))
    models = {role: replace(model, calibration=one) for role, model in comparison.models.items()}
    confusion = np.diag([90] * 14)
    confusion[3, 7], confusion[7, 3], confusion[0, 1] = 5, 2, 1
    return replace(comparison, models=models, confusion=confusion, label_names=[f"c{index}" for index in range(14)])


def test_reliability_is_drawn_for_each_model(tmp_path, drawn, comparison):
    """Accuracy over confidence, not the other way round: the model would look unsure that is too sure."""
    plot_reliability(calibrated(comparison), tmp_path / "reliability.png")
    [axes] = drawn[0].axes
    *curves, diagonal = axes.lines
    assert [line.get_label() for line in curves] == ["teacher", "student", "baseline"]
    np.testing.assert_allclose(curves[0].get_xydata(), [[0.3, 0.5], [0.9, 0.7]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("confidence", "share of correct predictions")


def test_only_disagreements_are_drawn_and_the_most_first(tmp_path, drawn, comparison):
    """Where they agree would drown them."""
    plot_confusion(calibrated(comparison), tmp_path / "confusion.png")
    [axes] = drawn[0].axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["c3 → c7", "c7 → c3", "c0 → c1"]
    assert [bar.get_width() for bar in axes.patches] == [5, 2, 1] and axes.yaxis_inverted()


def test_models_that_agree_throughout_have_an_empty_confusion(tmp_path, drawn, comparison):
    """A student of all its teacher's layers must not stop the report."""
    plot_confusion(replace(comparison, confusion=np.diag([5, 5]), label_names=["a", "b"]), tmp_path / "confusion.png")
    assert not drawn[0].axes[0].patches


def test_pictures_are_transparent(tmp_path, comparison):
    """A white ground glares on a dark page."""
    plot_losses({"student": STUDENT}, tmp_path / "losses.png")
    plot_tradeoff(comparison, "accuracy", tmp_path / "tradeoff.png")
    assert is_transparent_picture(tmp_path / "losses.png") and is_transparent_picture(tmp_path / "tradeoff.png")


@pytest.mark.slow
def test_pyplot_is_left_alone():
    """pyplot picks a backend for the whole process, and a figure it holds is never freed."""
    code = "import sys, hfdistill.report.plots, matplotlib; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
