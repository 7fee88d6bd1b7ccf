"""CRC-32C (Castagnoli), the checksum of TensorFlow's files, fast enough in numpy: rows of bytes side by side.

The register is linear over XOR, so that the registers of rows that start from zero combine into that of the whole: the
register of all that came before is advanced by one row of zero bytes and added.
"""

from __future__ import annotations

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78
_ROWS = 4096
_CHUNK = 4 << 20  # bytes at a time: what is copied stays small


def crc32c(content: memoryview) -> int:
    """The checksum of bytes."""
    register = 0xFFFFFFFF
    for start in range(0, len(content), _CHUNK):
        register = _advance(np.frombuffer(content[start : start + _CHUNK], dtype=np.uint8), register)
    return register ^ 0xFFFFFFFF


def unmasked(value: int) -> int:
    """The checksum that TensorFlow stored as `value`, rotated and moved by a constant."""
    value = (value - 0xA282EAD8) & 0xFFFFFFFF
    return ((value >> 17) | (value << 15)) & 0xFFFFFFFF


@functools.cache
def _table() -> np.ndarray:
    """The register after one byte: [256]"""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(_POLYNOMIAL), values >> 1)
    return values.astype(np.uint32)


def _advance(content: np.ndarray, register: int) -> int:
    table = _table()
    head = content[: len(content) % _ROWS]
    for byte in head.tolist():
        register = int(table[(register ^ byte) & 255]) ^ (register >> 8)
    if len(head) == len(content):
        return register
    rows = content[len(head) :].reshape(_ROWS, -1)
    registers = np.zeros(_ROWS, dtype=np.uint32)
    registers[0] = register
    for column in np.ascontiguousarray(rows.T):
        registers = table[(registers ^ column) & 255] ^ (registers >> 8)
    shift = _shift(rows.shape[1])
    register = 0
    for row in registers.tolist():
        moved = shift[0][register & 255] ^ shift[1][register >> 8 & 255]
        register = moved ^ shift[2][register >> 16 & 255] ^ shift[3][register >> 24] ^ row
    return register


@functools.lru_cache(4)
def _shift(count: int) -> list[list[int]]:
    """The register after so many zero bytes, by each of the four bytes of the register before."""
    values = np.arange(256, dtype=np.uint32)[None] << np.array([[0], [8], [16], [24]], dtype=np.uint32)
    for _ in range(count):
        values = _table()[values & 255] ^ (values >> 8)
    return [row.tolist() for row in values]
