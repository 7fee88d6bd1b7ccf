"""One place chooses; a named backend never falls back; every refusal says why and what to do."""

import pytest

from fastwave import BackendUnavailable, Engine, InputError, WaveNet, backends, generate
from fastwave.backends import CANDIDATES, choose
from shapes import make_model


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("FASTWAVE_BACKEND", raising=False)


def test_every_backend_is_listed_with_a_reason_unless_available():
    listed = {(status.role, status.name): status for status in backends()}
    assert set(listed) == {(role, name) for role, names in CANDIDATES.items() for name in names}
    assert listed["training", "reference"].available and listed["generation", "reference"].available
    assert all(status.available == (status.reason == "") for status in listed.values())


def test_auto_takes_the_reference_and_says_what_it_passed_over():
    choice = choose("generation")
    assert choice.name == "reference" and "cuda:" in choice.why and "cpu:" in choice.why


@pytest.mark.parametrize(("role", "name"), [("generation", "cuda"), ("generation", "cpu"), ("training", "triton")])
def test_a_named_backend_never_falls_back(role, name):
    with pytest.raises(BackendUnavailable, match=f"{name}: .*backend='reference'"):
        choose(role, name)


def test_the_public_calls_pass_the_name_on():
    model = make_model("categorical")
    for call in (
        lambda: WaveNet(model.config, backend="triton"),
        lambda: Engine(model, backend="cuda"),
        lambda: generate(model, samples=1, backend="cpu"),
    ):
        with pytest.raises(BackendUnavailable):
            call()


def test_the_environment_stands_in_for_auto_only(monkeypatch):
    monkeypatch.setenv("FASTWAVE_BACKEND", "cuda")
    with pytest.raises(BackendUnavailable, match="cuda"):
        choose("generation")
    assert choose("generation", "reference").name == "reference"
    assert choose("training").name == "reference"  # cuda is no training backend: nothing is said about it
    monkeypatch.setenv("FASTWAVE_BACKEND", "warp")
    with pytest.raises(InputError, match="FASTWAVE_BACKEND=warp"):
        choose("training")


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="'cudnn'"):
        choose("generation", "cudnn")
