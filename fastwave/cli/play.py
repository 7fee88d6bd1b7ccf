"""`fastwave play`: a model, heard while it runs."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..generation.saving import check_place
from .keys import Keys
from .options import (
    Verbs,
    add_conditioning,
    add_engine,
    add_model,
    add_verb,
    check_file,
    check_model,
    load_any_model,
    note,
)
from .parser import number_above_zero, whole_number

if TYPE_CHECKING:
    from ..generation.request import Request
    from ..generation.result import Result
    from ..serving.sound_card import SoundCard

ENDLESS = 2**40 - 1  # samples: two years of sound
CHUNKS = 5  # of the model, in the time that a change needs to be heard
LOWEST, HIGHEST, STEP = 0.0, 2.0, 0.05  # temperatures within reach of the keys
KEYS = "up and down: temperature; s: new seed; space: pause; q: end"
ADVICE = "--dtype int8 is the fastest, --latency 0.5 bridges more."
EXAMPLES = f"""\
keys while it plays:
  {KEYS}

examples:
  fastwave play                                  the bundled model, without an end
  fastwave play RUN --temperature 0.9            your own, for as long as you listen
  fastwave play RUN --seconds 30 --record it.wav
"""


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "play", play, check)
    verb.formatter_class = argparse.RawDescriptionHelpFormatter
    verb.epilog = EXAMPLES
    add_model(verb)
    add_engine(verb)
    add_conditioning(verb)
    verb.add_argument("--seconds", type=number_above_zero, help="end after so long (default: play until you end it)")
    verb.add_argument(
        "--seed", type=whole_number(0), default=0, help="the same seed gives the same samples (default: 0)"
    )
    verb.add_argument("--temperature", type=float, default=1.0, help="where it begins (default: 1)")
    verb.add_argument("--top-p", type=float, help="draw among the likeliest classes that hold this probability")
    verb.add_argument("--prime", metavar="FILE", help="continue this sound file")
    verb.add_argument("--record", metavar="FILE", help="keep what was played: .wav, .flac, .ogg or .mp3")
    verb.add_argument(
        "--latency", type=float, default=0.1, metavar="SECONDS",
        help="from a sample that is made to its sound, 0.02 to 2; shorter answers keys sooner, longer has fewer gaps "
        "(default: 0.1)",
    )  # fmt: skip
    verb.add_argument("--device", metavar="NAME", help="the sound device, by name or number (default: the usual one)")


def check(options: argparse.Namespace) -> None:
    """Refuse what needs no model to be refused."""
    check_model(options)
    check_file("--prime", options.prime)
    check_file("--condition", options.condition)
    if not 0.02 <= options.latency <= 2:
        raise InputError(f"--latency must lie in 0.02..2 seconds, got {options.latency:g}.")
    if options.record is not None:
        check_place(options.record)


def play(options: argparse.Namespace) -> int:
    """Play a model on the sound card while it runs, without an end."""
    from ..serving.sound_card import SoundCard
    from ..sound import audio

    request = _request(options)
    if options.record is not None:
        audio.format_of(Path(options.record), request.sample_rate)
    device = options.device
    card = SoundCard(
        request.sample_rate, 1, options.latency, int(device) if device is not None and device.isdigit() else device
    )
    performance = _Performance(request, card, round(options.latency * request.sample_rate / CHUNKS))
    with card:
        if options.record is None:
            for _ in performance.blocks():
                pass
        else:
            audio.save_blocks(options.record, performance.blocks(), request.sample_rate)
    print(performance.summary(), file=sys.stderr)
    if performance.failure is not None:
        raise performance.failure
    return 0


def _request(options: argparse.Namespace) -> Request:
    from ..engine.engine import Engine
    from ..generation.loading import generator_of
    from ..generation.request import Request

    model, config = load_any_model(options)
    if not config.codec_object.is_audio:
        raise InputError("this model makes text, which cannot be played: fastwave generate prints it.")
    prime = None if options.prime is None else Path(options.prime)
    engine = generator_of(model, options.backend, options.dtype, options.threads)
    wanted: dict[str, Any] = {
        "seed": options.seed, "temperature": options.temperature, "top_p": options.top_p,
        "prime": prime, "condition": options.condition, "speaker": options.speaker,
    }  # fmt: skip
    if options.seconds is None and options.condition is None:
        wanted["samples"] = ENDLESS
    request = Request(engine, options.seconds, wanted)  # type: ignore[arg-type]
    if options.condition is None and isinstance(engine, Engine):
        engine.settle(engine.start(1, condition=request.prepared), condition=request.prepared)
    return request


class _Performance:
    """A request on a sound card, under the keys of whoever listens."""

    def __init__(self, request: Request, card: SoundCard, chunk: int) -> None:
        self.request, self.card, self.chunk = request, card, max(1, chunk)
        self.failure: InputError | None = None  # what ended it too early
        self._is_over = False
        self._shown = 0

    def blocks(self) -> Iterator[Any]:
        """Play to the end, and give what was played, block by block. Ctrl-C is an end like any other, and after a
        failure the blocks end too: what was played is kept.
        """
        before = signal.signal(signal.SIGINT, self._end)
        try:
            with Keys() as keys:
                if sys.stderr.isatty():
                    note(f"{KEYS}. {1000 * self.card.latency:.0f} ms to the sound.")
                for part in self.request.parts(self.chunk):
                    wave = _wave(part)
                    self.card.write(wave)
                    yield wave
                    self._answer(keys)
                    if self._is_over:
                        return
                self.card.finish()
        except InputError as error:
            self.failure = error
        finally:
            signal.signal(signal.SIGINT, before)
            if self._shown:
                print(file=sys.stderr)

    def _end(self, *_: object) -> None:
        self._is_over, self.card.paused = True, False

    def _answer(self, keys: Keys) -> None:
        """Do what the keys say, and show how it stands."""
        while (key := keys.pressed(0.2 if self.card.paused else 0.0)) is not None or self.card.paused:
            if key in ("up", "+", "down", "-"):
                step = STEP if key in ("up", "+") else -STEP
                now = self.request.sampling.temperature
                wanted = min(max(round(now + step, 2), LOWEST), max(HIGHEST, now))
                self.request.sampling = dataclasses.replace(self.request.sampling, temperature=wanted)
            elif key == "s":
                self.request.seed += 1
            elif key == " ":
                self.card.paused = not self.card.paused
            elif key == "q":
                self._end()
            if self._is_over:
                return
            self._show()
        self._show()

    def _show(self) -> None:
        if not sys.stderr.isatty():
            return
        state = "paused" if self.card.paused else f"{self.card.played / self.card.sample_rate:7.1f} s"
        sampling = self.request.sampling
        line = f"{state}  temperature {sampling.temperature:.2f}  seed {self.request.seed}  gaps {self.card.underruns}"
        self._shown = len(line)
        print(f"\r{line:78}", end="", file=sys.stderr, flush=True)

    def summary(self) -> str:
        """What was played, and what to do about gaps."""
        seconds, gaps = self.card.played / self.card.sample_rate, self.card.underruns
        text = f"fastwave: played {seconds:.1f} s, {gaps} gap{'s' * (gaps != 1)}"
        if not gaps:
            return text + "."
        return f"{text}: the model is too slow here, or something else kept the machine busy. {ADVICE}"


def _wave(part: Result) -> Any:
    return part.samples[0].numpy()
