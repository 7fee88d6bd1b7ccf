"""One place chooses; a named backend never falls back; every refusal says why and what to do."""

import warnings

import pytest
import torch

from fastwave import BackendUnavailable, Engine, InputError, WaveNet, backends, generate
from fastwave.runtime import dispatch
from fastwave.runtime.dispatch import CANDIDATES, choose
from fastwave.runtime.verdict import Ruling
from shapes import make_model


@pytest.fixture(autouse=True)
def _no_environment_and_no_gpu(monkeypatch):
    monkeypatch.delenv("FASTWAVE_BACKEND", raising=False)
    monkeypatch.setattr("fastwave.runtime.library.no_cuda_device", lambda: "no NVIDIA driver on this machine")


def test_every_backend_is_listed_with_a_reason_unless_available():
    listed = {(status.role, status.name): status for status in backends()}
    assert set(listed) == {(role, name) for role, names in CANDIDATES.items() for name in names}
    assert listed["training", "reference"].available and listed["generation", "reference"].available
    assert all(status.available == (status.reason == "") for status in listed.values())


def test_auto_takes_the_fastest_that_can_and_says_what_it_passed_over():
    choice = choose("generation")
    assert choice.name == "cpu" and "cuda:" in choice.why
    exact = choose("generation", dtype="float64")
    assert exact.name == "reference" and "cpu: it does not compute in float64" in exact.why
    assert choose("training").name == "cpu"
    assert choose("training", dtype="float64").name == "reference"
    assert choose("training", device="meta").name == "reference"


def test_without_the_native_library_auto_falls_back_and_a_name_does_not(monkeypatch):
    monkeypatch.setattr("fastwave.runtime.library.missing", lambda library: f"libfastwave_{library} was not built")
    assert choose("generation").name == choose("training").name == "reference"
    with pytest.raises(BackendUnavailable, match=r"cpu: libfastwave_cpu was not built.*backend='reference'"):
        choose("generation", "cpu")


def test_a_dtype_that_nothing_here_computes_in_is_refused_with_every_reason(monkeypatch):
    monkeypatch.setattr("fastwave.runtime.library.missing", lambda library: f"libfastwave_{library} was not built")
    with pytest.raises(
        BackendUnavailable, match=r"no backend here does generation in int8: .*reference: .*another dtype"
    ):
        choose("generation", dtype="int8")
    assert dispatch.choices()["generation", "int8"].name == "none"


@pytest.mark.parametrize(
    ("role", "name", "other"),
    [("generation", "cuda", "cpu"), ("training", "triton", "cpu")],
)
def test_a_named_backend_never_falls_back(role, name, other, monkeypatch):
    monkeypatch.setattr(
        "fastwave.runtime.dispatch._missing", lambda role, name: "not here" * (name in ("cuda", "triton"))
    )
    with pytest.raises(BackendUnavailable, match=rf"{name}: .*backend='{other}'"):
        choose(role, name)


def test_a_dtype_that_a_named_backend_lacks_is_refused():
    with pytest.raises(BackendUnavailable, match="reference: it does not compute in int8"):
        choose("generation", "reference", "int8")
    with pytest.raises(InputError, match="'int4'"):
        choose("generation", dtype="int4")


def test_in_training_the_tensors_must_be_where_a_named_backend_computes():
    with pytest.raises(BackendUnavailable, match="cpu: its tensors must be on cpu, these are on cuda"):
        choose("training", "cpu", device="cuda")


def test_triton_says_what_it_lacks():
    triton = {(each.role, each.name): each for each in backends()}["training", "triton"]
    if not torch.cuda.is_available():
        assert triton.reason.startswith(("Triton is not installed: pip install", "torch sees no CUDA GPU here"))


def test_the_public_calls_pass_the_name_on(monkeypatch):
    monkeypatch.setattr(
        "fastwave.runtime.dispatch._missing", lambda role, name: "not here" * (name in ("cuda", "triton"))
    )
    model = make_model("categorical")
    for call in (
        lambda: WaveNet(model.config, backend="triton"),
        lambda: Engine(model, backend="cuda"),
        lambda: generate(model, samples=1, backend="cuda"),
    ):
        with pytest.raises(BackendUnavailable):
            call()


def test_the_environment_stands_in_for_auto_only(monkeypatch):
    monkeypatch.setenv("FASTWAVE_BACKEND", "cuda")
    with pytest.raises(BackendUnavailable, match="cuda"):
        choose("generation")
    assert choose("generation", "reference").name == "reference"
    assert choose("training").name == "cpu"  # cuda is no training backend: nothing is said about it
    monkeypatch.setenv("FASTWAVE_BACKEND", "warp")
    with pytest.raises(InputError, match="FASTWAVE_BACKEND=warp"):
        choose("training")


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="'cudnn'"):
        choose("generation", "cudnn")


@pytest.fixture
def rulings(monkeypatch):
    """Every backend can run here; what was ruled on those of a GPU is set by the test, and what was asked is kept."""
    found, asked = {}, []

    def ruling(role, backend, dtype, may_prove):
        asked.append((role, backend, dtype, may_prove))
        return found.get((backend, dtype), Ruling("it was not proved"))

    monkeypatch.setattr("fastwave.runtime.dispatch._missing", lambda role, name: "")
    monkeypatch.setattr("fastwave.runtime.proving.ruling", ruling)
    return found, asked


def test_auto_takes_what_was_proved_in_this_dtype_and_says_how_fast_it_was(rulings):
    found, _ = rulings
    found["cuda", "bfloat16"] = Ruling("", "cluster", "3.0 times as fast as cpu")
    found["triton", "tf32"] = Ruling("", "auto", "5.0 times as fast as reference")
    choice = choose("generation", dtype="bfloat16")
    assert (choice.name, choice.kernel) == ("cuda", "cluster")
    assert choice.why == "auto took the fastest available, proved here: 3.0 times as fast as cpu"
    assert choose("training", dtype="tf32", device="cuda").name == "triton"
    for choice in (choose("generation"), choose("training", dtype="float32", device="cuda")):
        assert choice.name in ("cpu", "reference") and ": it was not proved" in choice.why and choice.kernel == "auto"


def test_a_name_asks_for_no_proof(rulings):
    _, asked = rulings
    assert choose("generation", "cuda").name == "cuda" and choose("training", "triton").name == "triton"
    assert choose("generation", "cuda").kernel == "auto" and asked == []


def test_nothing_is_proved_for_tensors_that_are_not_on_a_gpu_or_not_yet_known(rulings):
    _, asked = rulings
    choose("training", dtype="float32", device="cpu")
    assert asked == []
    choose("training")
    assert asked == [("training", "triton", "float32", False)]
    choose("training", device="cuda")
    assert asked[-1][-1] is True
    choose("generation", dtype="bfloat16")
    assert asked[-1] == ("generation", "cuda", "bfloat16", True)
    choose("generation", may_prove=False)
    assert asked[-1][-1] is False
    WaveNet(make_model("categorical").config)  # a model that is made may never see a GPU
    assert asked[-1][-1] is False


def test_what_auto_would_take_is_listed_without_a_proof(rulings, monkeypatch):
    found, asked = rulings
    found["cuda", "bfloat16"] = Ruling("", "auto", "faster")
    names = {key: choice.name for key, choice in dispatch.choices().items()}
    assert names["generation", "bfloat16"] == "cuda" and names["generation", "int8"] == "cpu"
    assert not any(may_prove for *_, may_prove in asked)
    monkeypatch.setenv("FASTWAVE_BACKEND", "triton")
    assert dispatch.choices()["training", "on cpu"].name == "none"  # said, not raised


def test_auto_does_without_a_backend_that_turned_out_not_to_fit(rulings):
    found, _ = rulings
    found["cuda", "bfloat16"] = Ruling("", "cluster", "faster")
    choice = choose("generation", dtype="bfloat16", passed_over=("cuda", "no cluster holds it"))
    assert choice.name == "cpu" and "cuda: no cluster holds it" in choice.why


def test_auto_warns_once_where_it_has_nothing_but_the_reference(monkeypatch):
    monkeypatch.setattr("fastwave.runtime.library.missing", lambda library: f"libfastwave_{library} was not built")
    dispatch._warn_of_slowness.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"reference alone, 10 to 100 times slower.*libfastwave_cpu was not built"):
        assert choose("generation").name == "reference"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose("generation")
        choose("training")
    dispatch._warn_of_slowness.cache_clear()
