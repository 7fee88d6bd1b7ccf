"""Where the user names no preset, the plan takes the largest that has time for enough targets."""

import pytest

from fastwave.training import planning, start
from fastwave.training.choices import Choices, settle
from fastwave.training.parallel import Group
from small_runs import make_data

SMALL, REF = 32, 64  # their residual channels


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("shape"), classes=256)


@pytest.fixture
def planned(data, monkeypatch, capsys):
    """(seconds a step of small, of ref, minutes, whether the shape is free, chosen) -> task, plan, channels measured"""

    def plan(small, ref, minutes=20.0, free=True, **chosen):
        measured = []

        def seconds_per_step(task, group):
            channels = task.model_config.residual_channels
            measured.append((channels, task.settings.precision, task.settings.window))
            return {SMALL: small, REF: ref}[channels] * task.settings.window / 8192

        monkeypatch.setattr(planning, "seconds_per_step", seconds_per_step)
        choices = Choices(str(data.folder), preset=None if free else "small")
        planner = start._Planner(data, settle(choices)[0], "auto", Group("cpu"), start.time.monotonic())
        task = planner.new(choices, {"precision": "float32", "batch": 1, "minutes": minutes, **chosen}, free)
        return task, planner.plan, measured

    return plan


def seconds_for(targets, minutes=20.0):
    return 60 * minutes * 8192 / targets


def test_the_larger_shape_is_taken_where_it_has_time_for_enough_targets_at_its_own_speed(planned):
    least = dict(planning.SHAPES)["ref"]
    task, plan, _ = planned(seconds_for(2.3 * least), seconds_for(1.01 * least))
    assert (task.model_config.residual_channels, plan["preset"]) == (REF, "ref")
    assert task.settings.steps == pytest.approx(1.01 * least / 8192 * (1 - planning.OVERHEAD), rel=0.01)
    assert "model 'ref'" in plan["lines"][0]


def test_the_smaller_shape_stays_where_the_larger_is_too_slow(planned):
    least = dict(planning.SHAPES)["ref"]
    task, plan, measured = planned(seconds_for(2.3 * least), seconds_for(0.99 * least))
    assert (task.model_config.residual_channels, plan["preset"]) == (SMALL, "small")
    assert task.settings.steps == pytest.approx(2.3 * least / 8192 * (1 - planning.OVERHEAD), rel=0.01)
    assert [channels for channels, *_ in measured] == [SMALL, REF]


def test_the_larger_shape_is_not_even_measured_where_the_smaller_has_no_time_for_as_many_targets(planned):
    least = dict(planning.SHAPES)["ref"]
    _, plan, measured = planned(seconds_for(0.99 * least), seconds_for(0.98 * least))
    assert plan["preset"] == "small"
    assert REF not in {channels for channels, *_ in measured}


def test_a_named_preset_stays(planned):
    least = dict(planning.SHAPES)["ref"]
    _, plan, measured = planned(seconds_for(20 * least), seconds_for(10 * least), free=False)
    assert plan["preset"] == "small"
    assert {channels for channels, *_ in measured} == {SMALL}


def test_a_short_run_has_shorter_windows_and_its_step_is_measured_anew(planned):
    task, _, measured = planned(1.5, 3.0)  # 800 steps
    assert task.settings.window == planning.SHORT_WINDOW
    assert [window for *_, window in measured] == [8192, planning.SHORT_WINDOW]
    assert task.settings.steps == pytest.approx(1200 * (1 - planning.OVERHEAD) / 0.75, rel=0.01)


def test_a_run_of_some_thousand_steps_keeps_its_windows(planned):
    task, _, measured = planned(0.9, 1.8)  # 1,333 steps
    assert task.settings.window == 8192 and [window for *_, window in measured] == [8192]
