"""A run planned from a time: made once, its end moved by the clock, written down before it is used."""

import dataclasses
import json

import pytest

from fastwave import InputError
from fastwave.training import loop, planning
from fastwave.training.settings import Settings
from fastwave.training.wavenet import WaveNetTask
from small_runs import lines_of, make_config, make_data, make_settings, weights_of

BASE = Settings(minutes=10, batch=1, window=8192)


class Clock:
    """Time that passes by `seconds` each time a batch is read, in place of the machine's."""

    def __init__(self):
        self.now, self.seconds = 0.0, 1.0

    def monotonic(self):
        return self.now


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("planning"))


@pytest.fixture
def clock(monkeypatch):
    """The loop's clock; a step costs `clock.seconds`."""
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    one_step = loop.Loop._one_step

    def step(self):
        clock.now += clock.seconds
        one_step(self)

    monkeypatch.setattr(loop.Loop, "_one_step", step)
    return clock


def settings_of(minutes, seconds=1.0, **changes):
    quick = make_settings(minutes=minutes, schedule="trapezoid", **changes)
    fixed = {
        "save_every": 7,
        "validate_every": 50,
        "sample_every": 10_000,
        "first_sample": 0,
        "validation_targets": 500,
    }
    return planning.planned(quick, seconds, 0.0, fixed)


def run(data, out, settings):
    task = WaveNetTask(data, make_config(), settings)
    loop.train(task, out)
    return task.settings


def test_a_plan_fills_the_time_with_steps_and_ends_at_learning_rate_zero():
    settings = planning.planned(BASE, 0.1, 30.0, {})
    assert settings.steps == int(570 * (1 - planning.OVERHEAD) / 0.1)
    assert settings.rate(settings.steps - 1) < 0.001 * settings.learning_rate
    assert settings.rate(settings.steps // 2) == settings.learning_rate


def test_the_first_sample_comes_within_the_first_minute_and_then_ever_less_often():
    settings = planning.planned(BASE, 0.1, 5.0, {})
    due = [step for step in range(1, settings.steps) if settings.sample_is_due(step)]
    assert due[0] * 0.1 < 30
    assert due[1] == 2 * due[0]
    assert len(due) < 20


def test_what_the_user_chose_stays():
    settings = planning.planned(BASE, 0.1, 0.0, {"average": 0.5, "warmup": 7, "save_every": 3, "schedule": "cosine"})
    assert (settings.average, settings.warmup, settings.save_every, settings.schedule) == (0.5, 7, 3, "cosine")
    assert settings.knots == ()


def test_a_time_in_which_nothing_can_be_learned_is_refused_with_what_a_step_costs():
    with pytest.raises(InputError, match=r"a step takes 20 s here and 60 s are left, which is 2 steps"):
        planning.planned(dataclasses.replace(BASE, minutes=1), 20.0, 0.0, {})


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 3.0])
def test_a_machine_of_another_speed_than_measured_ends_annealed_within_5_percent_of_the_time(
    data, tmp_path, clock, seconds
):
    clock.seconds = seconds
    settings = run(data, tmp_path / "run", settings_of(minutes=3))
    assert clock.now == pytest.approx(180, rel=0.05)
    assert settings.rate(settings.steps - 1) < 0.1 * settings.learning_rate


def test_a_machine_that_becomes_slower_in_the_middle_ends_in_time(data, tmp_path, clock):
    settings = settings_of(minutes=2)
    one_step = loop.Loop._one_step

    def slower_and_slower(self):
        clock.seconds = 1.0 if clock.now < 45 else 2.5
        one_step(self)

    loop.Loop._one_step = slower_and_slower
    try:
        run(data, tmp_path / "run", settings)
    finally:
        loop.Loop._one_step = one_step
    assert clock.now == pytest.approx(120, rel=0.05)


def test_a_moved_end_stands_in_run_json_before_a_step_is_made_by_it(data, tmp_path, clock):
    clock.seconds = 2.0
    out = tmp_path / "run"
    settings = run(data, out, settings_of(minutes=2))
    saved = json.loads((out / "run.json").read_text())["settings"]
    assert saved["steps"] == settings.steps
    assert [tuple(knot) for knot in saved["knots"]] == list(settings.knots)
    assert saved["corrections"] == len(planning.CORRECTIONS)
    paces = lines_of(out, "pace")
    assert len(paces) == len(planning.CORRECTIONS)
    assert paces[0]["before"] > paces[0]["steps"]


def test_a_run_that_follows_a_written_plan_has_the_same_bits_at_any_speed(data, tmp_path, clock):
    clock.seconds = 2.0
    settings = run(data, tmp_path / "first", settings_of(minutes=1))
    clock.seconds, clock.now = 0.7, 0.0
    run(data, tmp_path / "second", settings)
    assert weights_of(tmp_path / "first", settings.steps) == weights_of(tmp_path / "second", settings.steps)


@pytest.mark.parametrize(("minutes", "low", "high"), [(20, 1150, 1200), (6, 350, 370)])
def test_a_run_with_another_time_ends_annealed_at_that_time(minutes, low, high):
    settings = planning.planned(BASE, 1.0, 0.0, {})
    changed = planning.with_other_minutes(settings, minutes, 1.0, step=250, used=260.0)
    assert low * (1 - planning.OVERHEAD) - 30 < changed.steps < high
    assert changed.rate(changed.steps - 1) < 0.02 * changed.learning_rate
    assert [changed.rate(step) for step in range(250)] == [settings.rate(step) for step in range(250)]
    assert changed.corrections == 0


@pytest.mark.parametrize(
    ("low", "chosen", "expected"),
    [(0.8, {}, "bfloat16"), (0.95, {}, "float32"), (0.5, {"precision": "float32"}, "float32")],
)
def test_bfloat16_is_taken_where_it_is_much_faster_unless_the_user_chose(low, chosen, expected):
    settings, seconds = planning.fastest(BASE, chosen, lambda each: {"float32": 1.0, "bfloat16": low}[each.precision])
    assert settings.precision == expected and seconds == (low if expected == "bfloat16" else 1.0)
