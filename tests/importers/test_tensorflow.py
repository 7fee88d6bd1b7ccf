"""TensorFlow bundles without TensorFlow: every file of one names it, and damage is refused by a sentence."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fastwave import CheckpointError
from fastwave.importers import tensorflow
from fastwave.importers.crc32c import crc32c, unmasked
from fastwave.importers.notes import Notes
from fastwave.importers.reading import Reader
from fastwave.importers.snappy import decompress
from fastwave.importers.source import open_source

CASE = Path(__file__).resolve().parent / "data" / "ibab-biases"
INDEX, NUMBERS = "model.ckpt-100.index", "model.ckpt-100.data-00000-of-00001"


@pytest.fixture
def bundle(tmp_path):
    for name in ("checkpoint", INDEX, NUMBERS):
        shutil.copy(CASE / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["", "checkpoint", INDEX, NUMBERS, "model.ckpt-100"])
def test_any_file_of_a_bundle_or_its_folder_names_it(bundle, name):
    source = open_source(bundle / name, None, Notes())
    assert source.shapes["wavenet/dilated_stack/layer0/Variable_2"] == (5,)
    assert sorted(source.digests()) == [NUMBERS, INDEX]


def test_what_the_optimiser_keeps_is_named_as_dropped():
    notes = Notes()
    source = open_source(CASE, None, notes)
    assert not any("Adam" in name or name == "global_step" for name in source.tensors)
    assert any("optimiser" in line for line in notes.dropped_lines)


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (INDEX, lambda content: content[:-1], "truncated"),
        (INDEX, lambda content: content[:20] + bytes([content[20] ^ 1]) + content[21:], "checksum"),
        (INDEX, lambda content: b"", "truncated"),
        (NUMBERS, lambda content: content[:-4], "truncated"),
        (NUMBERS, lambda content: bytes([content[0] ^ 1]) + content[1:], "checksum"),
        (NUMBERS, None, "missing"),
    ],
)
def test_a_damaged_bundle_is_refused_by_a_sentence(bundle, name, change, sentence):
    path = bundle / name
    content = path.read_bytes()
    path.unlink()
    if change:
        path.write_bytes(change(content))
    with pytest.raises(CheckpointError, match=sentence):
        open_source(bundle / INDEX, None, Notes())


def slow_crc32c(content):
    """Bit by bit, as the polynomial says."""
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize("size", [0, 1, 5, 4095, 4096, 4097, 9000])
def test_checksums_are_those_of_the_polynomial(size):
    content = np.random.default_rng(size).bytes(size)
    assert crc32c(memoryview(content)) == slow_crc32c(content)


def test_checksums_are_those_that_others_compute():
    assert crc32c(memoryview(b"123456789")) == 0xE3069283
    assert unmasked(0xA282EAD8) == 0


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (b"\x05\x10abcde", b"abcde"),
        (b"\x0c\x04ab\x26\x02\x00", b"abababababab"),  # ten bytes from two back, which overlap what they make
        (b"\x08\x0cabcd\x01\x04", b"abcdabcd"),
        (b"\x00", b""),
    ],
)
def test_compressed_blocks_are_what_they_were(packed, expected):
    assert decompress(Reader(memoryview(packed), "block")) == expected


@pytest.mark.parametrize(
    "packed",
    [
        b"\xff\xff\xff\xff\x0f\x00a",  # 4 GB
        b"\x02\x00a",  # shorter than it says
        b"\x00\x00a",  # longer
        b"\x04\x01\x01",  # from before its start
        b"\x04\x00a\x01\x00",  # from no bytes back
        b"\x08\xfc\xff\xff\xff\xff",  # a text of 4 GB
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
    ],
)
def test_bad_blocks_are_refused(packed):
    with pytest.raises(CheckpointError):
        decompress(Reader(memoryview(packed), "block"))


def test_numbers_keep_their_type():
    assert tensorflow.read(CASE / "model.ckpt-100")["global_step"].dtype == torch.int32
