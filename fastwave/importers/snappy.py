"""Snappy, the compression of the blocks of a TensorFlow index, with a bound on what comes out."""

from __future__ import annotations

from .reading import Reader

MOST_BYTES = 16 << 20  # of one block; TensorFlow's have 256 KB


def decompress(reader: Reader) -> bytes:
    """The content of a whole reader."""
    size = reader.varint()
    if size > MOST_BYTES:
        raise reader.refused(f"a block of {size} bytes")
    result = bytearray()
    while reader.left:
        tag = reader.unsigned(1)
        if tag & 3 == 0:
            length = tag >> 2
            if length >= 60:
                length = reader.unsigned(length - 59)
            result += reader.take(length + 1)
        else:
            _copy(reader, tag, result)
        if len(result) > size:
            raise reader.refused("a block is longer than it says")
    if len(result) != size:
        raise reader.refused("a block is shorter than it says")
    return bytes(result)


def _copy(reader: Reader, tag: int, result: bytearray) -> None:
    """Repeat what stands `distance` bytes back; a repetition may read what it has just written."""
    if tag & 3 == 1:
        length, distance = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | reader.unsigned(1)
    else:
        length, distance = (tag >> 2) + 1, reader.unsigned(2 if tag & 3 == 2 else 4)
    if not 0 < distance <= len(result):
        raise reader.refused("a block repeats what it does not hold")
    start = len(result) - distance
    pattern = bytes(result[start : start + length])
    result += (pattern * (length // len(pattern) + 1))[:length]
