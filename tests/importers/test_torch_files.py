"""Files of torch.save are read as torch reads them, and damaged ones are refused by a sentence."""

import collections
import io
import zipfile

import pytest
import torch

from fastwave import CheckpointError
from fastwave.importers import torch_files
from fastwave.importers.notes import Notes
from fastwave.importers.source import open_source
from torch_archives import legacy, numbers, state_dict, tensor, text, write_zip

BASE = torch.arange(24.0).reshape(6, 4)
TENSORS = collections.OrderedDict(
    whole=BASE, shared=BASE[1:3].t(), strided=BASE[:, ::2], half=BASE.half(), bfloat16=BASE.bfloat16(),
    double=BASE.double(), integers=torch.arange(5), bytes=torch.arange(3, dtype=torch.uint8), empty=torch.empty(0, 3),
    scalar=torch.tensor(3.0), parameter=torch.nn.Parameter(BASE), flags=torch.tensor([True, False]),
)  # fmt: skip
PLAIN = {"text": "é", "values": [1, -2.5, None, True, (1, 2)], "large": 2**100, "bytes": b"ab", "set": {1, "a"}}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_and_plain_values_are_those_that_were_saved(tmp_path, protocol, zipped):
    torch.save(
        {"state_dict": TENSORS, "plain": PLAIN}, tmp_path / "a.pth",
        pickle_protocol=protocol, _use_new_zipfile_serialization=zipped,
    )  # fmt: skip
    value = torch_files.read(tmp_path / "a.pth")
    for name, expected in TENSORS.items():
        actual = value["state_dict"][name].tensor()
        assert actual.dtype == expected.dtype and torch.equal(actual, expected), name
    objects = {2: {"set", "bytes"}, 3: {"set"}}.get(protocol, set())  # which a pickle makes by calling something
    read = {name: each for name, each in value["plain"].items() if name not in objects}
    assert read == {name: each for name, each in PLAIN.items() if name not in objects}


def test_shared_storages_stay_shared(tmp_path):
    torch.save(TENSORS, tmp_path / "a.pth")
    value = torch_files.read(tmp_path / "a.pth")
    value["whole"].tensor()[1, 0] = 100
    assert value["shared"].tensor()[0, 0] == 100


def test_numbers_of_a_big_endian_machine_are_turned_round(tmp_path):
    swapped = BASE[:2, :3].contiguous().numpy().astype(">f4").tobytes()
    write_zip(tmp_path / "a.pth", state_dict(w=tensor()), {"0": swapped}, byteorder=b"big")
    assert torch.equal(torch_files.read(tmp_path / "a.pth")["w"].tensor(), BASE[:2, :3])


def test_a_whole_module_is_its_numbers_and_attributes(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 2), torch.nn.BatchNorm1d(3))
    module.layers = 7
    torch.save(module, tmp_path / "a.pth")
    source = open_source(tmp_path / "a.pth", None, Notes())
    assert {name: tuple(each.shape) for name, each in module.state_dict().items()} == source.shapes
    assert source.extras["class"] == "torch.nn.modules.container.Sequential"
    assert source.places[0][1]["layers"] == 7


@pytest.mark.parametrize(
    ("saved", "chosen"),
    [
        ({"model": {"w": 1}, "ema": {"w": 2}}, 2),
        ({"model": {"w": 1, "more": 3}, "ema": {"w": 2}}, 1),  # an average of a part is not the model
        ({"state_dict": {"w": 1}, "optimizer": {"state": {0: {"ema": 5, "w": 2, "x": 3}}}}, 1),
        ({"module.w": 1}, 1),
        ({"module._orig_mod.w": 1}, 1),
    ],
)
def test_the_averaged_weights_of_the_model_are_taken(tmp_path, saved, chosen):
    def tensors(value):
        return {key: tensors(each) for key, each in value.items()} if isinstance(value, dict) else torch.tensor(value)

    torch.save(tensors(saved), tmp_path / "a.pth")
    notes = Notes()
    assert open_source(tmp_path / "a.pth", None, notes).tensors["w"] == chosen
    assert any("averaged" in line for line in notes.recognised_lines) == (chosen == 2)


def deep(code, count=100_000):
    """A value inside so many others."""
    return (
        b"\x80\x02" + b"]" * count + b"a" * (count - 1) + b"." if code == b"]" else b"\x80\x02N" + code * count + b"."
    )


BAD = {
    "a tensor larger than its storage": (state_dict(w=tensor(shape=(3, 3))), "lies outside"),
    "a tensor that repeats its storage": (state_dict(w=tensor(shape=(2**40, 3), strides=(0, 1))), "lies outside"),
    "a negative stride": (state_dict(w=tensor(strides=(-3, 1))), "impossible shape"),
    "a negative offset": (state_dict(w=tensor(offset=-1)), "impossible shape"),
    "an offset beyond the storage": (state_dict(w=tensor(offset=1)), "lies outside"),
    "a huge storage": (state_dict(w=tensor(elements=2**40)), "has 24 bytes"),
    "a storage that is missing": (state_dict(w=tensor(key="7")), "lacks the record"),
    "a storage of unknown numbers": (state_dict(w=tensor(b"ctorch\nQInt8Storage\n")), "not read"),
    "a storage in two ways": (state_dict(v=tensor(), w=tensor(b"ctorch\nIntStorage\n")), "in two ways"),
    "no storage": (state_dict(w=b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))tR"), "has no storage"),
    "dictionaries without end": (b"\x80\x02" + b"}" * 400_000 + b".", "MB of memory"),
    "values without end": (b"\x80\x02N" + b"2" * 1_000_000 + b".", "MB of memory"),
    "a long integer": (b"\x80\x02\x8b" + (2**30).to_bytes(4, "little") + b".", "integer of"),
    "a long text": (b"\x80\x02X" + (2**31).to_bytes(4, "little") + b"a.", "announced"),
    "a text of 2^63 bytes": (b"\x80\x04\x8d" + (2**63).to_bytes(8, "little") + b"a.", "announced"),
    "nested lists": (deep(b"]"), "no tensors"),
    "nested tuples": (deep(b"\x85"), "no tensors"),
    "a key of nested tuples": (b"\x80\x02}" + b"N" + b"\x85" * 50_000 + b"Ns.", "key"),
    "a key that is a list": (b"\x80\x02}]Ns.", "key"),
    "a huge integer as key": (b"\x80\x02}\x8a\xff" + b"\x7f" * 255 + b"Ns.", "key"),
    "a cycle": (b"\x80\x02}q\x00" + text("a") + b"h\x00s.", "no tensors"),
    "nothing": (b"", "announced"),
    "a stack that is empty": (b"\x80\x02.", "did not make"),
    "a mark that is missing": (b"\x80\x02Nt.", "did not open"),
    "a memo that is empty": (b"\x80\x02h\x07.", "did not keep"),
    "a protocol to come": (b"\x80\x09N.", "unknown protocol"),
    "an instruction to come": (b"\x80\x02\xf0.", "instruction 0xf0"),
    "a call of a number": (b"\x80\x02K\x01)R.", "no name of a class"),
    "an odd number of items": (b"\x80\x02}(K\x01u.", "lacks its value"),
    "an append to a number": (b"\x80\x02K\x01Na.", "appends to"),
    "no text": (b"\x80\x02X\x01\x00\x00\x00\xff.", "not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_pickles_are_refused_by_a_sentence(tmp_path, name):
    content, sentence = BAD[name]
    write_zip(tmp_path / "a.pth", content, {"0": numbers()})
    with pytest.raises(CheckpointError, match=sentence):
        open_source(tmp_path / "a.pth", None, Notes())


GOOD = state_dict(w=tensor())


def zipped(content=GOOD, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", numbers())
    return buffer.getvalue()


FILES = {
    "empty": (b"", "neither a file"),
    "truncated": (zipped()[:-30], "truncated"),
    "compressed": (zipped(compression=zipfile.ZIP_DEFLATED), "compressed"),
    "a damaged storage": (zipped().replace(numbers()[:8], b"\x01" * 8), "checksum"),
    "no pickle": (zipped().replace(b"data.pkl", b"data.abc"), "lacks data.pkl"),
    "legacy without its end": (legacy(GOOD, {"0": (6, numbers())})[:-4], "announced"),
    "legacy of another count": (legacy(GOOD, {"0": (5, numbers())}), "in place of 6"),
    "legacy without its storages": (legacy(GOOD), "list of its storages"),
    "another pickle": (b"\x80\x02K\x01.", "magic number"),
    "text": (b"layers: 3", "neither a file"),
    "a tar": (b"\x80\x02".ljust(257, b"\0") + b"ustar", "0.1.10"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_files_are_refused_by_a_sentence(tmp_path, name):
    content, sentence = FILES[name]
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=sentence):
        open_source(tmp_path / "a.pth", None, Notes())


def test_every_record_of_an_archive_has_bytes_of_its_own(tmp_path):
    content = bytearray(zipped())
    directory = content.rfind(b"PK\x01\x02")
    content[directory + 42 : directory + 46] = bytes(4)  # the second record begins where the first does
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="overlap"):
        torch_files.read(tmp_path / "a.pth")
