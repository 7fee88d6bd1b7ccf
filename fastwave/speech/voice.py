"""A voice: text -> sentences of phones -> durations and frames -> sound. `speak` is the shortest way to one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..errors import InputError
from ..generation.saving import check_output, save_or_rescue
from . import loudness
from .analysis import HOP
from .locate import default_voice, locate_voice
from .options import Delivery
from .phones import Sentence
from .pieces import bounded, pieces, shifted
from .spoken import Spoken, joined, spoken, timings_of

if TYPE_CHECKING:
    from ..model import WaveNet
    from .folder import Description

NO_WORDS = "holds nothing that can be spoken: give words, figures or signs that have a name"


class Acoustics(Protocol):
    """What a voice asks of its acoustic nets."""

    def durations(self, sentence: Sentence, speed: float = 1.0) -> Tensor:
        """Frames of every unit of a sentence: [units] integers."""

    def frames(self, sentence: Sentence, durations: Tensor, pitch: float = 1.0) -> Tensor:
        """What the vocoder follows: [frames, channels]."""


class Sound(Protocol):
    """What a voice asks of its vocoder."""

    def stream(
        self, frames: Tensor, seed: int = 0, temperature: float | None = None
    ) -> Iterator[npt.NDArray[np.float32]]:
        """The samples of these frames, `hop` a frame, in blocks as they are made."""


class Text(Protocol):
    """What a voice asks of its front end."""

    def sentences(self, text: str) -> list[Sentence]:
        """The sentences of a text; none where it holds nothing that can be spoken."""

    def from_ssml(self, text: str, notes: list[str] | None = None) -> list[Sentence]:
        """The sentences of a document of SSML; notes on what was left out of it are added to the list."""

    def parse_phones(self, text: str) -> list[Sentence]:
        """The sentences of a text of phones, as `spell` writes it."""

    def spell(self, sentences: list[Sentence]) -> str:
        """The phones of sentences as text, a line a sentence."""


class Voice:
    """Says texts. The same sentence with the same seed sounds the same, whatever stands before it."""

    def __init__(
        self, description: Description, acoustic: Acoustics, vocoder: Sound, wavenet: WaveNet | None = None
    ) -> None:
        from . import text  # `import fastwave` does not wait for its 25 files

        self.description, self.acoustic, self.vocoder, self.wavenet = description, acoustic, vocoder, wavenet
        self.front: Text = text
        self.sample_rate, self.hop = description.sample_rate, HOP

    @classmethod
    def load(
        cls,
        voice: str | os.PathLike[str] | None = None,
        *,
        backend: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
    ) -> Voice:
        """A bundled voice by its name, or the voice in a folder; None for the bundled one that speaks by default.

        `dtype` "auto" is the one that the voice was made for; `backend` and `threads` are those of an `Engine`.
        """
        from ..vocoder.vocoder import Vocoder, VocoderSettings
        from .folder import read_voice

        folder = locate_voice(default_voice() if voice is None else voice)
        description, acoustic, wavenet = read_voice(folder)
        settings = VocoderSettings.from_dict(description.vocoder)
        number_type = description.dtype if dtype == "auto" else dtype
        vocoder = Vocoder(wavenet, settings, backend=backend, dtype=number_type, threads=threads)
        return cls(description, acoustic, vocoder, wavenet)

    def save(self, folder: str | os.PathLike[str], dtype: str = "bfloat16") -> None:
        """Write the voice as a folder that `load` reads, its weights as bfloat16 or float32."""
        from ..vocoder.vocoder import Vocoder
        from .acoustic import Acoustic
        from .folder import write_voice

        if self.wavenet is None or not isinstance(self.acoustic, Acoustic) or not isinstance(self.vocoder, Vocoder):
            raise InputError("only a voice that is made of an Acoustic, a Vocoder and its WaveNet can be saved.")
        settings = self.vocoder.settings.to_dict()
        description = replace(self.description, acoustic=self.acoustic.settings(), vocoder=settings)
        write_voice(Path(folder), description, self.acoustic, self.wavenet, dtype)

    def __call__(self, text: str, **options: Any) -> Spoken:
        """Say a text: a result that has samples, timings of words and phones, `save` and `plot`.

        `speed`, `pitch` and `volume` are factors; `sentence_silence` is in seconds; `temperature` None is what the
        voice was made for. With `ssml` the text is a document of SSML, with `phonemes` it is made of phones, as
        `phonemes` writes them.
        """
        return joined(list(self.stream(text, **options)), self.sample_rate)

    def stream(self, text: str, *, ssml: bool = False, phonemes: bool = False, **options: Any) -> Iterator[Spoken]:
        """The same samples, bit for bit, in parts as they are made. The first part of a sentence holds its timings,
        which count from the beginning of the whole.
        """
        delivery = Delivery(**options)
        return self._parts(self._sentences(text, ssml, phonemes), delivery)

    def phonemes(self, text: str, *, ssml: bool = False) -> str:
        """The phones of a text, a line a sentence, in the names of phones.SYMBOLS: "HH AH0 L OW1 | W ER1 L D ."."""
        return self.front.spell([sentence for sentence, _ in self._sentences(text, ssml, phonemes=False)])

    def _sentences(self, text: str, ssml: bool, phonemes: bool) -> Iterator[tuple[Sentence, list[str]]]:
        """Sentences, at least one, with the notes that belong to it. What is refused is refused at once."""
        if not isinstance(text, str):
            raise InputError(f"a text to speak is a str, got {type(text).__name__}.")
        if ssml and phonemes:
            raise InputError("a text is SSML or phones, not both: leave out ssml or phonemes.")
        if not text.strip():
            raise InputError("there is nothing to say: the text is empty.")
        notes: list[str] = []
        source = iter(self.front.from_ssml(text, notes)) if ssml else self._plain(text, phonemes)
        short = (part for sentence in source for part in bounded(sentence))
        first = next(short, None)
        if first is None:
            raise InputError(f"the text {text.strip()[:40]!r} {NO_WORDS}.")
        return _with_notes(first, short, notes)

    def _plain(self, text: str, phonemes: bool) -> Iterator[Sentence]:
        if phonemes:
            yield from self.front.parse_phones(text)
            return
        for first, piece in pieces(text):
            for sentence in self.front.sentences(piece):
                yield shifted(sentence, first)

    def _parts(self, sentences: Iterable[tuple[Sentence, list[str]]], delivery: Delivery) -> Iterator[Spoken]:
        made, silence = 0, round(delivery.sentence_silence * self.sample_rate)
        for sentence, notes in sentences:
            if made and silence:
                yield spoken(np.zeros(silence, dtype=np.float32), self.sample_rate)
                made += silence
            for part in self._sentence(sentence, notes, delivery, made / self.sample_rate):
                yield part
                made += part.lengths[0]

    def _sentence(self, sentence: Sentence, notes: list[str], delivery: Delivery, begin: float) -> Iterator[Spoken]:
        durations = self.acoustic.durations(sentence, delivery.speed)
        counts = [int(count) for count in durations]
        frames = self.acoustic.frames(sentence, durations, delivery.pitch)
        factors = loudness.word_volumes(sentence, counts)
        timings = timings_of(sentence, counts, self.hop / self.sample_rate, begin)
        made = 0
        for wave in self.vocoder.stream(frames, delivery.seed, delivery.temperature):
            if not len(wave):
                continue
            louder = loudness.scaled(wave, delivery.volume, factors, made, self.hop)
            yield spoken(louder, self.sample_rate, () if made else timings, () if made else notes)
            made += len(wave)


def _with_notes(first: Sentence, others: Iterator[Sentence], notes: list[str]) -> Iterator[tuple[Sentence, list[str]]]:
    yield first, notes
    for sentence in others:
        yield sentence, []


def speak(
    text: str, voice: str | os.PathLike[str] | None = None, output: str | os.PathLike[str] | None = None, **options: Any
) -> Spoken:
    """Say a text with a bundled voice, or with the voice in a folder; with `output` the sound is also saved there.

    The options are those of a `Voice`: speed, pitch, volume, seed, temperature, sentence_silence, ssml, phonemes. The
    voice stays in memory for the next call.
    """
    if output is not None:
        check_output(output, 16_000)
    said = _loaded(None if voice is None else os.fspath(voice))(text, **options)
    if output is not None:
        save_or_rescue(said, output)
    return said


@lru_cache(maxsize=1)
def _loaded(voice: str | None) -> Voice:
    return Voice.load(voice)
