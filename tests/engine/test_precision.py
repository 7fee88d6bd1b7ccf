"""`dtype="auto"`: what a dtype costs a model is measured, and the cheapest that costs next to nothing is taken."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

import fastwave
from fastwave import Engine, GenerationError, score
from fastwave.cli.main import main
from fastwave.distributions import divergence, negative_log_likelihood
from fastwave.engine import kept, precision
from fastwave.locate import bundled
from fastwave.runtime import library
from shapes import make_model

cpu = pytest.mark.skipif(library.missing("cpu") is not None, reason="needs the CPU library")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch, tmp_path):
    """No verdict of another test, and none of the user's."""
    monkeypatch.setattr(precision, "_KNOWN", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def asked(monkeypatch):
    """How often a model was measured."""
    calls = []
    judge = precision._judge
    monkeypatch.setattr(precision, "_judge", lambda *given: calls.append(given) or judge(*given))
    return calls


@pytest.fixture
def short_probe(monkeypatch):
    """A probe of a tenth of its length, for models of a handful of channels."""
    monkeypatch.setattr(precision, "SAMPLES", 400)
    monkeypatch.setattr(precision, "BEGINNING", 100)


def forget():
    """As in a new process, and without the cache."""
    precision._KNOWN.clear()
    kept.path().unlink(missing_ok=True)


def spread(model, factor=500.0):
    """Make one channel of the skip sum smaller and its weights as much larger: the model computes the same, but one
    scale no longer suits all weights of an output.
    """
    with torch.no_grad():
        model.get_parameter("skip.weight")[:, :, 0] /= factor
        model.get_parameter("skip.bias")[0] /= factor
        model.get_parameter("head.0.weight")[0] *= factor
    return model


@cpu
def test_a_model_that_int8_suits_is_computed_in_int8(short_probe):
    engine = Engine(make_model("categorical"), dtype="auto")
    assert engine.dtype == "int8"
    assert engine.why_dtype.startswith("int8 costs 0.0")


@cpu
def test_where_int8_costs_too_much_bfloat16_is_taken_and_the_reason_is_said(short_probe):
    model = spread(make_model("categorical"))
    engine = Engine(model, dtype="auto")
    assert engine.dtype == "bfloat16"
    assert "int8 costs" in engine.why_dtype and "bfloat16 costs" in engine.why_dtype


@cpu
def test_where_bfloat16_costs_too_much_it_stays_float32(short_probe):
    model = make_model("categorical")
    with torch.no_grad():  # two equal channels of the head, whose weights are the difference of large numbers
        first = model.get_parameter("head.0.weight")
        first[:, 1] = first[:, 0]
        model.get_parameter("head.0.bias")[:2] = 5.0
        second = model.get_parameter("head.1.weight")
        second[0] += 40.0
        second[1] -= 40.0
    engine = Engine(model, dtype="auto")
    assert engine.dtype == "float32"
    assert f"more than {precision.MOST_BITS}" in engine.why_dtype


@cpu
def test_a_model_that_makes_nan_stays_in_float32(short_probe):
    model = make_model("categorical")
    with torch.no_grad():
        model.get_parameter("head.1.bias")[3] = math.nan
    assert Engine(model, dtype="auto").dtype == "float32"
    with pytest.raises(GenerationError, match="not finite"):
        fastwave.generate(model, samples=5)


@cpu
@pytest.mark.parametrize("instruction_set", library.cpu_features().instruction_sets)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_choice_depends_on_the_weights_alone(short_probe, instruction_set, threads):
    for model in (make_model("categorical"), spread(make_model("categorical"))):
        expected = Engine(model, dtype="auto").dtype
        forget()
        assert Engine(model, dtype="auto", threads=threads, instruction_set=instruction_set).dtype == expected


@cpu
def test_a_model_is_asked_once_and_again_when_its_weights_have_changed(short_probe, asked):
    model = make_model("categorical")
    for _ in range(2):
        fastwave.generate(model, samples=3)
    assert len(asked) == 1
    spread(model)
    assert Engine(model, dtype="auto").dtype == "bfloat16"
    assert len(asked) == 2


@cpu
def test_the_verdict_is_kept_for_the_next_process(short_probe, asked):
    first = Engine(make_model("categorical"), dtype="auto")
    precision._KNOWN.clear()
    second = Engine(make_model("categorical"), dtype="auto")
    assert (second.dtype, second.why_dtype) == (first.dtype, first.why_dtype)
    assert len(asked) == 1
    Engine(make_model("categorical", seed=1), dtype="auto")
    assert len(asked) == 2 and len(json.loads(kept.path().read_text())["verdicts"]) == 2


@cpu
def test_a_verdict_of_another_native_library_does_not_count(short_probe, asked, monkeypatch):
    Engine(make_model("categorical"), dtype="auto")
    precision._KNOWN.clear()
    monkeypatch.setattr(precision, "_made_by", lambda backend: "fastwave, engine of another build")
    Engine(make_model("categorical"), dtype="auto")
    assert len(asked) == 2


DAMAGES = {
    "empty": lambda text: "",
    "cut": lambda text: text[:-9],
    "no text": lambda text: "\ud800",
    "nested": lambda text: "[" * 100_000,
    "of other rules": lambda text: text.replace("fastwave", "slowwave"),
    "another dtype": lambda text: text.replace('"dtype": "int8"', '"dtype": "int4"'),
    "a cost that is no number": lambda text: re.sub(r'"int8": [0-9.e-]+', '"int8": "none"', text),
    "a dtype that this backend lacks": lambda text: text.replace("int8", "int4"),
    "a list": lambda text: "[]",
    "too large": lambda text: text + " " * kept.LARGEST_FILE,
}


@cpu
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_counts_as_none(short_probe, asked, damage):
    model = make_model("categorical")
    expected = Engine(model, dtype="auto").dtype
    text = DAMAGES[damage](kept.path().read_text())
    kept.path().write_bytes(text.encode("utf-8", "surrogatepass"))
    precision._KNOWN.clear()
    assert Engine(model, dtype="auto").dtype == expected
    assert len(asked) == 2


@cpu
@pytest.mark.parametrize("place", ["a file in the way", "no home"])
def test_where_nothing_can_be_kept_the_model_is_measured_each_time(short_probe, asked, monkeypatch, tmp_path, place):
    if place == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    else:
        (tmp_path / "cache").write_text("")
    for _ in range(2):
        assert Engine(make_model("categorical"), dtype="auto").dtype == "int8"
        precision._KNOWN.clear()
    assert len(asked) == 2


def test_the_file_keeps_the_latest_models(monkeypatch):
    monkeypatch.setattr(kept, "MOST", 3)
    for number in range(5):
        kept.write("rules", str(number), "int8", {"int8": 0.001})
    assert kept.read("rules") == {str(number): ("int8", {"int8": 0.001}) for number in (2, 3, 4)}
    assert kept.read("other rules") == {}


def test_the_reference_computes_in_float32(short_probe):
    engine = Engine(make_model("categorical"), "reference", "auto")
    assert (engine.dtype, engine.why_dtype) == ("float32", "this backend has no cheaper one")


@cpu
@pytest.mark.parametrize(
    "name", ["categorical-linear-ids", "mixture-learned", "gaussian-repeat", "categorical-excited"]
)
def test_models_with_conditions_and_every_output_are_measured(short_probe, name):
    engine = Engine(make_model(name), dtype="auto")
    exact = Engine(make_model(name), dtype="float32")
    cost = precision.cost(Engine(make_model(name), dtype="int8"), exact)
    assert cost > precision.cost(exact, exact) == 0
    assert (cost <= precision.MOST_BITS) == (engine.dtype == "int8")


@cpu
def test_generate_takes_it_by_default_and_score_stays_in_float32(short_probe):
    model = make_model("categorical")
    drawn = fastwave.generate(model, samples=200, seed=1).tokens
    assert torch.equal(drawn, fastwave.generate(model, samples=200, seed=1, dtype="int8").tokens)
    chunks = [part.tokens for part in fastwave.stream(model, samples=200, seed=1, chunk=64)]
    assert torch.equal(drawn, torch.cat(chunks, dim=1))
    assert score(model, drawn) == score(model, drawn, dtype="float32")


@cpu
def test_a_state_of_the_dtype_chosen_fits_an_engine_of_that_dtype(short_probe, tmp_path):
    model = make_model("categorical")
    state = Engine(model, dtype="auto").start(1)
    state.save(tmp_path / "state.safetensors")
    assert Engine(model, dtype="int8").load_state(tmp_path / "state.safetensors").batch == 1


@cpu
@pytest.mark.parametrize("name", bundled())
def test_what_is_chosen_for_a_bundled_model_costs_it_little_on_sound_that_float32_made(name):
    model = fastwave.WaveNet.from_pretrained(name)
    chosen, exact = Engine(model, dtype="auto"), Engine(model, dtype="float32")
    tokens = exact.run(exact.start(1), 8000, seed=7)
    outputs = [engine.feed(engine.start(1), tokens)[0] for engine in (exact, chosen)]
    assert float(divergence("categorical", *outputs)) / math.log(2) < 0.003
    assert chosen.dtype == "int8"  # pluck only because its last layer is not


def test_info_says_what_is_chosen_and_why(capsys):
    assert main(["info", "chorale"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("generation dtype"))
    assert Engine(fastwave.WaveNet.from_pretrained("chorale"), dtype="auto").dtype in line


def test_divergence_agrees_with_the_formulas_and_of_mixtures_with_the_sum_over_all_levels():
    random = torch.Generator().manual_seed(0)
    right, other = torch.randn(2, 50, 7, generator=random, dtype=torch.float64)
    p, q = right.softmax(-1), other.softmax(-1)
    assert float(divergence("categorical", right, other)) == pytest.approx(float((p * (p / q).log()).sum(-1).mean()))
    right, other = (torch.randn(20, 2, generator=random, dtype=torch.float64) for _ in range(2))
    normal = [torch.distributions.Normal(out[:, 0], out[:, 1].exp()) for out in (right, other)]
    exact = torch.distributions.kl_divergence(*normal).mean()
    assert float(divergence("gaussian", right, other)) == pytest.approx(float(exact))
    # of a mixture of one, whose values lie inside [-1, 1]: by an integral over all of its 65,536 levels
    right, other = torch.tensor([[[0.0, 0.1, -3.0]], [[0.0, 0.11, -2.9]]], dtype=torch.float64)
    levels = torch.arange(-32768, 32768, dtype=torch.float64) / 32768
    nats = [negative_log_likelihood("mixture-of-logistics", each.expand(65536, 3), levels) for each in (right, other)]
    exact = float((torch.exp(-nats[0]) * (nats[1] - nats[0])).sum())
    many = 1000  # outputs, 64 draws from each, of a value whose variance is near twice the divergence
    got = float(divergence("mixture-of-logistics", right.expand(many, 3), other.expand(many, 3)))
    assert got == pytest.approx(exact, abs=4 * math.sqrt(2 * exact / (64 * many)))
    assert float(divergence("mixture-of-logistics", right, right)) == 0
