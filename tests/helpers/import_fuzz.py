"""Damaged checkpoints for the importers: only FastwaveError may come of them, soon, and without much memory.

Usage: python tests/helpers/import_fuzz.py [COUNT]    (100,000 take some minutes; the suite runs 2,000)
"""

import functools
import io
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import torch

from fastwave.errors import FastwaveError
from fastwave.importers import notation
from fastwave.importers.crc32c import crc32c
from fastwave.importers.importing import import_model
from fastwave.importers.notes import Notes
from fastwave.importers.source import open_source

DATA = Path(__file__).resolve().parent.parent / "importers" / "data"
SECONDS = 60  # for one file; this is wall time, and CI machines are busy
MEMORY = 64 << 20  # beyond twice the file
TEXTS = {
    "hparams.json": b'{"layers": 24, "scales": [4, 4], "nested": {"a": [1, {"b": null}]}, "name": "x"}',
    "hparams.yml": b"layers: 24\nscales:\n  - 4\n  - 4.5e3\nnested:\n  a: [1, [2, 'x']]\n  b: true # why\n",
    "hparams.txt": b"layers=24,stacks=4,scales=[4, (4, 2)],name='a,b'\nflag=True # why\n",
}
ALPHABET = b"[](){}:,='\"#-\n 0123456789.eE_\\\x80\xff"
OPCODES = b"()01234RbctuseaqrhjQ}]NXKMJ\x80\x81\x85\x86\x87\x88\x8a\x8c\x90\x91\x93\x94\x95.GUTVIL"


class Hang(BaseException):
    """A file took too long."""


def seeds():
    """(kind, name of the file, its content, other files of its folder)"""
    found = []
    for case in ("vh-module", "vh-module-legacy", "vh-state"):
        found.append(("torch", "snapshot", (DATA / case / "snapshot").read_bytes(), {}))
    torch.manual_seed(0)
    small = {"state_dict": {"a.weight": torch.randn(3, 2), "b": torch.ones(2).bfloat16()}, "hparams": {"layers": 2}}
    for zipped in (True, False):
        for protocol in (2, 4):
            buffer = io.BytesIO()
            torch.save(small, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
            found.append(("torch", "a.pth", buffer.getvalue(), {}))
    folder = DATA / "ibab-biases"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "expected.npz"}
    for name in ("model.ckpt-100.index", "model.ckpt-100.data-00000-of-00001", "checkpoint"):
        found.append(("bundle", name, files[name], files))
    return found + [("text", name, content, {}) for name, content in TEXTS.items()]


def mutate(rng, kind, name, content):
    """Damage to bytes; most zip files and indices get right checksums again, so that what they hold is met."""
    if kind == "torch" and content[:2] == b"PK" and rng.random() < 0.7:
        return _inside_zip(rng, content)
    if name.endswith(".index") and rng.random() < 0.7:
        return _inside_table(rng, content)
    return _damage(rng, content, ALPHABET if kind == "text" else bytes(range(256)))


def _damage(rng, content, alphabet=bytes(range(256)), dense=None):
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(content) + 1) if content else 0
        if dense and rng.random() < 0.7:
            at = rng.randrange(min(dense, len(content) + 1))
        match rng.randrange(8):
            case 0:
                content[at : at + 1] = bytes([rng.choice(alphabet)])
            case 1:
                content[at:at] = bytes(rng.choice(alphabet) for _ in range(rng.choice((1, 2, 8))))
            case 2:
                del content[at : at + rng.choice((1, 2, 8, 100))]
            case 3:
                del content[at:]
            case 4:  # sizes
                content[at : at + 4] = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**20)).to_bytes(4, "little")
            case 5:
                content[at : at + 8] = rng.choice((2**63 - 1, 2**64 - 1, 2**40, 0)).to_bytes(8, "little")
            case 6:  # repeat a stretch
                stretch = bytes(content[at : at + rng.choice((4, 30, 300))])
                content[at:at] = stretch * rng.choice((1, 2, 50))
            case 7:
                content[at : at + 1] = bytes([rng.choice(OPCODES)]) * rng.choice((1, 1, 2, 1000))
    return bytes(content)


def _inside_zip(rng, content):
    """The records of an archive, one of them damaged, with right checksums."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    names = [name for name in records if name.endswith("data.pkl")] * 8 + list(records)
    chosen = rng.choice(names)
    records[chosen] = _damage(rng, records[chosen])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, record in records.items():
            archive.writestr(name, record)
    return buffer.getvalue()


def _inside_table(rng, content):
    """The first block of a table, damaged without a change of its length, with a right checksum."""
    footer = content[-48:]
    size = len(content) - 48
    end = _end_of_block(content)
    block = bytearray(content[: end + 1])
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(block))
        block[at] = rng.randrange(256)
    if rng.random() < 0.8:
        block[-1] = rng.choice((0, 0, 0, 1))
    return bytes(block) + _masked(crc32c(memoryview(bytes(block)))) + content[end + 5 : size] + footer


@functools.cache
def _end_of_block(content):
    """Where the first block's kind stands: its checksum follows."""
    return next(
        at for at in range(len(content)) if _masked(crc32c(memoryview(content[: at + 1]))) == content[at + 1 : at + 5]
    )


def _masked(value):
    return ((((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def run(count, seed, folder, whole=0.01):
    """Read damaged files. -> how many were read, refused, and imported as a whole (a share of them)"""
    rng = random.Random(seed)
    outcomes = {"read": 0, "refused": 0, "imported": 0}
    inputs = seeds()
    signal.signal(signal.SIGALRM, _hang)
    for number in range(count):
        kind, name, content, others = rng.choice(inputs)
        damaged = mutate(rng, kind, name, content)
        for other, original in others.items():
            (folder / other).write_bytes(original)
        (folder / name).write_bytes(damaged)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(SECONDS)
        try:
            if kind == "text":
                notation.read(folder / name)
            elif rng.random() < whole:
                import_model(folder / name, sample_rate=8000, settings={"layers": 3, "blocks": 2})
                outcomes["imported"] += 1
            else:
                open_source(folder / name, None, Notes())
            outcomes["read"] += 1
        except FastwaveError:
            outcomes["refused"] += 1
        except BaseException as error:
            kept = Path(tempfile.gettempdir()) / f"fastwave-fuzz-{seed}-{number}"
            shutil.copytree(folder, kept, dirs_exist_ok=True)
            raise AssertionError(f"file {number} of seed {seed}, kept in {kept}: {error!r}") from error
        finally:
            signal.alarm(0)
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        assert grown <= 2 * len(damaged) + MEMORY, f"file {number} of seed {seed} took {grown} bytes"
        for path in folder.iterdir():
            path.unlink()
    return outcomes


def _hang(*_):
    raise Hang


def main(count):
    begun, total = time.process_time(), {}
    for seed in range(1, 1 + max(1, count // 500)):
        with tempfile.TemporaryDirectory() as folder:
            outcomes = run(min(500, count), seed, Path(folder))
        total = {name: total.get(name, 0) + number for name, number in outcomes.items()}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(seed, total, f"{time.process_time() - begun:.0f} s of processor, {peak:.0f} MB at most", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
