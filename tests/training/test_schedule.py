"""The learning rate as straight lines: it rises, stays and falls to 0, wherever the end is moved."""

import pytest

from fastwave import InputError
from fastwave.training.schedule import extended, share_at, stretched, trapezoid
from fastwave.training.settings import Settings


def test_a_trapezoid_rises_stays_and_falls_to_zero():
    knots = trapezoid(1000, warmup=100)
    assert [share_at(knots, step) for step in (0, 50, 100, 500, 750, 875, 1000)] == [0, 0.5, 1, 1, 1, 0.5, 0]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 9, 100])
def test_a_run_of_any_length_has_a_learning_rate_at_every_step_and_ends_lower_than_it_was(steps):
    settings = Settings(steps=steps, schedule="trapezoid", warmup=200)
    rates = [settings.rate(step) / settings.learning_rate for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    assert steps < 3 or rates[-1] < max(rates)


@pytest.mark.parametrize("step", [10, 500, 800, 990])
@pytest.mark.parametrize("steps", [1000, 1001, 1200, 5000])
def test_a_moved_end_leaves_the_past_alone_does_not_jump_and_reaches_zero(step, steps):
    before = trapezoid(1000)
    after = stretched(before, step, steps)
    assert [share_at(after, each) for each in range(step + 1)] == pytest.approx(
        [share_at(before, each) for each in range(step + 1)]
    )
    assert share_at(after, steps) == 0
    assert share_at(after, steps - 1) > 0
    values = [share_at(after, each) for each in range(steps + 1)]
    assert max(abs(b - a) for a, b in zip(values[step:], values[step + 1 :], strict=False)) < 0.11


def test_a_finished_run_that_goes_on_warms_up_from_zero_and_cools_down_again():
    knots = extended(trapezoid(1000), 1000, 3000)
    assert share_at(knots, 1000) == 0
    assert share_at(knots, 1500) == 1
    assert share_at(knots, 3000) == 0
    assert share_at(knots, 875) == 0.5


def test_a_run_that_goes_on_before_it_cools_stays_at_the_highest_rate():
    knots = extended(trapezoid(1000), 600, 3000)
    assert [share_at(knots, step) for step in (600, 700, 1000, 2000)] == [1, 1, 1, 1]


def test_settings_keep_the_knots_they_were_made_with_and_make_them_otherwise():
    made = Settings(steps=100, schedule="trapezoid", warmup=10)
    assert made.knots == ((0, 0.0), (10, 1.0), (75, 1.0), (100, 0.0))
    moved = Settings(steps=120, schedule="trapezoid", knots=((0, 0.0), (10, 1.0), (120, 0.0)))
    assert moved.rate(64) == pytest.approx(moved.learning_rate * 0.5, rel=0.01)


@pytest.mark.parametrize("knots", [((0, 0.0), (50, 1.0)), ((0, 0.0), (200, 1.0), (100, 0.0)), ((0, 2.0), (100, 0.0))])
def test_knots_that_are_no_schedule_of_the_run_are_refused(knots):
    with pytest.raises(InputError, match="knots"):
        Settings(steps=100, schedule="trapezoid", knots=knots)
