"""The bytes of a standard MIDI file -> the events of its tracks, in the order of time.

A file is not trusted: no size in it decides how much memory is taken or how long reading lasts. Damage ends the track
that it is in, is remembered in words, and costs nothing of the other tracks. Events are made as they are asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import InputError

MOST_TRACKS = 1024
NOTE_OFF, NOTE_ON, CONTROL, PROGRAM, BEND = 0x80, 0x90, 0xB0, 0xC0, 0xE0
TEMPO = 0x51  # a meta event; its `first` is microseconds a quarter note
_KEPT = {NOTE_OFF, NOTE_ON, CONTROL, PROGRAM, BEND}
_TRACK_NAME, _INSTRUMENT_NAME, _PORT, _END_OF_TRACK = 0x03, 0x04, 0x21, 0x2F
_SYSTEM_DATA = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # bytes behind a status that does not belong into files, but stands in some
_MOST_NAME_BYTES = 200
_SMPTE_FRAMES = {24: 24.0, 25: 25.0, 29: 30_000 / 1001, 30: 30.0}  # a second; 29 stands for 29.97


class Event(NamedTuple):
    """A message of a channel, or a tempo. Sorted as a tuple: by time, then by track."""

    tick: int
    track: int
    kind: int  # NOTE_OFF, NOTE_ON, CONTROL, PROGRAM, BEND or TEMPO
    channel: int  # 0..15, and 16 more for each port
    first: int
    second: int


class Damage(Exception):
    """What is wrong at a place of a track; it never leaves this file."""


class Header(NamedTuple):
    """What the first chunk says."""

    kind: int  # format 0 or 1
    tracks: int
    ticks: int  # a quarter note, or where `frames` is not 0 a frame
    frames: float  # of SMPTE, a second

    @property
    def first_tick_seconds(self) -> float:
        """Seconds a tick, before the first tempo: 120 quarter notes a minute."""
        return 1 / (self.ticks * self.frames) if self.frames else 0.5 / self.ticks


class TrackEvents:
    """One track chunk: iterating yields its events once, and fills in the rest as it is read."""

    def __init__(self, content: bytes, start: int, end: int, number: int, is_cut: bool) -> None:
        self._content, self._at, self._start, self._end = content, start, start, end
        self.number = number  # from 0, as it stands in the file
        self.name = self.instrument = ""
        self.damage = ""  # what ended it early, in words
        self._is_cut = is_cut  # the file ends before the chunk does

    def __iter__(self) -> Iterator[Event]:
        try:
            yield from self._events()
            is_cut = self._is_cut and self._at >= self._end
        except Damage as damage:
            self.damage, is_cut = str(damage), self._is_cut and self._at >= self._end
        if is_cut:
            self.damage = "the file ends in the midst of it"

    def _events(self) -> Iterator[Event]:
        tick = status = port = 0
        while self._at < self._end:
            tick += self._quantity()
            byte = self._byte()
            if byte == 0xFF:
                kind = self._byte()
                data = self._take(self._quantity())
                if kind == _END_OF_TRACK:
                    self._is_cut = False  # whatever size the chunk claims, the track is here
                    return
                if kind == TEMPO and len(data) == 3:
                    yield Event(tick, self.number, TEMPO, 0, int.from_bytes(data, "big"), 0)
                elif kind == _PORT and len(data) == 1:
                    port = 16 * data[0]
                else:
                    self._note_name(kind, data)
            elif byte in (0xF0, 0xF7):
                self._take(self._quantity())
            elif byte > 0xF0:
                self._take(_SYSTEM_DATA.get(byte, 0))
            else:
                # Some writers go on with the running status behind a meta event, which the standard does not allow
                if byte >= 0x80:
                    status, byte = byte, self._byte()
                first, second = self._message(status, byte)
                if status & 0xF0 in _KEPT:
                    yield Event(tick, self.number, status & 0xF0, port + (status & 0x0F), first, second)

    def _message(self, status: int, first: int) -> tuple[int, int]:
        """The data of a message; programs and channel pressure have one byte."""
        if not status:
            raise Damage(f"a message without a status {self._place()}")
        second = 0 if status & 0xE0 == 0xC0 else self._byte()
        if first > 127 or second > 127:
            raise Damage(f"a message that is none {self._place()}")
        return first, second

    def _note_name(self, kind: int, data: bytes) -> None:
        if kind == _TRACK_NAME and not self.name:
            self.name = _words(data)
        elif kind == _INSTRUMENT_NAME and not self.instrument:
            self.instrument = _words(data)

    def _quantity(self) -> int:
        """A number of seven bits a byte, at most four of them."""
        value = 0
        for _ in range(4):
            byte = self._byte()
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        raise Damage(f"a number of more than four bytes {self._place()}")

    def _byte(self) -> int:
        if self._at >= self._end:
            raise Damage(f"it ends in the midst of an event {self._place()}")
        self._at += 1
        return self._content[self._at - 1]

    def _take(self, size: int) -> bytes:
        """The next bytes, as many as a name may have at most."""
        if size > self._end - self._at:
            self._at = self._end
            raise Damage(f"an event that is longer than the track {self._place()}")
        self._at += size
        return self._content[self._at - size : self._at - size + min(size, _MOST_NAME_BYTES)]

    def _place(self) -> str:
        return f"at byte {self._at - self._start}"


def split(content: bytes, name: str) -> tuple[Header, list[TrackEvents]]:
    """The header and the tracks of a file; `name` is what it is called in an error."""
    content = _unwrapped(content)
    if content[:4] != b"MThd":
        raise InputError(f"{name} is not a MIDI file: it is {_kind_of(content)}. {_cure_of(content)}")
    header = _header(content, name)
    tracks: list[TrackEvents] = []
    at = 8 + int.from_bytes(content[4:8], "big")
    while at + 8 <= len(content):
        start, size = at + 8, int.from_bytes(content[at + 4 : at + 8], "big")
        if content[at : at + 4] == b"MTrk":
            if len(tracks) == MOST_TRACKS:
                raise InputError(f"{name} has over {MOST_TRACKS} tracks: leave out those without notes.")
            end = min(start + size, len(content))
            tracks.append(TrackEvents(content, start, end, len(tracks), start + size > len(content)))
        at = start + size
    return header, tracks


def in_time(tracks: list[TrackEvents]) -> Iterator[Event]:
    """The events of all tracks in the order of time, those of one moment in the order of the tracks."""
    return heapq.merge(*tracks)


def _header(content: bytes, name: str) -> Header:
    if len(content) < 14 or int.from_bytes(content[4:8], "big") < 6:
        raise InputError(f"{name} is a MIDI file that ends within its header: get it again.")
    kind, tracks, division = (int.from_bytes(content[at : at + 2], "big") for at in (8, 10, 12))
    if kind == 2:
        raise InputError(
            f"{name} is a MIDI file of format 2, a collection of patterns without an order: save it as format 0 or 1."
        )
    if kind > 2:
        raise InputError(f"{name} says that it is a MIDI file of format {kind}; there are 0, 1 and 2. It is damaged.")
    ticks, frames = division, 0.0
    if division & 0x8000:
        ticks, frames = division & 0xFF, _SMPTE_FRAMES.get(256 - (division >> 8), 0.0)
        if not frames:
            raise InputError(
                f"{name} counts time in {256 - (division >> 8)} frames a second; MIDI knows 24, 25, 29.97 and 30. "
                "It is damaged."
            )
    if not ticks:
        raise InputError(f"{name} counts time in units of 0 ticks: it is damaged.")
    return Header(kind, tracks, ticks, frames)


def _unwrapped(content: bytes) -> bytes:
    """The MIDI file in a RIFF wrapper (.rmi), or behind the 128 bytes of a MacBinary header; else the content."""
    if content[:4] == b"RIFF" and content[8:12] == b"RMID":
        at = 12
        while at + 8 <= len(content):
            size = int.from_bytes(content[at + 4 : at + 8], "little")
            if content[at : at + 4] == b"data":
                return content[at + 8 : at + 8 + size]
            at += 8 + size + size % 2
    return content[128:] if content[128:132] == b"MThd" and content[:1] == b"\0" else content


_KINDS = (
    (b"RIFF", "a sound file or another kind of RIFF"), (b"ID3", "an MP3"), (b"OggS", "an Ogg file"),
    (b"fLaC", "a FLAC"), (b"PK", "an archive, such as compressed MusicXML or a score of MuseScore"),
    (b"<?xml", "XML, such as MusicXML"), (b"\x1f\x8b", "compressed by gzip"), (b"%PDF", "a PDF"),
    (b"X:", "a tune in ABC notation"),
)  # fmt: skip


def _kind_of(content: bytes) -> str:
    if not content:
        return "empty"
    known = next((words for start, words in _KINDS if content.startswith(start)), None)
    if known is None:
        printable = all(byte >= 32 or byte in b"\t\n\r\f" for byte in content[:200])
        known = "a text" if printable else "a file of another kind"
    return known


def _cure_of(content: bytes) -> str:
    if content.startswith((b"PK", b"<?xml", b"X:", b"%PDF")):
        return "Export it as MIDI from the program that it comes from."
    return "Give a .mid file."


def _words(data: bytes) -> str:
    """Text of a file: UTF-8, or else Latin-1; without what does not print, in one line."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
