"""`hfdistill.losses.schedules`: where a value starts, where it ends, and how it gets there."""

import pytest

from hfdistill.losses.schedules import SHAPES, Schedule, value_at


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize(("start", "end"), [(8.0, 1.0), (0.1, 0.9)])
def test_reaches_both_ends_whichever_way_it_goes(shape, start, end):
    schedule = Schedule(start, end, shape)
    values = [schedule.at(step / 20) for step in range(21)]
    assert (values[0], values[-1]) == (pytest.approx(start), pytest.approx(end))
    assert values[10] == pytest.approx((start + end) / 2)
    assert values == sorted(values, reverse=start > end)


def test_shapes_between_the_ends():
    """Two names for one curve would pass every test of the ends and the middle."""
    assert Schedule(2.0, 6.0).at(0.25) == pytest.approx(3.0)
    assert Schedule(2.0, 6.0, "cosine").at(1 / 3) == pytest.approx(3.0)  # (1 − cos 60°) / 2 = 1/4
    assert Schedule(2.0, 6.0, "constant").at(0.7) == 2.0


def test_a_plain_number_stays_itself():
    assert value_at(0.3, 0.9) == 0.3
    assert value_at(Schedule(0.0, 1.0), 0.9) == pytest.approx(0.9)


def test_unknown_shape_lists_the_choices():
    with pytest.raises(ValueError, match=f"schedule 'step' is unknown; choose from {', '.join(SHAPES)}"):
        Schedule(1.0, 2.0, "step")
