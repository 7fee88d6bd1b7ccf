"""The progress of a run where there is no terminal: plain lines, often at first, then seldom."""

import re
import sys
import types

import pytest

from fastwave.training import bar
from fastwave.training.bar import ProgressDisplay

MEASURED = {"bits": 4.3125, "samples_per_second": 41_234.5}


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(bar, "time", made)
    return made


def lines_of(capsys):
    return capsys.readouterr().err.splitlines()


def run(display, clock, steps, seconds):
    display.start()
    for step in range(1, steps + 1):
        clock.now += seconds
        display.update(step, MEASURED)
    display.close()


def test_a_line_says_step_share_loss_speed_and_what_is_left(clock, capsys):
    run(ProgressDisplay(20_000, 0, 10.0, "bits"), clock, 80, 0.25)
    assert lines_of(capsys) == [
        "fastwave train: step 40 of 20,000 (2% of the time), 4.312 bits, 41,234 samples/s, 9 min 50 s left",
        "fastwave train: step 80 of 20,000 (3% of the time), 4.312 bits, 41,234 samples/s, 9 min 40 s left",
    ]


def test_without_a_limit_of_time_the_steps_say_what_is_left(clock, capsys):
    run(ProgressDisplay(100, 20, None, "squared_error"), clock, 60, 1.0)
    first = lines_of(capsys)[0]
    assert first.startswith("fastwave train: step 10 of 100 (10% of the steps), 41,234 samples/s")


def test_the_time_of_a_resumed_run_is_that_of_the_whole_run(clock, capsys):
    display = ProgressDisplay(1000, 100, 10.0, "bits", before=290.0)
    display.start()
    clock.now += 10
    display.steps = 2000  # the plan has moved its end
    display.update(103, MEASURED)
    assert "step 103 of 2,000 (50% of the time)" in lines_of(capsys)[0]


def test_lines_become_seldom(clock, capsys):
    run(ProgressDisplay(100_000, 0, None, "bits"), clock, 1800, 1.0)
    steps = [int(re.search(r"step ([\d,]+)", line)[1].replace(",", "")) for line in lines_of(capsys)]
    gaps = [later - earlier for earlier, later in zip([0, *steps], steps, strict=False)]
    assert set(gaps[:5]) == {10}
    assert set(gaps[8:20]) == {30}
    assert set(gaps[-10:]) == {60}


def test_the_last_step_always_has_its_line(clock, capsys):
    run(ProgressDisplay(7, 0, None, "bits"), clock, 7, 0.1)
    (line,) = lines_of(capsys)
    assert "step 7 of 7 (100% of the steps)" in line and line.endswith("0 s left")


def test_nothing_is_shown_where_nothing_was_asked_for(clock, capsys):
    run(ProgressDisplay(100, 0, None, "bits", show=False), clock, 100, 1.0)
    assert lines_of(capsys) == []


def test_a_resumed_run_is_not_thought_faster_than_it_is(clock, capsys):
    display = ProgressDisplay(1000, 900, None, "bits")
    display.start()
    clock.now += 10
    display.update(910, MEASURED)
    assert lines_of(capsys)[0].endswith("1 min 30 s left")


@pytest.mark.parametrize("place", ["terminal", "notebook"])
def test_a_terminal_and_a_notebook_get_a_bar_and_no_lines(place, monkeypatch, capsys):
    made = []

    class Bar:
        def __init__(self, total, initial, **_):
            self.n, self.total, self.closed = initial, total, False
            made.append(self)

        def set_postfix_str(self, words, refresh):
            self.words = words

        def update(self, _):
            pass

        def close(self):
            self.closed = True

    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=Bar))
    if place == "notebook":
        monkeypatch.setitem(sys.modules, "ipykernel", types.SimpleNamespace())
    else:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    display = ProgressDisplay(50, 10, None, "bits")
    display.start()
    display.update(20, MEASURED)
    display.close()
    (shown,) = made
    assert (shown.n, shown.total, shown.words, shown.closed) == (20, 50, "4.312 bits, 41,234 samples/s", True)
    assert lines_of(capsys) == []
