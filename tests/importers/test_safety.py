"""Nothing that a file contains is run: files that would do something when `torch.load` or `pickle` opened them."""

import builtins
import codecs
import collections
import os
import pickle
import sys

import pytest
import torch

from fastwave import FastwaveError, import_model
from fastwave.importers import notation, torch_files
from fastwave.importers.mapping import by_name
from fastwave.importers.registry import MAPPINGS
from torch_archives import integer, legacy, numbers, state_dict, tensor, text, write_zip

WATCHED = (
    "os.system",
    "os.fork",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "exec",
    "compile",
)
EVENTS = []
for _name in MAPPINGS:  # what is imported when it is first needed is imported before anything is watched
    by_name(_name)
codecs.lookup("utf-8-sig"), codecs.lookup("raw-unicode-escape")
_watching = [False]


@sys.addaudithook
def _note(event, arguments):
    if _watching[0] and (event in WATCHED or (event == "import" and arguments[0] == "evil")):
        EVENTS.append((event, str(arguments)[:80]))


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Dictionary(collections.OrderedDict):
    """A dictionary whose pickle calls a function."""

    def __reduce__(self):
        return (os.system, ("touch marker",), None, None, iter(self.items()))


def payloads():
    """Values whose pickles touch the file `marker`, by name."""
    write = "open('marker', 'w').close()"
    return {
        "os.system": Calls(os.system, "touch marker"),
        "eval": Calls(builtins.eval, write),
        "exec": Calls(builtins.exec, write),
        "import": Calls(builtins.__import__, "evil"),
        "getattr": Calls(getattr, Calls(builtins.__import__, "os"), "system"),
        "a call of a call": Calls(map, os.system, ["touch marker"]),
        "dictionary": Dictionary(weight=torch.zeros(2)),
        "key": {Calls(os.system, "touch marker"): torch.zeros(2)},
        "open": Calls(open, "marker", "w"),
    }


def instructions(name):
    """Pickles by hand, each over a storage "0" of 6 floats."""
    system = b"cposix\nsystem\n(" + text("touch marker") + b"tR"
    return {
        "a module that acts on import": state_dict(w=b"cevil\nanything\n", t=tensor()),
        "the same in protocol 4": state_dict(w=text("evil") + text("anything") + b"\x93", t=tensor()),
        "in place of a storage": state_dict(w=tensor(storage_type=system)),
        "as a persistent id": state_dict(w=system + b"Q", t=tensor()),
        "as a size": state_dict(w=tensor().replace(integer(2), system)),
        "as a state": state_dict(w=tensor() + system + b"b"),
        "as a new object": state_dict(w=b"cposix\nsystem\n(" + text("touch marker") + b"t\x81", t=tensor()),
        "as a new object with names": state_dict(w=b"cposix\nsystem\n(" + text("touch marker") + b"t}\x92", t=tensor()),
        "as a rebuilt type": state_dict(
            w=b"ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\ncposix\nsystem\n("
            + text("touch marker")
            + b"tNtR",
            t=tensor(),
        ),
        "protocol 0": state_dict(w=b"(" + text("touch marker") + b"iposix\nsystem\n", t=tensor()),
        "by a registered number": state_dict(w=b"\x82\x01", t=tensor()),
    }[name]


INSTRUCTIONS = (
    "a module that acts on import", "the same in protocol 4", "in place of a storage", "as a persistent id",
    "as a size", "as a state", "as a new object", "as a new object with names", "as a rebuilt type", "protocol 0",
    "by a registered number",
)  # fmt: skip


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """Run a function while watching; fail if anything but reading happened."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text("open('marker', 'w').close()\n")

    def run(function, *arguments):
        children = _children()
        EVENTS.clear()
        _watching[0] = True
        try:
            return function(*arguments)
        except FastwaveError as error:
            return error
        finally:
            _watching[0] = False
            assert not EVENTS
            assert not (tmp_path / "marker").exists()
            assert "evil" not in sys.modules
            assert _children() == children

    return run


def _children():
    path = f"/proc/self/task/{os.getpid()}/children"
    return open(path).read() if os.path.exists(path) else ""


def import_(path):
    return import_model(path, sample_rate=8000)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", payloads())
def test_objects_of_a_checkpoint_run_nothing(watch, tmp_path, name, zipped):
    path = tmp_path / "a.pth"
    for value in (payloads()[name], {"state_dict": {"weight": torch.zeros(2)}, "hparams": payloads()[name]}):
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
        assert not isinstance(watch(torch_files.read, path), FastwaveError)
        assert isinstance(watch(import_, path), FastwaveError)  # it is read, and is no model


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_instructions_made_by_hand_run_nothing(watch, tmp_path, name, zipped):
    path = tmp_path / "a.pth"
    if zipped:
        write_zip(path, instructions(name), {"0": numbers()})
    else:
        path.write_bytes(legacy(instructions(name), {"0": (6, numbers())}))
    assert isinstance(watch(import_, path), FastwaveError)


@pytest.mark.parametrize("name", payloads())
def test_hyper_parameters_run_nothing(watch, tmp_path, name):
    torch.save(payloads()[name], tmp_path / "model.conf")
    (tmp_path / "plain.conf").write_bytes(pickle.dumps(payloads()[name], 2))
    (tmp_path / "text.txt").write_text("__import__('evil')=1,layers=eval('1')")
    (tmp_path / "text.yml").write_text("layers: !!python/object/apply:os.system ['touch marker']\n")
    for file in ("model.conf", "plain.conf", "text.txt", "text.yml"):
        watch(notation.read, tmp_path / file)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "a.pth")
    assert isinstance(watch(import_, tmp_path), FastwaveError)


def test_the_watch_sees_what_it_watches_for(watch, tmp_path):
    with pytest.raises(AssertionError):
        watch(pickle.loads, pickle.dumps(payloads()["os.system"]))
    os.remove(tmp_path / "marker")
    with pytest.raises(AssertionError):
        watch(pickle.loads, state_dict(w=b"cevil\nanything\n"))
    sys.modules.pop("evil", None)
