"""Numbers, lines and stretches of bytes from a file that is not trusted: every size is checked before it is used."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ..errors import CheckpointError

MOST_BYTES = 64 << 30  # of one file; the largest WaveNets that were published have under 1 GB


def read_file(path: Path) -> bytearray:
    """The whole content of an ordinary file, in memory that tensors may share."""
    try:
        if not path.is_file():
            raise CheckpointError(f"{path} is no file: give a file or a folder that holds a checkpoint.")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_BYTES:
                raise CheckpointError(f"{path} has {size} bytes, more than the {MOST_BYTES} that are read.")
            content = bytearray(size)
            if file.readinto(content) != size:
                raise CheckpointError(f"{path} became shorter while it was read.")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}.") from error
    return content


class Reader:
    """A position in bytes. What would read beyond their end is refused under the name of the file."""

    def __init__(self, content: memoryview, name: str, at: int = 0) -> None:
        self.content, self.name, self.at = content, name, at

    def refused(self, why: str) -> CheckpointError:
        """The error for something that is wrong at this place."""
        return CheckpointError(f"{self.name} is damaged, or no checkpoint ({why}, near byte {self.at}).")

    @property
    def left(self) -> int:
        """Bytes that remain."""
        return len(self.content) - self.at

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        if not 0 <= count <= self.left:
            raise self.refused(f"{count} bytes are announced and {self.left} are left")
        self.at += count
        return self.content[self.at - count : self.at]

    def line(self, most: int) -> bytes:
        """Up to the next line feed, which is skipped."""
        stretch = bytes(self.content[self.at : self.at + most + 1])
        end = stretch.find(b"\n")
        if end < 0:
            raise self.refused(f"a line does not end within {most} bytes")
        self.at += end + 1
        return stretch[:end]

    def unpack(self, form: str) -> tuple[int, ...]:
        """Integers, as `struct` describes them."""
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def unsigned(self, size: int) -> int:
        """A little-endian number of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        """A protobuf number of up to 64 bits: 7 bits a byte, the lowest first."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.unsigned(1)
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (2**64 - 1)
        raise self.refused("a number of more than 64 bits")
