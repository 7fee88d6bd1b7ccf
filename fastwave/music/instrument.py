"""A band: instruments that share a timbre network, as a folder, and how they play.

Every note is made alone: the timbre network makes its rows, the residual is noise of the colour of its mel frames, and
the sum of its harmonics comes on top. So a note has the same samples whatever sounds beside it, notes are computed in
whichever batches are fastest, and polyphony has no limit. In a band that was trained with residual="wavenet", a WaveNet
and linear prediction make the residual.

    instrument.json      which instruments, in which keys, and the settings of both networks
    timbre.safetensors   see `timbre.py`
    wavenet/             a checkpoint, where `residual` is "wavenet"
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from .. import checkpoint
from ..checkpoint import read_tensors, write_tensors
from ..engine.engine import Engine
from ..errors import CheckpointError, ConfigError, InputError
from ..files import replacing
from ..locate import parse_object, read_bounded
from ..model import WaveNet
from ..sound import lpc
from ..vocoder import periods
from ..vocoder.vocoder import VocoderSettings, check_wavenet
from . import harmonics, noise, stiffness
from .analysis import FRAMES, LEAD, NOISE, TONE, attack_of
from .band import Part
from .bands import BAND_FILE, RESIDUALS
from .notes import Note
from .notes import hertz as hertz_of
from .timbre import Shape, Timbre, rows_of

TIMBRE_FILE, WAVENET_FOLDER = "timbre.safetensors", "wavenet"
FORMAT, KIND = 2, "band"
SAVED = {"bfloat16": torch.bfloat16, "float32": torch.float32}
MOST_INSTRUMENTS, MOST_CHARACTERS = 1_000, 4_000
SPAN = 4.0  # seconds of onsets that are computed together, in batches of notes of similar lengths
FIRST_SPAN = 0.5  # those at the start, so that the first sound comes soon
BATCH = 16  # notes at most
FADE = 800  # samples over which the end of a tail fades out

Wave = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Description:
    """What instrument.json says, apart from the settings of the networks."""

    name: str
    instruments: Mapping[str, tuple[int, int]]  # the lowest and the highest key of each that was learned
    licence: str = "not stated"
    provenance: str = "not stated"
    stretches: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)  # see `corpus.stretches`

    def __post_init__(self) -> None:
        for name in ("name", "licence", "provenance"):
            value = getattr(self, name)
            if not isinstance(value, str) or not 0 < len(value) <= MOST_CHARACTERS:
                raise CheckpointError(f"{name} of a band is a text of 1..{MOST_CHARACTERS} characters.")
        if not isinstance(self.instruments, Mapping) or not 0 < len(self.instruments) <= MOST_INSTRUMENTS:
            raise CheckpointError(f"a band has 1..{MOST_INSTRUMENTS} instruments, by their names.")
        for name, keys in self.instruments.items():
            whole = isinstance(keys, (tuple, list)) and all(type(key) is int for key in keys)
            if not whole or len(keys) != 2 or not 0 <= keys[0] <= keys[1] <= 127:
                raise CheckpointError(f"the keys of {str(name)[:60]!r} are the lowest and the highest, of 0..127.")
        if not stiffness.checked(self.stretches, self.instruments):
            raise CheckpointError(f"stretches of a band are numbers of 0..{stiffness.HIGHEST:g}, one for each key.")

    def stretch(self, instrument: str, key: int) -> float:
        """B of a key, or of the nearest one that was learned."""
        low, high = self.instruments[instrument]
        return self.stretches[instrument][min(max(key, low), high) - low] if instrument in self.stretches else 0.0


class _Call(NamedTuple):
    """A note of a part, and its number, which names its noise."""

    part: int
    number: int
    instrument: str
    note: Note


class Instruments:
    """A band, ready to play. It keeps the protocol of `band.Band`. Without a WaveNet its residuals are noise."""

    def __init__(
        self,
        description: Description,
        timbre: Timbre,
        wavenet: WaveNet | None,
        settings: VocoderSettings,
        backend: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        have, named = timbre.shape.instruments, len(description.instruments)
        if have != named:
            raise CheckpointError(f"the timbre network has {have} instruments, but {named} are named.")
        if settings.frames != FRAMES:
            raise CheckpointError("these instruments were made for frames of another kind.")
        self.description, self.timbre, self.wavenet, self.settings = description, timbre.eval(), wavenet, settings
        self.engine = None
        if wavenet is not None:
            check_wavenet(wavenet, settings)
            self.engine = Engine(wavenet, backend, dtype, threads)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        backend: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> Instruments:
        """The band in a folder."""
        place = Path(folder)
        path = place / BAND_FILE
        values = parse_object(read_bounded(path, "band"), path, "description of a band")
        if values.get("format") != FORMAT or values.get("kind") != KIND:
            raise CheckpointError(f"{path} is not a band of format {FORMAT}: load it with the fastwave that wrote it.")
        try:
            description = Description(
                values["name"],
                values["instruments"],
                values.get("licence", ""),
                values.get("provenance", ""),
                values["stretches"],
            )
            shape = Shape.from_dict(values["timbre"])
            settings = VocoderSettings.from_dict(values["vocoder"])
            residual = values["residual"]
        except KeyError as error:
            raise CheckpointError(
                f"{path} lacks {error.args[0]!r}: a save was interrupted, or it was edited."
            ) from error
        except ConfigError as error:
            raise CheckpointError(f"{path}: {error}") from error
        if residual not in RESIDUALS:
            raise CheckpointError(f"residual of {path} is {' or '.join(RESIDUALS)}, got {residual!r:.40}.")
        timbre = Timbre(shape)
        expected = {name: tuple(each.shape) for name, each in timbre.state_dict().items()}
        tensors, _ = read_tensors(place / TIMBRE_FILE, lambda _: expected)
        timbre.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        wavenet = WaveNet.from_pretrained(place / WAVENET_FOLDER).float() if residual == "wavenet" else None
        return cls(description, timbre, wavenet, settings, backend, dtype, threads)

    def save(self, folder: str | os.PathLike[str], dtype: str = "bfloat16") -> None:
        """Write the folder that `load` reads, each file whole or not at all; instrument.json comes last."""
        if dtype not in SAVED:
            raise InputError(f"a band is saved as {' or '.join(SAVED)}, got {dtype!r:.40}.")
        target, number_type = Path(folder), SAVED[dtype]
        content = {"format": FORMAT, "kind": KIND, **dataclasses.asdict(self.description)}
        content |= {"residual": "noise" if self.wavenet is None else "wavenet"}
        content |= {"timbre": dataclasses.asdict(self.timbre.shape), "vocoder": self.settings.to_dict()}
        try:
            target.mkdir(parents=True, exist_ok=True)
            (target / BAND_FILE).unlink(missing_ok=True)  # while its parts are replaced the folder is no band
            tensors = {name: tensor.to(number_type) for name, tensor in self.timbre.state_dict().items()}
            write_tensors(target / TIMBRE_FILE, tensors, {})
            if self.wavenet is not None:
                weights = {name: tensor.to(number_type) for name, tensor in self.wavenet.state_dict().items()}
                checkpoint.save(target / WAVENET_FOLDER, self.wavenet.config, weights)
            with replacing(target / BAND_FILE) as temporary:
                temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise CheckpointError(f"cannot save a band in {target}: {error.strerror or error}.") from error

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return FRAMES.sample_rate

    @property
    def names(self) -> tuple[str, ...]:
        """The instruments."""
        return tuple(self.description.instruments)

    def stream(
        self, parts: Sequence[Part], seed: int = 0, temperature: float | None = None
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Blocks [parts, samples] from the start of the piece: in each row the sum of the notes of a part.

        `temperature` is a factor on what the residual is drawn with; lower is less noisy.
        """
        calls = self._calls(parts)
        pending = np.zeros((len(parts), 0), dtype=np.float32)  # from sample `done` on, not yet complete
        done, first, span = 0, 0, FIRST_SPAN
        while first < len(calls):
            end = calls[first].note.onset + span
            last = first + 1
            while last < len(calls) and calls[last].note.onset < end:
                last += 1
            for call, wave in self._waves(calls[first:last], seed, temperature):
                begin = round(call.note.onset * self.sample_rate) - done
                more = begin + len(wave) - pending.shape[1]
                if more > 0:
                    pending = np.pad(pending, ((0, 0), (0, more)))
                pending[call.part, begin : begin + len(wave)] += wave
            first, span = last, SPAN
            until = round(calls[first].note.onset * self.sample_rate) - done if first < len(calls) else pending.shape[1]
            for begin in range(0, until, self.sample_rate):  # silence may be long
                block = pending[:, begin : min(begin + self.sample_rate, until)]
                missing = min(self.sample_rate, until - begin) - block.shape[1]
                yield np.pad(block, ((0, 0), (0, missing)))
            pending, done = pending[:, until:], done + until

    def play(self, note: Note, instrument: str, seed: int = 0, temperature: float | None = None) -> Wave:
        """One note from its onset to the end of its tail, [time]."""
        call = _Call(0, 0, self._known(instrument), note)
        return next(wave for _, wave in self._waves([call], seed, temperature))

    def _calls(self, parts: Sequence[Part]) -> list[_Call]:
        """All notes in the order of their onsets."""
        notes = [(note.onset, part, place) for part, each in enumerate(parts) for place, note in enumerate(each.notes)]
        names = [self._known(part.instrument) for part in parts]
        return [
            _Call(part, number, names[part], parts[part].notes[place])
            for number, (_, part, place) in enumerate(sorted(notes))
        ]

    def _known(self, instrument: str) -> str:
        if instrument not in self.description.instruments:
            raise InputError(f"there is no {instrument!r:.60} in this band: it has {', '.join(self.names)[:400]}.")
        return instrument

    def _waves(self, calls: Sequence[_Call], seed: int, temperature: float | None) -> Iterator[tuple[_Call, Wave]]:
        """The sound of these notes, in batches of similar lengths."""
        rows = [(call, self._rows(call)) for call in calls]
        rows.sort(key=lambda each: len(each[1]))
        for first in range(0, len(rows), BATCH):
            group = rows[first : first + BATCH]
            residuals = self._residuals(group, seed, temperature)
            for (call, values), residual in zip(group, residuals, strict=True):
                yield call, self._finished(call, values, residual)

    def _rows(self, call: _Call) -> npt.NDArray[np.float32]:
        number = self.names.index(call.instrument)
        keys = self.description.instruments[call.instrument]
        return rows_of(self.timbre, number, call.note, keys, self.description.stretch(call.instrument, call.note.key))

    def _residuals(
        self, group: Sequence[tuple[_Call, npt.NDArray[np.float32]]], seed: int, temperature: float | None
    ) -> Iterator[npt.NDArray[np.float64]]:
        """Breath, bow or hammer of each, [frames * hop]; every note has randomness of its own."""
        if self.engine is None:
            loud = 1.0 if temperature is None else temperature
            for call, rows in group:
                draw = np.random.default_rng([seed, call.number])
                yield loud * noise.coloured(rows[:, : FRAMES.bands], FRAMES.mel, draw)
            return
        longest = max(len(rows) for _, rows in group)
        frames = np.stack([np.pad(rows[:, :NOISE], ((0, longest - len(rows)), (0, 0)), "edge") for _, rows in group])
        samples = longest * FRAMES.hop
        sines = np.stack([periods.sines_of(each, FRAMES) for each in frames])
        conditions = torch.stack([FRAMES.conditions(each) for each in frames])
        prepared = self.engine.prepare(conditions, None, len(group), samples, torch.from_numpy(sines))
        state = self.engine.start(len(group), condition=prepared, streams=[call.number for call, _ in group])
        # one temperature for all: what is left of a note is near to noise, voiced or not
        warmth = self.settings.unvoiced_temperature * (1.0 if temperature is None else temperature)
        tokens = self.engine.run(state, samples, seed=seed, condition=prepared, temperature=warmth, in_place=True)
        excitation = self.engine.codec.decode(tokens.cpu()).numpy() * self.settings.scale
        for (_, rows), each in zip(group, excitation, strict=True):
            bands = rows[:, : FRAMES.bands].astype(np.float64)
            synthesis = lpc.Synthesis(lpc.predictors(bands, FRAMES.mel, self.settings.lpc))
            yield synthesis(each[: len(rows) * FRAMES.hop]).astype(np.float64)

    def _finished(self, call: _Call, rows: npt.NDArray[np.float32], residual: npt.NDArray[np.float64]) -> Wave:
        """Harmonics and residual from the onset on, faded at both ends."""
        stretch, attack = self.description.stretch(call.instrument, call.note.key), attack_of(rows)
        levels = rows[:, TONE : TONE + harmonics.count(hertz_of(call.note.key), stretch)]
        whole = harmonics.tone(levels, rows[:, FRAMES.log_f0], attack, FRAMES, stretch)
        whole += residual * attack.at_once().gain(len(residual))
        faded = min(FADE, len(whole) - LEAD)
        whole[len(whole) - faded :] *= np.linspace(1, 0, faded)
        return whole[LEAD:].astype(np.float32)
