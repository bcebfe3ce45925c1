"""What a search found, as a picture."""

import numpy as np

from hfdistill.search import Candidate, trade_off
from hfdistill.search.trade_off import plot_front


def test_the_front_of_a_search_is_a_line_through_its_best(tmp_path, monkeypatch):
    """Every student is a point, and those that none beats are joined."""
    students = [Candidate({}, score, latency, 1) for score, latency in ((0.8, 1.0), (0.7, 2.0), (0.9, 3.0))]
    drawn = []
    monkeypatch.setattr(trade_off, "save", lambda figure, path: drawn.append(figure))
    plot_front(students, [students[0], students[2]], "accuracy", tmp_path / "front.png")
    [axes] = drawn[0].axes
    assert [len(one.get_offsets()) for one in axes.collections] == [3, 2]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1.0, 0.8], [3.0, 0.9]])
