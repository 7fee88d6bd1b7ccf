"""The zip archives that `torch.save` writes, whose records are stored as they are: nothing is ever inflated."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from ..errors import CheckpointError
from .reading import Reader

MOST_RECORDS = 100_000
_END, _END_64, _LOCATOR_64, _CENTRAL, _LOCAL = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02", b"PK\x03\x04"
_END_SIZE, _LONGEST_COMMENT, _LONGEST_NAME = 22, 65_535, 1024
_UNKNOWN_32 = 0xFFFFFFFF  # the number stands among the 64-bit ones of the extra field


@dataclass(frozen=True)
class Record:
    """One record: where its bytes stand in the file, and their checksum."""

    start: int
    size: int
    checksum: int


class Archive:
    """The records of a zip file by name, from its central directory."""

    def __init__(self, content: memoryview, name: str) -> None:
        self.content, self.name = content, name
        self.records = self._directory()
        self._check_apart()

    def read(self, record: str) -> memoryview:
        """The bytes of a record, whose checksum is right."""
        place = self.records.get(record)
        if place is None:
            raise CheckpointError(f"{self.name} is damaged: its archive lacks the record {record[:80]!r}.")
        content = self.content[place.start : place.start + place.size]
        if zlib.crc32(content) != place.checksum:
            raise CheckpointError(
                f"{self.name} is damaged: the checksum of its record {record[:80]!r} is wrong. Copy or download the "
                "file again; one that was saved with set_crc32_options(False) must be saved again without."
            )
        return content

    def _directory(self) -> dict[str, Record]:
        count, offset = self._end()
        if count > MOST_RECORDS:
            raise CheckpointError(f"{self.name}: an archive of {count} records; a checkpoint has a few thousand.")
        reader = Reader(self.content, self.name, offset)
        records: dict[str, Record] = {}
        for _ in range(count):
            name, record = self._entry(reader)
            if name in records:
                raise reader.refused(f"two records are called {name[:80]!r}")
            records[name] = record
        return records

    def _end(self) -> tuple[int, int]:
        """Count and offset of the central directory."""
        tail = bytes(self.content[-_END_SIZE - _LONGEST_COMMENT :])
        at = tail.rfind(_END)
        if at < 0:
            raise CheckpointError(f"{self.name} is truncated: a zip archive without its directory. Copy it again.")
        at += len(self.content) - len(tail)
        reader = Reader(self.content, self.name, at + 4)
        count, size, offset = reader.unpack("<6xHII")
        if at >= 20 and self.content[at - 20 : at - 16] == _LOCATOR_64:
            (end,) = Reader(self.content, self.name, at - 12).unpack("<Q")
            reader = Reader(self.content, self.name, min(end, len(self.content)))
            if reader.take(4) != _END_64:
                raise reader.refused("the 64-bit end of its archive is missing")
            count, size, offset = reader.unpack("<28xQQQ")
        if offset + size > at:
            raise reader.refused("the directory of its archive reaches beyond the file")
        return count, offset

    def _entry(self, reader: Reader) -> tuple[str, Record]:
        if reader.take(4) != _CENTRAL:
            raise reader.refused("an entry of its archive's directory is missing")
        flags, method, checksum, packed, size, name_length, extra_length, comment_length, offset = reader.unpack(
            "<4xHH4xIIIHHH8xI"
        )
        if name_length > _LONGEST_NAME:
            raise reader.refused(f"a record whose name has {name_length} bytes")
        name = bytes(reader.take(name_length)).decode("utf-8", "replace")
        extra = Reader(reader.take(extra_length), self.name)
        reader.take(comment_length)
        size, packed, offset = _long_numbers(extra, size, packed, offset)
        if flags & 1:
            raise CheckpointError(f"{self.name}: its record {name[:80]!r} is encrypted: save it again without.")
        if method != 0 or packed != size:
            raise CheckpointError(
                f"{self.name}: its record {name[:80]!r} is compressed, which torch.save never does: unpack the "
                "archive and pack it again without compression."
            )
        return name, Record(self._start(offset, name), size, checksum)

    def _start(self, offset: int, name: str) -> int:
        """Where the bytes of a record begin: behind its local header."""
        reader = Reader(self.content, self.name, min(offset, len(self.content)))
        if reader.take(4) != _LOCAL:
            raise reader.refused(f"the record {name[:80]!r} of its archive is not where it should be")
        name_length, extra_length = reader.unpack("<22xHH")
        reader.take(name_length + extra_length)
        return reader.at

    def _check_apart(self) -> None:
        """No two records share bytes: an archive cannot hold more than its file."""
        end = 0
        for record in sorted(self.records.values(), key=lambda each: each.start):
            if record.start < end or record.start + record.size > len(self.content):
                raise CheckpointError(f"{self.name} is damaged: records of its archive overlap, or leave the file.")
            end = record.start + record.size


def _long_numbers(extra: Reader, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The three with those of the 64-bit extra field in place of the ones that do not fit 32 bits."""
    while extra.left >= 4:
        kind, length = extra.unpack("<HH")
        field = Reader(extra.take(length), extra.name)
        if kind == 1:
            size = field.unsigned(8) if size == _UNKNOWN_32 else size
            packed = field.unsigned(8) if packed == _UNKNOWN_32 else packed
            offset = field.unsigned(8) if offset == _UNKNOWN_32 else offset
    return size, packed, offset
