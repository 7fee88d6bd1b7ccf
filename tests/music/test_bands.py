"""A name or a folder stands for a band, or a sentence says what there is."""

import json
import re
import sys
import types

import pytest

from fastwave import CheckpointError
from fastwave.music import bands
from small_band import SineBand, make_band_folder


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """Two bundled bands, and a loader that keeps the folder."""
    make_band_folder(tmp_path / "instruments" / "chamber", ("flute", "strings"))
    make_band_folder(tmp_path / "instruments" / "keys", ("organ", "strings"))
    monkeypatch.setattr(bands, "BUNDLED", tmp_path / "instruments")
    module = types.ModuleType("fastwave.music.instrument")
    module.Instruments = types.SimpleNamespace(load=lambda folder: (folder, SineBand()))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "instruments"


def test_names_stand_for_bands_and_for_instruments_of_them(bundled, tmp_path):
    make_band_folder(tmp_path / "mine", ("kazoo",))
    make_band_folder(tmp_path / "pair", ("kazoo", "flute"))
    assert bands.band_names() == ["chamber", "keys"]
    assert bands.choose(None) == (bundled / "chamber", None)
    assert bands.choose("keys") == (bundled / "keys", None)
    assert bands.choose("organ") == bands.choose("Organ") == (bundled / "keys", "organ")
    assert bands.choose("strings") == (bundled / "chamber", "strings")
    assert bands.choose(tmp_path / "mine") == (tmp_path / "mine", "kazoo")
    assert bands.choose(tmp_path / "pair" / "instrument.json") == (tmp_path / "pair", None)
    assert bands.load_band("organ")[0] == bundled / "keys"
    assert bands.load_band()[0] == bundled / "chamber"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("orgn", "there is no instrument 'orgn': choose one of flute, strings, organ, or give a folder that holds "
                 "instrument.json. Did you mean 'organ'?"),
        ("empty", "empty is a folder, not a band: it lacks instrument.json"),
        ("model", "model is a model without notes, not a band"),
        ("torn", "is not valid JSON"),
        ("nameless", "`instruments` must hold the names of one or more instruments"),
    ],
)  # fmt: skip
def test_what_is_no_band_is_refused(name, words, bundled, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "instrument.json").write_text("{")
    (tmp_path / "nameless").mkdir()
    (tmp_path / "nameless" / "instrument.json").write_text(json.dumps({"instruments": [3]}))
    with pytest.raises(CheckpointError, match=re.escape(words)):
        bands.choose(name)


@pytest.mark.parametrize("name", [None, "organ"])
def test_an_installation_without_instruments_says_what_to_do(name, bundled, monkeypatch):
    monkeypatch.setattr(bands, "BUNDLED", bundled / "nowhere")
    with pytest.raises(CheckpointError, match="no bundled instruments: name a folder of them with --instrument FOLDER"):
        bands.choose(name)
