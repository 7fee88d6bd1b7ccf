"""Which instrument of a band plays which track, and where on the stage it stands."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from ..errors import InputError, did_you_mean
from .band import Part
from .notes import Piece, Track
from .programs import PROGRAMS, family, nearest, programs_of

WIDTH = 0.5  # of the stage, over which tracks without a place of their own are spread: 1 would be hard left and right


@dataclasses.dataclass(frozen=True)
class Cast:
    """The parts that a band plays, with what a mixer needs of each."""

    parts: tuple[Part, ...]
    names: tuple[str, ...]  # of the tracks
    pans: tuple[float, ...]  # -1 left .. 1 right
    gains: tuple[float, ...]
    notices: tuple[str, ...]  # of the piece, and which tracks are left out or played by another instrument

    @property
    def seconds(self) -> float:
        """Until the last key is let go."""
        return max(note.end for part in self.parts for note in part.notes)


def assign(piece: Piece, instruments: Sequence[str], instrument: str | None = None) -> Cast:
    """An instrument for every track: `instrument` for all of them, or by their programs the nearest of a band's."""
    if instrument is not None and instrument not in instruments:
        raise InputError(
            f"there is no instrument {instrument!r}: choose one of {', '.join(instruments)}."
            + did_you_mean(instrument, instruments)
        )
    players = [instrument or nearest(track.program, instruments) for track in piece.tracks]
    chosen = [(track, player) for track, player in zip(piece.tracks, players, strict=True) if player and track.notes]
    notices = piece.notices if instrument else (*piece.notices, *_notices(piece, players))
    if not chosen:
        reasons = " ".join(notices) or "It holds no notes."
        raise InputError(f"there is nothing to play. {reasons[0].upper()}{reasons[1:]}")
    return Cast(
        tuple(Part(player, track.notes) for track, player in chosen),
        tuple(track.name or PROGRAMS[track.program] for track, _ in chosen),
        _places([track for track, _ in chosen]),
        tuple(track.gain for track, _ in chosen),
        notices,
    )


def _places(tracks: Sequence[Track]) -> tuple[float, ...]:
    """Those that the piece gives. Where it leaves all tracks in the middle they stand from left to right, as a choir
    of soprano, alto, tenor and bass does.
    """
    if any(track.pan for track in tracks) or len(tracks) == 1:
        return tuple(track.pan for track in tracks)
    return tuple(WIDTH * (2 * index / (len(tracks) - 1) - 1) for index in range(len(tracks)))


def _notices(piece: Piece, players: Sequence[str | None]) -> list[str]:
    substitutes: dict[str, str] = {}
    missing: dict[str, str] = {}
    for track, player in zip(piece.tracks, players, strict=True):
        if player is None:
            missing[PROGRAMS[track.program]] = family(track.program)
        elif track.program not in programs_of(player):
            substitutes[PROGRAMS[track.program]] = player
    notices = []
    if substitutes:
        pairs = ", ".join(f"{name} (by {player})" for name, player in substitutes.items())
        notices.append(f"played by a relative: {pairs}.")
    if missing:
        count = sum(player is None for player in players)
        notices.append(
            f"{count} {'track is' if count == 1 else 'tracks are'} left out, for no instrument here is like "
            f"{', '.join(missing)}: name an instrument to play all tracks."
        )
    return notices


def levels(cast: Cast) -> list[tuple[float, float]]:
    """The gains of each part into the left and the right channel: the sum of their squares does not depend on the
    place, so that a part is as loud everywhere.
    """
    angles = [(1 + max(-1.0, min(1.0, pan))) * math.pi / 4 for pan in cast.pans]
    return [(gain * math.cos(angle), gain * math.sin(angle)) for gain, angle in zip(cast.gains, angles, strict=True)]
