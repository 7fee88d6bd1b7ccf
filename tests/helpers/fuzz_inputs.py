"""Damaged files by the thousand: every one must load, or end in a FastwaveError, quickly and in little memory.

    python tests/helpers/fuzz_inputs.py --count 100000

Runs in one process with a memory limit, so that a crash, a hang or a large allocation ends it and is seen.
Every input is a function of (seed, number): a finding is repeated with --seed S --first N --count 1.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from fastwave import Engine, FastwaveError, WaveNet
from fastwave.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from fastwave.music import midi
from fastwave.music.midi_writing import to_bytes
from fastwave.sound import audio
from midi_bytes import control, meta, off, on, program, tempo, track
from midi_bytes import midi as make_midi
from shapes import CONFIGS, make_model

SLACK = 64 << 20  # bytes of memory a load may take, beside twice the file
LIMIT_SECONDS = 1.0
EXTREMES = [
    0,
    1,
    -1,
    2**31 - 1,
    -(2**31),
    2**63 - 1,
    2**64,
    10**30,
    1e308,
    1e-320,
    float("nan"),
    None,
    True,
    "",
    "pcm",
    [],
    {},
]


def mutate_bytes(content: bytes, random: np.random.Generator) -> bytes:
    """One to four of: flipped bits, extreme integers, cuts, repeats, foreign bytes."""
    data = bytearray(content)
    for _ in range(random.integers(1, 5)):
        if not data:
            return b""
        at = int(random.integers(len(data)))
        if random.random() < 0.4:  # headers stand at the front and decide most
            at = int(random.integers(min(len(data), 200)))
        match int(random.integers(6)):
            case 0:
                data[at] ^= 1 << int(random.integers(8))
            case 1:
                width = int(random.choice([1, 2, 4, 8]))
                value = int(random.choice(np.array([0, 1, 2**7, 2**8 - 1, 2**15, 2**31 - 1, 2**32 - 1], dtype=object)))
                data[at : at + width] = (value % 2 ** (8 * width)).to_bytes(
                    width, str(random.choice(["little", "big"]))
                )
            case 2:
                del data[at:]
            case 3:
                length = int(random.integers(1, 64))
                data[at:at] = data[at : at + length]
            case 4:
                del data[at : at + int(random.integers(1, 64))]
            case 5:
                data[at : at + 8] = random.bytes(8)
    return bytes(data)


def mutate_json(content: bytes, random: np.random.Generator) -> bytes:
    """A value replaced by an extreme one, a field dropped, doubled or renamed."""
    values = json.loads(content)
    for _ in range(random.integers(1, 3)):
        key = str(random.choice(list(values)))
        match int(random.integers(5)):
            case 0 | 1:
                values[key] = EXTREMES[random.integers(len(EXTREMES))]
            case 2:
                values[key] = [EXTREMES[i] for i in random.integers(len(EXTREMES), size=random.integers(1, 5))]
            case 3:
                values[key + "x"] = values.pop(key)
            case 4:
                values[key] = int(random.integers(-3, 5000))
    return json.dumps(values).encode()


class Case:
    """One kind of file: originals to damage, and how it is loaded."""

    def __init__(
        self, path: Path, originals: list[bytes], load: Callable[[], object], structured: bool = False
    ) -> None:
        self.path, self.originals, self.load, self.structured = path, originals, load, structured

    def damaged(self, random: np.random.Generator) -> bytes:
        original = self.originals[random.integers(len(self.originals))]
        if self.structured and random.random() < 0.7:
            return mutate_json(original, random)
        return mutate_bytes(original, random)


def make_cases(folder: Path) -> dict[str, Case]:
    cases = {}
    for kind in ("config", "weights", "state"):
        (folder / kind).mkdir()
    model = make_model("categorical-linear-ids")
    for kind in ("config", "weights"):
        model.save_pretrained(folder / kind)
    configs = []
    for name in CONFIGS:
        make_model(name).save_pretrained(folder / "other")
        configs.append((folder / "other" / CONFIG_FILE).read_bytes())
    described = json.loads((folder / "config" / CONFIG_FILE).read_text())
    described |= {"features": {"kind": "array", "channels": 4}, "codec_parameters": {"mu": 300, "rounding": "floor"}}
    configs.append(json.dumps(described).encode())
    path = folder / "config" / CONFIG_FILE
    cases["config"] = Case(
        path, [path.read_bytes(), *configs], lambda: WaveNet.from_pretrained(folder / "config"), True
    )
    path = folder / "weights" / WEIGHTS_FILE
    cases["weights"] = Case(path, [path.read_bytes()], lambda: WaveNet.from_pretrained(folder / "weights"))
    engine = Engine(make_model("categorical"), dtype="float32")
    state = folder / "state" / "state"
    engine.start(2).save(state)
    cases["state"] = Case(state, [state.read_bytes()], lambda: engine.load_state(state))
    wave = (np.sin(np.arange(3000) * 0.05) * 0.5).astype(np.float32)
    for suffix, subtypes in (("wav", ("PCM_16", "FLOAT")), ("flac", ("PCM_16",)), ("ogg", (None,)), ("mp3", (None,))):
        originals = []
        for subtype in subtypes:
            soundfile.write(folder / f"original.{suffix}", wave, 16_000, subtype=subtype)
            originals.append((folder / f"original.{suffix}").read_bytes())
        cases[suffix] = sound_case(folder / f"sound.{suffix}", originals)
    path = folder / "song.mid"
    cases["midi"] = Case(path, midi_originals(), lambda: to_bytes(midi.read(path)))
    return cases


def midi_originals() -> list[bytes]:
    """MIDI files with all that is read in them: running status, pedals, names, tempos, ports, drums, SMPTE, RIFF."""
    rich = b"".join(
        track(
            (0, meta(3, b"Fl\xc3\xb6te")), (0, tempo(400_000 + 1000 * part)), (0, meta(0x21, bytes([part % 2]))),
            (0, program(40 + part, part)), (0, control(7, 90, part)), (0, control(10, 30 * part, part)),
            (0, b"\xf0\x05\x7e\x7f\x09\x01\xf7"), (10, control(64, 127, part)), (0, on(60, 90, part)),
            (200, b"\x3c\x00"),
            (100, control(66, 127, part)), (50, on(64, 50, part)), (0, b"\x43\x40"), (90, control(11, 60, part)),
            (40, off(64, part)), (5, control(64, 0, part)), (5, control(123, 0, part)), (9, b"\xe0\x00\x50"),
            (3, on(36, 80, 9)), (3, off(36, 9)),
        )
        for part in range(4)
    )  # fmt: skip
    files = [make_midi(rich, count=4), make_midi(rich, count=4, division=(256 - 25) << 8 | 40)]
    files.append(b"RIFF\0\0\0\0RMIDdata" + len(files[0]).to_bytes(4, "little") + files[0])
    return [*files, make_midi(track((0, on()), (96, off())), kind=0)]


def sound_case(path: Path, originals: list[bytes]) -> Case:
    return Case(path, originals, lambda: audio.load(path, sample_rate=8000))


def address_space() -> int:
    """Bytes of virtual memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def run(
    seed: int, first: int, count: int, folder: Path, only: str | None = None
) -> tuple[collections.Counter[str], list[str]]:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cases = make_cases(folder)
    names = list(cases) if only is None else [only]
    for case in cases.values():
        case.path.write_bytes(case.originals[0])
        case.load()  # the originals load, and every library is in memory before it is limited
    largest = max(len(original) for case in cases.values() for original in case.originals)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + 2 * largest + SLACK,) * 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the MP3 decoder comments on every damaged frame there
    outcomes: collections.Counter[str] = collections.Counter()
    failures = []
    for number in range(first, first + count):
        random = np.random.default_rng((seed, number))
        case = cases[names[number % len(names)]]
        case.path.write_bytes(case.damaged(random))
        begun = time.monotonic()
        try:
            case.load()
            outcome = "loaded"
        except FastwaveError:
            outcome = "refused"
        except BaseException as error:
            outcome = "FAILED"
            failures.append(
                f"{names[number % len(names)]} --seed {seed} --first {number}: {type(error).__name__}: {error}"
            )
        if time.monotonic() - begun > LIMIT_SECONDS:
            failures.append(f"{names[number % len(names)]} --seed {seed} --first {number}: took over {LIMIT_SECONDS} s")
        outcomes[f"{names[number % len(names)]} {outcome}"] += 1
    return outcomes, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="KIND", help="such as wav, or midi")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes, failures = run(options.seed, options.first, options.count, Path(folder), options.only)
    for name in sorted(outcomes):
        print(f"{name:16} {outcomes[name]:7}")
    for failure in failures[:20]:
        print(failure)
    print(f"{options.count} inputs, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
