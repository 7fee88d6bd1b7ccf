"""What sixteen channels do with the events of a MIDI file: keys, pedals, volumes and programs -> notes of parts."""

from __future__ import annotations

import bisect
from collections import deque

from .midi_events import BEND, CONTROL, NOTE_OFF, NOTE_ON, PROGRAM, Event

DRUM_CHANNEL = 9  # counted from 0; musicians call it 10
_DRUM_BANKS = (120, 127)  # of General MIDI 2 and XG
_BANK, _VOLUME, _PAN, _EXPRESSION, _SUSTAIN, _SOSTENUTO = 0, 7, 10, 11, 64, 66
_ALL_SOUND_OFF, _RESET, _FIRST_ALL_NOTES_OFF = 120, 121, 123  # those above 123 change modes, and let go of all keys too
_DOWN = 64  # a pedal is down from here on
_CENTRE, _HEARD_BEND = 8192, 400  # a bend below 10 cents of the usual two semitones is not worth a word
USUAL_VOLUME = 100  # of a channel that says nothing; it is a gain of 1
LONGEST_HANGING = 10.0  # seconds of a note that is never let go


class Sounding:
    """A note that has begun."""

    __slots__ = ("end", "gain", "key", "onset", "part", "turn", "velocity")

    def __init__(self, onset: float, key: int, velocity: int, gain: float, part: PartNotes, turn: int) -> None:
        self.onset, self.key, self.velocity, self.gain = onset, key, velocity, gain
        self.part, self.turn = part, turn
        self.end = onset


class PartNotes:
    """The notes of one program on one channel of one track."""

    def __init__(self, track: int, channel: int, program: int, is_drums: bool, pan: int) -> None:
        self.track, self.channel, self.program, self.is_drums, self.pan = track, channel, program, is_drums, pan
        self.notes: list[Sounding] = []
        self.swells = 0  # notes whose volume changes by more than half while they are held


class _Volume:
    """The gain of a channel over time, and the largest since a turn of the performance.

    Of past values only those are kept that none behind them reaches, so at most one for each value that there is.
    """

    def __init__(self) -> None:
        self.volume, self.expression = USUAL_VOLUME, 127
        self._turns: list[int] = []
        self._gains: list[float] = []

    @property
    def gain(self) -> float:
        """Of the wave: General MIDI squares volume and expression, as synthesisers square velocity."""
        return (self.volume / USUAL_VOLUME * self.expression / 127) ** 2

    def change(self, turn: int, volume: int | None = None, expression: int | None = None) -> None:
        self.volume = self.volume if volume is None else volume
        self.expression = self.expression if expression is None else expression
        while self._gains and self._gains[-1] <= self.gain:
            self._gains.pop()
            self._turns.pop()
        self._turns.append(turn)
        self._gains.append(self.gain)

    def most_since(self, turn: int) -> float:
        """The largest gain that was set after a turn; 0 for none."""
        place = bisect.bisect_right(self._turns, turn)
        return self._gains[place] if place < len(self._gains) else 0.0


_Keys = dict[tuple[int, int], deque[Sounding]]  # by track and key


class _Channel:
    """The state of a channel. Tracks that share it share all but their programs."""

    def __init__(self) -> None:
        self.program = self.bank = 0
        self.programs: dict[int, int] = {}  # of the tracks that set one themselves
        self.pan = 64
        self.volume = _Volume()
        self.pressed: _Keys = {}  # keys that are down, the first strike first
        self.sustained: _Keys = {}  # let go, but held by the pedal
        self.latched: _Keys = {}  # let go, but held by the sostenuto pedal
        self.pedal = False
        self.sostenuto = 0  # the turn at which it went down, 0 while it is up
        self.bends = 0


class Performance:
    """Events in the order of time -> parts with their notes."""

    def __init__(self) -> None:
        self.parts: dict[tuple[int, int, int, bool], PartNotes] = {}
        self.never_let_go = 0
        self.notes = 0
        self._channels: dict[int, _Channel] = {}
        self._turn = 0  # counts strikes and controls: time alone does not order what happens at one moment

    @property
    def bends(self) -> int:
        """Pitch bends that would be heard, of channels other than drums."""
        return sum(state.bends for channel, state in self._channels.items() if channel % 16 != DRUM_CHANNEL)

    def play(self, event: Event, time: float) -> None:
        """The next event, which happens at `time` seconds."""
        channel = self._channels.setdefault(event.channel, _Channel())
        if event.kind == NOTE_ON and event.second:
            self._strike(channel, event, time)
        elif event.kind in (NOTE_OFF, NOTE_ON):
            strikes = channel.pressed.get((event.track, event.first))
            if strikes:
                self._let_go(channel, event.track, strikes.popleft(), time)
        elif event.kind == CONTROL:
            self._control(channel, event.first, event.second, time)
        elif event.kind == PROGRAM:
            channel.program = channel.programs[event.track] = event.first
        elif event.kind == BEND and abs((event.second << 7 | event.first) - _CENTRE) > _HEARD_BEND:
            channel.bends += 1

    def finish(self, time: float) -> None:
        """End what still sounds when the piece is over."""
        for channel in self._channels.values():
            for keys in (channel.pressed, channel.sustained, channel.latched):
                for strikes in keys.values():
                    for note in strikes:
                        self.never_let_go += keys is channel.pressed and not note.part.is_drums
                        begun = note.onset if keys is channel.pressed else note.end
                        self._end(channel, note, max(note.end, min(time, begun + LONGEST_HANGING)))
                keys.clear()

    def _strike(self, channel: _Channel, event: Event, time: float) -> None:
        place = (event.track, event.first)
        for keys in (channel.sustained, channel.latched):  # a string that still rings is struck anew
            for note in keys.pop(place, ()):
                self._end(channel, note, time)
        program = channel.programs.get(event.track, channel.program)
        is_drums = event.channel % 16 == DRUM_CHANNEL or channel.bank in _DRUM_BANKS
        key = (event.track, event.channel, program, is_drums)
        part = self.parts.get(key) or self.parts.setdefault(key, PartNotes(*key, channel.pan))
        self._turn += 1
        self.notes += 1
        note = Sounding(time, event.first, event.second, channel.volume.gain, part, self._turn)
        channel.pressed.setdefault(place, deque()).append(note)

    def _let_go(self, channel: _Channel, track: int, note: Sounding, time: float) -> None:
        """A key comes up: its note ends, or a pedal holds it."""
        note.end = time
        if channel.sostenuto and note.turn < channel.sostenuto:
            channel.latched.setdefault((track, note.key), deque()).append(note)
        elif channel.pedal:
            channel.sustained.setdefault((track, note.key), deque()).append(note)
        else:
            self._end(channel, note, time)

    def _end(self, channel: _Channel, note: Sounding, time: float) -> None:
        note.end = time
        most = max(note.gain, channel.volume.most_since(note.turn))
        note.part.swells += most > 2 * note.gain or channel.volume.gain < most / 2
        note.gain = most
        note.part.notes.append(note)

    def _end_all(self, channel: _Channel, keys: _Keys, time: float) -> None:
        for strikes in keys.values():
            for note in strikes:
                self._end(channel, note, time)
        keys.clear()

    def _control(self, channel: _Channel, number: int, value: int, time: float) -> None:
        self._turn += 1
        if number == _VOLUME:
            channel.volume.change(self._turn, volume=value)
        elif number == _EXPRESSION:
            channel.volume.change(self._turn, expression=value)
        elif number == _PAN:
            channel.pan = value
        elif number == _BANK:
            channel.bank = value
        elif number == _SUSTAIN:
            self._sustain(channel, value >= _DOWN, time)
        elif number == _SOSTENUTO:
            self._sostenuto(channel, value >= _DOWN, time)
        elif number == _ALL_SOUND_OFF:
            for keys in (channel.pressed, channel.sustained, channel.latched):
                self._end_all(channel, keys, time)
        elif number == _RESET:
            channel.volume.change(self._turn, expression=127)
            self._sustain(channel, False, time)
            self._sostenuto(channel, False, time)
        elif number >= _FIRST_ALL_NOTES_OFF:
            pressed, channel.pressed = channel.pressed, {}
            for (track, _), strikes in pressed.items():
                for note in strikes:
                    self._let_go(channel, track, note, time)

    def _sustain(self, channel: _Channel, is_down: bool, time: float) -> None:
        channel.pedal = is_down
        if not is_down:
            self._end_all(channel, channel.sustained, time)

    def _sostenuto(self, channel: _Channel, is_down: bool, time: float) -> None:
        """It holds the keys that are down when it goes down, and no others."""
        if is_down and not channel.sostenuto:
            channel.sostenuto = self._turn
        elif not is_down:
            channel.sostenuto = 0
            latched, channel.latched = channel.latched, {}
            for (track, _), strikes in latched.items():
                for note in strikes:
                    self._let_go(channel, track, note, time)
