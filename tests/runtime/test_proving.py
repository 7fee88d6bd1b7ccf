"""A GPU's kernels are proved once, the verdicts are kept, and whatever is wrong with what is kept harms nobody."""

import fcntl
import json
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path

import pytest
import torch.distributed

from fastwave.runtime import gpu, kept, proving
from fastwave.runtime.dispatch import DTYPES
from fastwave.runtime.prover import QUICK
from fastwave.runtime.verdict import SUBJECTS, Verdict, rule
from proofs_in_scenarios import prover, starts

FIRST, CLUSTER, GENERAL = SUBJECTS["generation"]
IDENTITY = {"role": "generation", "device": "GPU of a test", "driver": "550.1"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A machine with a GPU that was never met, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(gpu, "identity", lambda role, device: IDENTITY | {"role": role})
    monkeypatch.setattr(proving, "PROVER", prover(tmp_path, {}))
    proving.forget()
    yield tmp_path
    proving.forget()


def ask(dtype="float32", role="generation", backend="cuda", may_prove=True):
    return proving.ruling(role, backend, dtype, may_prove)


def again(**options):
    """As a new process would."""
    proving.forget()
    return ask(**options)


def test_the_first_to_ask_proves_with_one_line_and_the_next_process_reads(place, capsys):
    assert ask().objection == "" and "2.0 times as fast as cpu (1 stream)" in ask().evidence
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fastwave: first generation in float32 on this GPU of a test: its kernels are checked")
    assert QUICK.total + 1 < 30 and f"up to {QUICK.total:g} s" in line
    assert again().objection == "" and capsys.readouterr().err == ""
    assert len(starts(place)) == 1
    assert [path.suffix for path in kept.path_of(IDENTITY).parent.iterdir()].count(".json") == 1  # no temporary


def test_all_dtypes_of_the_backends_of_a_gpu_are_proved():
    for role, backend in (("generation", "cuda"), ("training", "triton")):
        assert {subject.dtype for subject in SUBJECTS[role]} == set(DTYPES[role][backend])
        assert {subject.backend for subject in SUBJECTS[role]} == {backend}


def test_looking_proves_nothing(place, capsys):
    assert "not proved on this GPU of a test yet" in ask(may_prove=False).objection
    assert starts(place) == [] and capsys.readouterr().err == ""
    assert ask().objection == ""  # and keeps nobody from proving later
    assert ask(may_prove=False).objection == ""


def test_training_has_a_proof_of_its_own(place):
    ask()
    assert ask("tf32", "training", "triton").objection == ""
    assert starts(place) == [str(FIRST), "training triton stack tf32"]


def test_each_dtype_is_proved_when_it_is_wanted_and_kept_beside_the_others(place):
    ask()
    assert again(dtype="bfloat16").objection == ""
    assert starts(place) == [str(FIRST), f"{CLUSTER}, {GENERAL}"]
    assert again().objection == again(dtype="bfloat16").objection == "" and len(starts(place)) == 2


@pytest.mark.parametrize(
    ("quick", "processes"), [(True, [[FIRST], [CLUSTER, GENERAL]]), (False, [list(SUBJECTS["generation"])])]
)
def test_proving_again_replaces_what_was_kept(place, monkeypatch, quick, processes):
    monkeypatch.setattr(proving, "PROVER", prover(place, {str(FIRST): "wrong"}))
    assert ask().objection
    for name in ("PROVER", "THOROUGH_PROVER"):
        monkeypatch.setattr(proving, name, prover(place, {}))
    verdicts = proving.prove_again("generation", quick)
    assert list(verdicts) == list(SUBJECTS["generation"])
    assert ask().objection == ask("bfloat16").objection == again().objection == ""
    assert starts(place)[1:] == [", ".join(map(str, each)) for each in processes]


@pytest.mark.parametrize(
    ("fault", "objection"),
    [
        ("wrong", "it computes wrong numbers here: detail of wrong"),
        ("crash", "it crashed: SIGSEGV"),
        ("hang", "it did not end: stopped after 1 s"),
        ("slow", "it is right, but cpu is faster: 2 samples/s, and it 1 (1 stream)"),
        ("refused", "it cannot run here: detail of refused"),
        ("no rates", "it is right, but was not timed"),
    ],
)
def test_what_is_not_proved_or_not_faster_is_objected_to_and_named(place, monkeypatch, fault, objection):
    monkeypatch.setattr(proving, "PROVER", prover(place, {str(FIRST): fault}))
    found = ask().objection
    assert found.startswith(objection) and found.endswith("`fastwave doctor --prove` checks again")
    assert ask("bfloat16").objection == ""  # the other dtype is as good as it was
    assert again().objection == found  # kept as it is: not tried again by every process
    assert len(starts(place)) <= 2


@pytest.mark.parametrize(
    ("faults", "kernel"),
    [
        ({}, "auto"),
        ({CLUSTER: "wrong"}, "general"),
        ({CLUSTER: "refused"}, "general"),
        ({CLUSTER: "slow"}, "general"),
        ({GENERAL: "slow"}, "cluster"),
        ({GENERAL: "crash"}, "cluster"),
    ],
    ids=str,
)
def test_of_two_kernels_those_are_used_that_passed_and_are_faster(faults, kernel):
    good, slow = ({"1 stream": {"cuda": rate, "cpu": 2.0}} for rate in (4.0, 1.0))
    of = {"slow": Verdict("passed", "", slow), "wrong": Verdict("wrong", ""), "refused": Verdict("refused", ""),
          "crash": Verdict("crashed", "")}  # fmt: skip
    verdicts = {each: Verdict("passed", "", good) for each in SUBJECTS["generation"]}
    verdicts |= {subject: of[fault] for subject, fault in faults.items()}
    found = rule(verdicts, "generation", "cuda", "bfloat16")
    assert (found.objection, found.kernel) == ("", kernel)


def test_two_bad_kernels_are_both_named():
    verdicts = {GENERAL: Verdict("crashed", "SIGSEGV"), CLUSTER: Verdict("wrong", "error 3")}
    objection = rule(verdicts, "generation", "cuda", "bfloat16").objection
    assert "general kernel: it crashed: SIGSEGV" in objection
    assert "cluster kernel: it computes wrong numbers here: error 3" in objection


def damage(name, path):
    text = path.read_text()
    values = json.loads(text)
    if name == "empty":
        path.write_text("")
    elif name == "cut":
        path.write_text(text[: len(text) // 2])
    elif name == "bytes":
        path.write_bytes(b"\xff\xfe" + os.urandom(200))
    elif name == "nested":
        path.write_text("[" * 100_000)
    elif name == "huge":
        path.write_text(text + " " * (2 << 20))
    elif name == "folder":
        path.unlink()
        path.mkdir()
    elif name == "list":
        path.write_text("[]")
    elif name == "other driver":
        path.write_text(json.dumps(values | {"identity": values["identity"] | {"driver": "551.0"}}))
    elif name == "other kernels":
        values["verdicts"]["generation cuda general int4"] = values["verdicts"][str(FIRST)]
        path.write_text(json.dumps(values))
    else:
        values["verdicts"][str(FIRST)] |= json.loads(name)
        path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    "name",
    [
        *("empty", "cut", "bytes", "nested", "huge", "folder", "list", "other driver", "other kernels"),
        *(
            '{"outcome": "perfect"}',
            '{"outcome": []}',
            '{"detail": null}',
            '{"rates": []}',
            '{"seconds": "long"}',
            '{"made": "today"}',
        ),
        *(
            '{"rates": {"1": {"cpu": 1.0}}}',
            '{"rates": {"1": {"cuda": 9.0}}}',
            '{"rates": {"1": {"cpu": 1.0, "reference": 1.0}}}',
            '{"extra": 1}',
        ),
        *('{"rates": {"1": {"cuda": Infinity, "cpu": 1.0}}}', '{"rates": {"1": {"cuda": "9", "cpu": 1.0}}}'),
    ],
)
def test_a_file_that_is_damaged_or_of_another_is_as_none(place, name):
    ask()
    path = kept.path_of(IDENTITY)
    damage(name, path)
    assert again().objection == "" and len(starts(place)) == 2
    if path.is_file():
        assert again().objection == "" and len(starts(place)) == 2  # written anew


def test_a_good_file_is_believed(place, monkeypatch):
    """The control of the test before: nothing is proved again where nothing was damaged."""
    ask()
    values = json.loads(kept.path_of(IDENTITY).read_text())
    values["verdicts"][str(FIRST)] |= {"outcome": "crashed", "detail": "long ago"}
    kept.path_of(IDENTITY).write_text(json.dumps(values))
    assert again().objection.startswith("it crashed: long ago") and len(starts(place)) == 1


@pytest.mark.parametrize("field", ["device", "compute capability", "driver", "fastwave", "kernels", "torch", "triton"])
def test_another_device_driver_or_version_is_proved_anew(place, monkeypatch, field):
    ask()
    monkeypatch.setattr(gpu, "identity", lambda role, device: IDENTITY | {"role": role, field: "another"})
    again()
    assert len(starts(place)) == 2


def test_what_did_not_come_to_an_end_is_tried_again_after_a_day(place, monkeypatch):
    monkeypatch.setattr(proving, "PROVER", prover(place, {str(FIRST): "unfinished"}))
    assert "its proof did not come to an end" in ask().objection
    assert again().objection and len(starts(place)) == 1
    path = kept.path_of(IDENTITY)
    values = json.loads(path.read_text())
    for count, age in ((2, 90_000), (3, -90_000)):  # since yesterday, or the clock was wrong
        values["verdicts"][str(FIRST)]["made"] = time.time() - age
        path.write_text(json.dumps(values))
        assert again().objection and len(starts(place)) == count


def test_only_what_did_not_come_to_an_end_is_tried_again(place, monkeypatch):
    monkeypatch.setattr(proving, "PROVER", prover(place, {str(CLUSTER): "wrong", str(GENERAL): "unfinished"}))
    assert "cluster kernel: it computes wrong numbers" in ask("bfloat16").objection
    monkeypatch.setattr(kept, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(proving, "PROVER", prover(place, {}))
    found = again(dtype="bfloat16")
    assert (found.objection, found.kernel) == ("", "general") and starts(place)[-1] == str(GENERAL)


@pytest.mark.parametrize("obstacle", ["file in the way", "no home", "read-only"])
def test_a_cache_that_cannot_be_written_is_survived(place, monkeypatch, obstacle):
    if obstacle == "file in the way":
        (place / "cache").write_text("")
    elif obstacle == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    else:
        monkeypatch.setattr(kept, "replacing", lambda path: (_ for _ in ()).throw(PermissionError("read-only")))
    assert ask().objection == "" and ask().objection == ""
    assert len(starts(place)) == 1  # remembered by this process
    assert again().objection == "" and len(starts(place)) == 2


def test_a_gpu_that_cannot_be_identified_is_passed_over(place, monkeypatch):
    def identity(role, device):
        raise RuntimeError("CUDA error: unknown")

    monkeypatch.setattr(gpu, "identity", identity)
    assert ask().objection == "its GPU cannot be identified: CUDA error: unknown"


def test_standard_error_may_be_closed(place, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert ask().objection == ""


def test_two_processes_at_once_prove_once(place, capfd):
    """The second waits for the first, and reads what it found."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    processes = [context.Process(target=lambda: answers.put(ask().evidence)) for _ in range(2)]
    for process in processes:
        process.start()
    said = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert said == ["2.0 times as fast as cpu (1 stream)"] * 2
    assert len(starts(place)) == 1 and capfd.readouterr().err.count("its kernels are checked") == 1


def test_threads_of_a_process_prove_once(place):
    found = []
    threads = [threading.Thread(target=lambda: found.append(ask())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(starts(place)) == 1


def test_another_process_that_proves_for_ever_is_not_waited_for_for_ever(place, monkeypatch):
    monkeypatch.setattr(proving, "WAIT_SECONDS", 0.3)
    path = kept.path_of(IDENTITY)
    path.parent.mkdir(parents=True)
    with open(path.with_suffix(".lock"), "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert ask().objection.startswith("another process has been proving it for 0.3 s")
        assert starts(place) == []
    assert again().objection == ""


@pytest.fixture
def torchrun(place, monkeypatch):
    """Sets which of torchrun's processes on this machine this one is."""
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(proving, "WAIT_SECONDS", 0.3)

    def be(rank):
        monkeypatch.setattr(torch.distributed, "get_node_local_rank", lambda fallback=None: rank)
        proving.forget()

    return be


def test_under_torchrun_the_first_process_proves_and_the_others_read(place, torchrun):
    torchrun(1)
    assert ask().objection.startswith("the first process of torchrun on this machine left no verdict within 0.3 s")
    assert starts(place) == []
    torchrun(0)
    assert ask().objection == "" and len(starts(place)) == 1
    torchrun(1)
    assert ask().objection == "" and len(starts(place)) == 1


def test_under_torchrun_a_verdict_that_comes_late_is_waited_for(place, torchrun, monkeypatch):
    monkeypatch.setattr(proving, "WAIT_SECONDS", 30.0)
    torchrun(1)
    verdicts = {subject: Verdict("wrong", "late") for subject in SUBJECTS["generation"]}
    timer = threading.Timer(0.2, kept.write, (IDENTITY, verdicts))
    timer.start()
    assert ask().objection.startswith("it computes wrong numbers here: late")
    timer.join()


@pytest.mark.parametrize("rank", [0, 1])
def test_under_torchrun_no_process_uses_a_verdict_that_the_others_cannot_read(place, torchrun, rank):
    """Or some would train on one backend, and some on another."""
    (place / "cache").write_text("")
    torchrun(rank)
    assert ask().objection == proving.NOT_SHARED and starts(place) == []
