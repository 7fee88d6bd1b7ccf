"""A player of this machine, for `--play`: its sound card, or a program."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InputError

SOUND_CARD = "the sound card"
LATENCY = 0.3  # seconds: nobody waits for an answer, and blocks come in lumps
# Players that take a .wav on standard input as it is made, and players of files
STREAMING = {"aplay": ["-q", "-"], "ffplay": ["-nodisp", "-autoexit", "-loglevel", "error", "-i", "-"]}
OF_FILES = ("pw-play", "paplay", "afplay")
PROGRAMS = (*STREAMING, *OF_FILES)


def find_player() -> str:
    """The first player that this machine has."""
    from ..serving.sound_card import has_device

    if has_device():
        return SOUND_CARD
    player = _find_program()
    if player is None:
        raise InputError(
            f"--play needs a player, and none of {', '.join(PROGRAMS)} is here: install one, or "
            "`pip install 'fastwave[play]'`, or give -o FILE."
        )
    return player


def _find_program() -> str | None:
    return next(filter(shutil.which, PROGRAMS), None)


def play(blocks: Iterable[Any], sample_rate: int, channels: int = 1) -> None:
    """Play blocks of samples [time] or [time, channels] as they are made."""
    player = find_player()
    if player == SOUND_CARD:
        from ..serving.sound_card import SoundCard

        try:
            opened = SoundCard(sample_rate, channels, LATENCY)
        except InputError:  # a device that cannot take this rate: a program may convert it
            program = _find_program()
            if program is None:
                raise
            player = program
        else:
            with opened as card:
                for block in blocks:
                    card.write(block)
                card.finish()
            return
    deliver = _stream_to if player in STREAMING else _save_for
    status = deliver(player, blocks, sample_rate, channels)
    if status:
        raise InputError(f"{player} could not play the sound (status {status}): give -o FILE to save it instead.")


def _stream_to(player: str, blocks: Iterable[Any], sample_rate: int, channels: int) -> int:
    """Send the sound to a program as it is made -> the status with which that ended."""
    from ..sound.streaming import stream

    process = subprocess.Popen([player, *STREAMING[player]], stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        stream(blocks, process.stdin, sample_rate, channels=channels)
    except BrokenPipeError:
        pass  # the player has ended, and its status says how
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        status = process.wait()
    return status


def _save_for(player: str, blocks: Iterable[Any], sample_rate: int, channels: int) -> int:
    """Play a file of the whole sound by a program that takes nothing else -> its status."""
    from ..sound import audio

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.wav"
        audio.save_blocks(path, blocks, sample_rate, channels)
        return subprocess.run([player, path], check=False).returncode
