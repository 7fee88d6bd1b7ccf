"""Files of `torch.save`, as data: the zip format, and the one before PyTorch 1.6 that is called legacy here.

Both hold a pickle that refers to storages. `read` returns its value with a `StoredTensor` in place of every tensor and
a `pickles.Stub` in place of every other object.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from .pickles import Interpretation, Name, Stub, read_pickle
from .reading import Reader, read_file
from .zips import Archive

_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MOST_DIMENSIONS = 16
_DTYPES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "Untyped": torch.uint8,
}  # fmt: skip
_NAMED = {str(dtype): dtype for dtype in _DTYPES.values()}  # "torch.float32": ...
_BYTES_OF = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # integers to swap the bytes in


@dataclasses.dataclass(eq=False)
class Storage:
    """Numbers of one kind in a row. `content` is known once the file has been read to its end."""

    key: str
    dtype: torch.dtype
    elements: int
    content: Tensor | None = None


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor as a view into a storage, checked to lie inside it."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def tensor(self) -> Tensor:
        """The numbers, where the file keeps them: no copy."""
        if self.storage.content is None:
            raise CheckpointError(f"the storage {self.storage.key[:40]!r} was not read.")
        return self.storage.content.view(self.dtype).as_strided(self.shape, self.strides, self.offset)


def is_torch_file(path: Path) -> bool:
    """Whether a file begins as one of `torch.save` does."""
    try:
        with open(path, "rb") as file:
            start = file.read(2)
    except OSError:
        return False
    return start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def read(path: Path) -> Any:
    """The value that was saved."""
    content = read_file(path)
    name = str(path)
    if content[:2] == b"PK":
        return _read_zip(Archive(memoryview(content), name), content)
    if content[257:262] == b"ustar":
        raise CheckpointError(
            f"{name} was saved by PyTorch before 0.1.10, as a tar: load and save it with a newer one."
        )
    return _read_legacy(content, name)


def _read_zip(archive: Archive, content: bytearray) -> Any:
    pickles = [record for record in archive.records if record.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointError(f"{archive.name} is a zip archive, but none that torch.save wrote: it lacks data.pkl.")
    folder = pickles[0][: -len("data.pkl")]
    if f"{folder}constants.pkl" in archive.records:
        raise CheckpointError(
            f"{archive.name} is a TorchScript program, not a checkpoint: give the state dict that it was made of."
        )
    order = f"{folder}byteorder"
    swapped = order in archive.records and bytes(archive.read(order)[:8]) == b"big"
    storages: dict[str, Storage] = {}

    def persistent(value: Any) -> Any:
        storage = _storage(value, storages, archive.name)
        if isinstance(storage, Storage) and storage.content is None:
            record = f"{folder}data/{storage.key}"
            size = len(archive.read(record))
            if size != storage.elements * storage.dtype.itemsize:
                raise CheckpointError(
                    f"{archive.name} is damaged: its record {record[:80]!r} has {size} bytes, but the checkpoint "
                    f"asks for {storage.elements} numbers of {storage.dtype.itemsize}."
                )
            storage.content = _numbers(content, archive.records[record].start, storage, swapped)
        return storage

    return read_pickle(Reader(archive.read(pickles[0]), archive.name), _interpretations(archive.name), persistent)


def _read_legacy(content: bytearray, name: str) -> Any:
    """Pickles one after the other: magic number, protocol, system, value, keys of the storages; then the storages.

    Their numbers are little-endian on every machine.
    """
    reader = Reader(memoryview(content), name)
    storages: dict[str, Storage] = {}
    interpretations = _interpretations(name)
    magic = read_pickle(reader, {})
    if isinstance(magic, bool) or not isinstance(magic, int) or magic != _MAGIC:
        raise CheckpointError(
            f"{name} is a pickle, but none that torch.save wrote: its first value is no magic number."
        )
    if read_pickle(reader, {}) != _LEGACY_PROTOCOL:
        raise reader.refused("an unknown version of the format of torch.save")
    read_pickle(reader, {})
    value = read_pickle(reader, interpretations, lambda each: _storage(each, storages, name))
    keys = read_pickle(reader, {})
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise reader.refused("the list of its storages differs from those that are used")
    for key in keys:
        storage = storages[str(key)]
        elements = reader.unsigned(8)
        if elements != storage.elements:
            raise reader.refused(f"storage {str(key)[:40]} has {elements} numbers in place of {storage.elements}")
        start = reader.at
        reader.take(elements * storage.dtype.itemsize)
        storage.content = _numbers(content, start, storage, swapped=False)
    return value


def _numbers(content: bytearray, start: int, storage: Storage, swapped: bool) -> Tensor:
    """The numbers of a storage as a flat tensor: the file's own memory where it is aligned, else a copy."""
    if not storage.elements:
        return torch.empty(0, dtype=storage.dtype)
    size = storage.elements * storage.dtype.itemsize
    raw = torch.frombuffer(content, dtype=torch.uint8, count=size, offset=start)
    if swapped:
        raw = raw.view(-1, storage.dtype.itemsize).flip(1).flatten()
    elif raw.data_ptr() % storage.dtype.itemsize:
        raw = raw.clone()
    return raw.view(storage.dtype)


def _storage(value: Any, storages: dict[str, Storage], name: str) -> Any:
    """A persistent id -> the storage that it means; ('module', class, ...) of a legacy module -> its class."""
    if isinstance(value, tuple) and len(value) > 1 and value[0] == "module":
        return value[1]
    if not isinstance(value, tuple) or len(value) not in (5, 6) or value[0] != "storage":
        raise CheckpointError(f"{name} is damaged: it refers to something that is neither a storage nor a module.")
    _, kind, key, _, elements = value[:5]
    if len(value) == 6 and value[5] is not None:
        raise CheckpointError(
            f"{name}: a storage that is a part of another, as PyTorch before 0.4 saved: save it again."
        )
    dtype = _DTYPES.get(kind.name.removesuffix("Storage")) if isinstance(kind, Name) else None
    if dtype is None or not isinstance(key, (str, int)) or not _is_size(elements):
        raise CheckpointError(f"{name}: a storage of numbers that are not read ({str(kind)[:80]}).")
    storage = storages.setdefault(str(key), Storage(str(key), dtype, elements))
    if (storage.dtype, storage.elements) != (dtype, elements):
        raise CheckpointError(f"{name} is damaged: it describes storage {str(key)[:40]!r} in two ways.")
    return storage


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def _interpretations(name: str) -> Mapping[str, Interpretation]:
    """What the classes and functions in a torch file mean that are understood; all others become stubs."""

    def view(arguments: tuple[Any, ...]) -> Any:
        return _view(arguments, None, name)

    def view_with_dtype(arguments: tuple[Any, ...]) -> Any:
        dtype = _NAMED.get(str(arguments[6])) if len(arguments) > 6 else None
        return _view(arguments, dtype, name) if dtype else Stub("a tensor of a kind that is not read", arguments)

    def first(arguments: tuple[Any, ...]) -> Any:
        kept = arguments and isinstance(arguments[0], StoredTensor)
        return arguments[0] if kept else Stub("torch.nn.parameter.Parameter", arguments)

    def from_type(arguments: tuple[Any, ...]) -> Any:
        """A tensor of a class of its own: (function, class, arguments, state)."""
        called, inner = (arguments[0], arguments[2]) if len(arguments) > 2 else (None, None)
        function = tensors.get(str(called)) if isinstance(called, Name) else None
        return function(inner) if function and isinstance(inner, tuple) else Stub(str(called)[:80], arguments)

    tensors: dict[str, Interpretation] = {
        "torch._utils._rebuild_tensor": view,
        "torch._utils._rebuild_tensor_v2": view,
        "torch._utils._rebuild_tensor_v3": view_with_dtype,
        "torch._utils._rebuild_parameter": first,
        "torch._utils._rebuild_parameter_with_state": first,
        "torch.nn.parameter.Parameter": first,  # before PyTorch 0.4
        "torch.autograd.variable.Variable": first,
    }
    return {
        **tensors,
        "torch._tensor._rebuild_from_type_v2": from_type,
        "collections.OrderedDict": _dictionary,
        "collections.defaultdict": lambda _: {},
        "torch.Size": lambda arguments: arguments[0] if len(arguments) == 1 else Stub("torch.Size", arguments),
    }


def _dictionary(arguments: tuple[Any, ...]) -> Any:
    """OrderedDict(), whose items a pickle sets afterwards, or OrderedDict([(key, value), ...]) of Python 2."""
    result: dict[Any, Any] = {}
    pairs = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list) else []
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], (str, int, float)):
            return Stub("collections.OrderedDict", arguments)
        result[pair[0]] = pair[1]
    return result


def _view(arguments: tuple[Any, ...], dtype: torch.dtype | None, name: str) -> Any:
    """(storage, offset, shape, strides, ...) -> a view that lies inside the storage and repeats none of it."""
    if len(arguments) < 4 or not isinstance(arguments[0], Storage):
        raise CheckpointError(f"{name} is damaged: a tensor of it has no storage.")
    storage, offset, shape, strides = arguments[:4]
    dtype = dtype or storage.dtype
    sizes = [offset, *shape, *strides] if isinstance(shape, tuple) and isinstance(strides, tuple) else [None]
    if not all(_is_size(size) for size in sizes) or not len(shape) == len(strides) <= _MOST_DIMENSIONS:
        raise CheckpointError(f"{name} is damaged: a tensor of it has an impossible shape.")
    elements = 1
    for size in shape:
        elements *= size
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    known, rest = divmod(storage.elements * storage.dtype.itemsize, dtype.itemsize)
    if elements and not (last < known and elements <= known and not rest):
        raise CheckpointError(
            f"{name} is damaged: a tensor of shape {str(list(shape))[:80]} lies outside its storage of {known} numbers."
        )
    return StoredTensor(storage, dtype, offset if elements else 0, shape, strides)


def walk(value: Any, deepest: int = 16, most: int = 200_000) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value inside dictionaries, with the keys that lead to it; one that stands in several places comes once.

    Values below `deepest` keys, and those after the first `most`, are left out.
    """
    seen: set[int] = set()
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), value)]
    while waiting and most:
        keys, each = waiting.pop()
        yield keys, each
        most -= 1
        if isinstance(each, dict) and id(each) not in seen and len(keys) < deepest:
            seen.add(id(each))
            waiting += [((*keys, key), inner) for key, inner in reversed(each.items())]
