"""TensorFlow's checkpoints without TensorFlow: bundles (`NAME.index` and `NAME.data-0000n-of-0000m`).

The index is a sorted table of protobufs: blocks with a checksum each, an index of the blocks, a footer. The data files
hold the numbers. Formats as described in TensorFlow's tensor_bundle.proto and LevelDB's table_format.md.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from .crc32c import crc32c, unmasked
from .reading import Reader, read_file
from .snappy import decompress

_FOOTER, _TABLE_MAGIC = 48, 0xDB4775248B80FB57
_MOST_ENTRIES, _MOST_BLOCK_BYTES = 200_000, 32 << 20  # of all blocks together
_MOST_SHARDS, _MOST_DIMENSIONS = 1000, 16
_DTYPES = {
    1: torch.float32, 2: torch.float64, 3: torch.int32, 4: torch.uint8, 5: torch.int16, 6: torch.int8, 9: torch.int64,
    10: torch.bool, 14: torch.bfloat16, 19: torch.float16,
}  # fmt: skip
_SHARD = re.compile(r"(.*)\.data-\d{5}-of-\d{5}", flags=re.DOTALL)


def prefix_of(path: Path) -> Path | None:
    """The bundle that a path means: any of its files, its name without an ending, or its folder's `checkpoint`."""
    shard = _SHARD.fullmatch(path.name)
    names = [path.name.removesuffix(ending) for ending in (".index", ".meta")]
    for name in [shard[1]] if shard else names:
        if (path.parent / f"{name}.index").is_file():
            return path.parent / name
    if path.name == "checkpoint" and path.is_file():
        with open(path, "rb") as file:
            start = file.read(4096)
        found = re.search(rb'^model_checkpoint_path: "([^"\n]{1,500})"', start, flags=re.MULTILINE)
        newest = found[1].decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2] if found else ""
        if newest and (path.parent / f"{newest}.index").is_file():
            return path.parent / newest
    return None


def read(prefix: Path) -> dict[str, Tensor]:
    """Every tensor of a bundle by its name. Tensors of strings, such as Keras' object graph, are left out."""
    index = prefix.with_name(f"{prefix.name}.index")
    entries = dict(_table(memoryview(read_file(index)), str(index)))
    if b"" not in entries:
        raise CheckpointError(f"{index} is damaged: it lacks the header of a bundle.")
    header = _Message(Reader(memoryview(entries.pop(b"")), str(index)))
    shards, swapped = header.number(1), header.number(2) == 1
    if not 1 <= shards <= _MOST_SHARDS:
        raise CheckpointError(f"{index} is damaged: a bundle of {shards} data files.")
    paths = [prefix.with_name(f"{prefix.name}.data-{shard:05}-of-{shards:05}") for shard in range(shards)]
    for path in paths:
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: copy all files of the bundle {prefix} into one folder.")
    contents = [read_file(path) for path in paths]
    tensors: dict[str, Tensor] = {}
    used = 0
    for key, value in entries.items():
        name = key.decode("utf-8", "replace")
        entry = _entry(_Message(Reader(memoryview(value), str(index))), name, index)
        if entry is not None:
            tensors[name] = _tensor(entry, name, contents, paths, swapped)
            used += entry.size
            if used > sum(map(len, contents)):
                raise CheckpointError(f"{index} is damaged: its tensors overlap in the data files.")
    return tensors


@dataclasses.dataclass(frozen=True)
class _Entry:
    dtype: torch.dtype
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


def _entry(message: _Message, name: str, index: Path) -> _Entry | None:
    if message.number(1) == 7:  # strings
        return None
    dtype = _DTYPES.get(message.number(1))
    if dtype is None:
        raise CheckpointError(f"{index}: {name[:80]} is a tensor of type {message.number(1)}, which is not read.")
    if message.parts(7):
        raise CheckpointError(f"{index}: {name[:80]} was saved in slices, by partitioned variables: save it whole.")
    shape: tuple[int, ...] = ()
    for part in message.parts(2)[:1]:
        dimensions = message.inner(part).parts(2)
        shape = tuple(message.inner(dimension).number(1) for dimension in dimensions)
    if len(shape) > _MOST_DIMENSIONS or math.prod(shape) * dtype.itemsize != message.number(5):
        raise CheckpointError(
            f"{index} is damaged: {name[:80]} of shape {str(list(shape))[:80]} has {message.number(5)} bytes."
        )
    return _Entry(dtype, shape, message.number(3), message.number(4), message.number(5), message.number(6))


def _tensor(entry: _Entry, name: str, contents: list[bytearray], paths: list[Path], swapped: bool) -> Tensor:
    if entry.shard >= len(contents) or entry.offset + entry.size > len(contents[entry.shard]):
        raise CheckpointError(f"{paths[0]} is truncated, or of another bundle: {name[:80]} lies beyond its end.")
    content = contents[entry.shard]
    if crc32c(memoryview(content)[entry.offset : entry.offset + entry.size]) != unmasked(entry.checksum):
        raise CheckpointError(f"{paths[entry.shard]} is damaged: the checksum of {name[:80]} is wrong. Copy it again.")
    if not entry.size:
        return torch.empty(entry.shape, dtype=entry.dtype)
    raw = torch.frombuffer(content, dtype=torch.uint8, count=entry.size, offset=entry.offset)
    width = entry.dtype.itemsize
    if swapped:
        raw = raw.view(-1, width).flip(1).flatten()
    elif raw.data_ptr() % width:
        raw = raw.clone()
    return raw.view(entry.dtype).reshape(entry.shape)


# The table


def _table(content: memoryview, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values in the order of the file."""
    if len(content) < _FOOTER or int.from_bytes(content[-8:], "little") != _TABLE_MAGIC:
        raise CheckpointError(f"{name} is truncated, or no index of a TensorFlow bundle.")
    footer = Reader(content[-_FOOTER:], name)
    for _ in range(2):
        footer.varint()  # of the block of filters, which TensorFlow leaves empty
    left = [_MOST_BLOCK_BYTES, _MOST_ENTRIES]
    for _, handle in _entries(_block(content, footer, left), name, left):
        yield from _entries(_block(content, Reader(memoryview(handle), name), left), name, left)


def _block(content: memoryview, handle: Reader, left: list[int]) -> bytes:
    """The block whose offset and size stand at a reader's place. `left` counts the bytes that blocks may take."""
    offset, size = handle.varint(), handle.varint()
    reader = Reader(content, handle.name, min(offset, len(content)))
    stored = reader.take(size + 1)
    if crc32c(stored) != unmasked(reader.unsigned(4)):
        raise CheckpointError(
            f"{handle.name} is damaged: the checksum of its block at {offset} is wrong. Copy it again."
        )
    if stored[-1] not in (0, 1):
        raise handle.refused(f"a block of compression {stored[-1]}")
    block = decompress(Reader(stored[:-1], handle.name)) if stored[-1] else bytes(stored[:-1])
    left[0] -= len(block)
    if left[0] < 0:
        raise handle.refused(f"its blocks hold over {_MOST_BLOCK_BYTES >> 20} MB")
    return block


def _entries(block: bytes, name: str, left: list[int]) -> Iterator[tuple[bytes, bytes]]:
    """Keys share their beginnings with the key before."""
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise CheckpointError(f"{name} is damaged: a block of its table has no end.")
    reader = Reader(memoryview(block)[:end], name)
    key = b""
    while reader.left:
        shared, unshared, size = reader.varint(), reader.varint(), reader.varint()
        if shared > len(key):
            raise reader.refused("a key repeats more than the key before it has")
        key = key[:shared] + bytes(reader.take(unshared))
        left[0] -= len(key) + size
        left[1] -= 1
        if min(left) < 0:
            raise reader.refused("its table has more entries than any checkpoint")
        yield key, bytes(reader.take(size))


# Protobufs


class _Message:
    """The fields of a protobuf by number: integers, and stretches of bytes."""

    def __init__(self, reader: Reader) -> None:
        self._name = reader.name
        self._numbers: dict[int, int] = {}
        self._parts: dict[int, list[memoryview]] = {}
        while reader.left:
            tag = reader.varint()
            field, kind = tag >> 3, tag & 7
            if kind == 2:
                self._parts.setdefault(field, []).append(reader.take(reader.varint()))
            elif kind in (0, 1, 5):
                self._numbers[field] = reader.varint() if kind == 0 else reader.unsigned(8 if kind == 1 else 4)
            else:
                raise reader.refused(f"a field of kind {kind}")

    def number(self, field: int) -> int:
        """An integer; 0 where it is left out."""
        return self._numbers.get(field, 0)

    def parts(self, field: int) -> list[memoryview]:
        """Bytes: a text, or a message inside this one."""
        return self._parts.get(field, [])

    def inner(self, part: memoryview) -> _Message:
        """The message in one of `parts`."""
        return _Message(Reader(part, self._name))
