"""A player of this machine, for `--play`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ..errors import InputError

# Players that take a .wav on standard input as it is made, and players of files
STREAMING = {"aplay": ["-q", "-"], "ffplay": ["-nodisp", "-autoexit", "-loglevel", "error", "-i", "-"]}
OF_FILES = ("pw-play", "paplay", "afplay")


def find_player() -> str:
    """The first player that this machine has."""
    known = [*STREAMING, *OF_FILES]
    player = next(filter(shutil.which, known), None)
    if player is None:
        raise InputError(
            f"--play needs a player, and none of {', '.join(known)} is here: install one, or give -o FILE."
        )
    return player


def play(stream: Callable[[IO[bytes]], None], save: Callable[[Path], None]) -> None:
    """Play what `stream` writes as it is made, or what `save` writes where the player takes files only: a .wav."""
    player = find_player()
    if player in STREAMING:
        process = subprocess.Popen([player, *STREAMING[player]], stdin=subprocess.PIPE)
        assert process.stdin is not None
        try:
            stream(process.stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass  # the player has ended, and its status says how
        finally:
            status = process.wait()
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sound.wav"
            save(path)
            status = subprocess.run([player, path], check=False).returncode
    if status:
        raise InputError(f"{player} could not play the sound (status {status}): give -o FILE to save it instead.")
