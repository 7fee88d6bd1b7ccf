"""An engine for live playback measures its schedules beforehand, and tries none while it plays."""

import pytest
import torch

from fastwave import Engine, InputError
from fastwave.runtime import library
from shapes import make_condition, make_model

needs_library = pytest.mark.skipif(bool(library.missing("cpu")), reason="the native library is missing")


@needs_library
def test_settling_changes_no_sample_and_leaves_the_state_where_it_was():
    model = make_model("categorical-linear-ids")
    given = make_condition(model.config, 3, 200)
    restless, settled = (Engine(model, backend="cpu", dtype="float32", threads=2) for _ in range(2))
    state = settled.start(3, **given)

    settled.settle(state, samples=50, seconds=0.05, **given)

    expected = restless.run(restless.start(3, **given), 120, seed=4, **given)
    assert torch.equal(settled.run(state, 120, seed=4, **given), expected)


@needs_library
def test_an_engine_measures_while_it_is_free_and_settles_afterwards(monkeypatch):
    calls = []
    run, settle = library.CpuEngine.run, library.CpuEngine.settle
    monkeypatch.setattr(library.CpuEngine, "run", lambda *a, **fields: (calls.append("run"), run(*a, **fields))[1])
    monkeypatch.setattr(library.CpuEngine, "settle", lambda self, now: (calls.append(now), settle(self, now))[1])
    engine = Engine(make_model("categorical"), backend="cpu", dtype="float32", threads=2)

    engine.settle(engine.start(2), samples=20, seconds=0.02)

    assert calls[0] is False and calls[-1] is True and set(calls[1:-1]) == {"run"}


def test_other_backends_have_nothing_to_settle():
    engine = Engine(make_model("categorical"), backend="reference", dtype="float32")
    state = engine.start(1)
    engine.settle(state, seconds=60)
    assert int(state.time[0]) == 0
    with pytest.raises(InputError, match="not of this engine"):
        Engine(make_model("gaussian"), backend="reference", dtype="float32").settle(state)
