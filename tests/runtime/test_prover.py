"""Whatever the process of a proof does, its parent has a verdict on every subject, in time, and is unharmed."""

import dataclasses
import os
import sys
import time
from pathlib import Path

import pytest

from fastwave.runtime import library
from fastwave.runtime.prover import QUICK, Prover
from fastwave.runtime.verdict import SUBJECTS
from proofs_in_scenarios import LIMITS, prover, starts

GENERATION = SUBJECTS["generation"]
FIRST, SECOND, THIRD = GENERATION


def outcomes(verdicts):
    return [verdicts[subject].outcome for subject in GENERATION]


def test_one_process_proves_all_that_passes(tmp_path):
    verdicts = prover(tmp_path, {}).prove(GENERATION, 0)
    assert outcomes(verdicts) == ["passed"] * 3
    assert verdicts[FIRST].rates == {"1 stream": {"cuda": 4.0, "cpu": 2.0}}
    assert len(starts(tmp_path)) == 1


@pytest.mark.parametrize(
    ("fault", "outcome", "detail"),
    [
        ("hang", "hung", "stopped after 1 s"),
        ("crash", "crashed", "SIGSEGV: before the end"),
        ("abort", "crashed", "SIGABRT"),
        ("child", "crashed", "SIGABRT"),
        ("exit", "crashed", "exit status 0"),
        ("wrong", "wrong", "detail of wrong"),
        ("failed", "failed", "detail of failed"),
        ("unfinished", "unfinished", "detail of unfinished"),
        ("babble", "failed", "the process of the proof said something else"),
        ("nested", "failed", "nested too deep"),
        ("list", "failed", "no object of JSON"),
        ("negative", "failed", "the rates of a verdict are no rates"),
    ],
)
def test_after_a_fault_the_others_are_proved_in_a_new_process(tmp_path, fault, outcome, detail):
    begun = time.monotonic()
    verdicts = prover(tmp_path, {str(SECOND): fault}).prove(GENERATION, 0)
    assert outcomes(verdicts) == ["passed", outcome, "passed"]
    assert detail in verdicts[SECOND].detail
    assert starts(tmp_path) == [", ".join(map(str, GENERATION)), str(THIRD)]
    assert time.monotonic() - begun < 20


def test_what_is_refused_ends_no_process(tmp_path):
    verdicts = prover(tmp_path, {str(SECOND): "refused"}).prove(GENERATION, 0)
    assert outcomes(verdicts) == ["passed", "refused", "passed"] and len(starts(tmp_path)) == 1


def test_a_fault_of_every_subject_costs_a_process_each_and_no_more(tmp_path):
    faults = {str(FIRST): "crash", str(SECOND): "hang", str(THIRD): "wrong"}
    assert outcomes(prover(tmp_path, faults).prove(GENERATION, 0)) == ["crashed", "hung", "wrong"]
    assert len(starts(tmp_path)) == 3


def test_the_time_for_all_ends_all(tmp_path):
    limits = dataclasses.replace(LIMITS, subject=5.0, total=1.0)
    begun = time.monotonic()
    verdicts = prover(tmp_path, {str(SECOND): "hang"}, limits).prove(GENERATION, 0)
    assert outcomes(verdicts) == ["passed", "unfinished", "unfinished"]
    assert verdicts[THIRD].detail == "the 1 s for all proofs were over" and time.monotonic() - begun < 4


def test_kernels_that_are_compiled_first_have_a_limit_of_their_own(tmp_path):
    slow = dataclasses.replace(LIMITS, compiled=0.5, subject=30.0)
    (subject, *_) = SUBJECTS["training"]
    verdict = prover(tmp_path, {str(subject): "hang"}, slow).prove([subject], 0)[subject]
    assert (verdict.outcome, verdict.detail) == ("hung", "stopped after 0.5 s")


@pytest.mark.parametrize(
    ("start", "outcome", "detail"),
    [
        ("hang", "unfinished", "it did not start: stopped after 0.5 s"),
        ("exit", "failed", "it did not start: exit status 3: no module named torch"),
    ],
)
def test_a_process_that_does_not_start_is_not_started_again(tmp_path, start, outcome, detail):
    verdicts = prover(tmp_path, {"start": start}, dataclasses.replace(LIMITS, start=0.5)).prove(GENERATION, 0)
    assert {(verdict.outcome, verdict.detail) for verdict in verdicts.values()} == {(outcome, detail)}
    assert len(starts(tmp_path)) == 1


def test_what_a_dead_process_started_is_ended_with_it(tmp_path):
    detail = prover(tmp_path, {str(SECOND): "child"}).prove(GENERATION, 0)[SECOND].detail
    status = Path(f"/proc/{detail.removeprefix('SIGABRT: ')}/stat")  # a zombie where nobody has asked for its status
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_no_program_to_start_is_a_verdict_too(tmp_path, monkeypatch):
    verdicts = Prover(LIMITS, "quick", [str(tmp_path / "nowhere")]).prove(GENERATION, 0)
    assert outcomes(verdicts) == ["failed"] * 3 and "no process could be started" in verdicts[FIRST].detail
    monkeypatch.setattr(sys, "frozen", True, raising=False)  # sys.executable is then the user's own program
    assert "frozen into a program" in Prover(LIMITS, "quick").prove(GENERATION, 0)[FIRST].detail


def test_a_stopped_parent_leaves_no_process(tmp_path, monkeypatch):
    """Ctrl-C while a kernel hangs."""
    processes = []

    def interrupt(conversation, seconds):
        processes.append(conversation._process)
        raise KeyboardInterrupt

    monkeypatch.setattr("fastwave.runtime.prover._Conversation._next", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prover(tmp_path, {"start": "hang"}).prove(GENERATION, 0)
    assert processes[0].returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(processes[0].pid, 0)


@pytest.mark.slow
def test_the_process_of_a_real_proof_is_this_fastwave_and_takes_nothing_from_the_folder_it_starts_in(
    tmp_path, monkeypatch
):
    for name in ("json", "torch", "fastwave"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    verdict = Prover(QUICK, "quick").prove([FIRST], 0)[FIRST]
    if library.missing("cuda"):
        assert verdict.outcome == "refused" and "libfastwave_cuda" in verdict.detail, verdict
    else:
        assert verdict.outcome in ("passed", "refused"), verdict
