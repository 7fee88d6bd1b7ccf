"""Four voices for a row of chords: drawn from the voicings by how well each leads to the next."""

from __future__ import annotations

import functools
import itertools

import numpy as np
from harmony import Chord

RANGES = ((60, 79), (55, 73), (48, 67), (40, 62))  # soprano, alto, tenor, bass
_CENTRES = (70, 64, 57, 50)
FORBIDDEN = 1e3
TEMPERATURE = 0.55  # of the draw: lower is smoother and more alike

# what a move of so many semitones costs
_SOPRANO = {0: 0.9, 1: 0.0, 2: 0.0, 3: 0.35, 4: 0.5, 5: 1.4, 7: 2.6, 12: 5.0}
_INNER = {0: 0.3, 1: 0.05, 2: 0.1, 3: 0.35, 4: 0.45, 5: 1.3, 7: 3.2}
_BASS = {0: 1.6, 1: 0.0, 2: 0.0, 3: 0.2, 4: 0.3, 5: 0.5, 6: 3.0, 7: 0.7, 8: 2.5, 9: 3.0, 12: 1.4}
_MOVES = [np.array([table.get(size, FORBIDDEN) for size in range(64)]) for table in (_SOPRANO, _INNER, _INNER, _BASS)]
_PAIRS = [(upper, lower) for lower in range(4) for upper in range(lower)]


@functools.cache
def voicings(chord: Chord) -> tuple[np.ndarray, np.ndarray]:
    """Every voicing [N, 4] of a chord, and what each costs by itself [N]."""
    rows, costs = [], []
    keys = [[key for key in range(low, high + 1) if key % 12 in chord.pitches] for low, high in RANGES]
    for bass in (key for key in keys[3] if key % 12 == chord.bass):
        for tenor in (key for key in keys[2] if bass <= key <= bass + 21):
            for alto in (key for key in keys[1] if tenor <= key <= tenor + 12):
                for soprano in (key for key in keys[0] if alto <= key <= alto + 12):
                    cost = _cost(chord, (soprano, alto, tenor, bass))
                    if cost < FORBIDDEN:
                        rows.append((soprano, alto, tenor, bass))
                        costs.append(cost)
    return np.array(rows), np.array(costs)


def _cost(chord: Chord, voices: tuple[int, int, int, int]) -> float:
    counts = [sum(voice % 12 == pitch for voice in voices) for pitch in chord.pitches]
    if chord.leading is not None and sum(voice % 12 == chord.leading for voice in voices) > 1:
        return FORBIDDEN
    if chord.seventh is not None and sum(voice % 12 == chord.seventh for voice in voices) != 1:
        return FORBIDDEN
    inverted, sixth_four = chord.bass != chord.pitches[0], chord.bass == chord.pitches[2] and len(counts) == 3
    no_fifth = not counts[2]
    if not counts[0] or not counts[1] or max(counts) > 2 + no_fifth or (no_fifth and (inverted or counts[0] < 2)):
        return FORBIDDEN
    cost = 1.2 * no_fifth
    if len(counts) == 3:
        diminished = (chord.pitches[2] - chord.pitches[0]) % 12 == 6
        cost += 2.5 * (counts[0] > 1) if diminished else 1.2 * (counts[1] > 1) if not inverted else 0.0
        cost += 3.0 * (counts[2] < 2) if sixth_four else 0.0
    soprano, alto, tenor, bass = voices
    cost += 1.0 * (soprano == alto) + 1.0 * (alto == tenor) + 1.5 * (tenor == bass)
    cost += 0.25 * max(0, soprano - alto - 9) + 0.2 * max(0, alto - tenor - 9) + 0.1 * max(0, tenor - bass - 14)
    return cost + sum(0.012 * (voice - centre) ** 2 for voice, centre in zip(voices[1:], _CENTRES[1:], strict=True))


def transition(before: Chord, after: Chord, between_phrases: bool = False) -> np.ndarray:
    """What each step from a voicing of one chord to one of the next costs [N, M]."""
    return _transition(before, after, between_phrases)


@functools.lru_cache(maxsize=6_000)
def _weights(before: Chord, after: Chord) -> np.ndarray:
    return np.exp(-_transition.__wrapped__(before, after, False) / TEMPERATURE)


@functools.lru_cache(maxsize=1_000)
def _transition(before: Chord, after: Chord, between_phrases: bool) -> np.ndarray:
    v, w = voicings(before)[0][:, None, :].astype(np.int16), voicings(after)[0][None, :, :].astype(np.int16)
    moves = w - v  # [N, M, 4]
    size = np.abs(moves)
    scale = 0.35 if between_phrases else 1.0
    cost = np.zeros(moves.shape[:2])
    for voice in range(4):
        step = _MOVES[voice][np.minimum(size[..., voice], 63)]
        cost += np.minimum(step, 6.0) * scale if between_phrases else step
    for upper, lower in _PAIRS:
        old, new = (v[..., upper] - v[..., lower]) % 12, (w[..., upper] - w[..., lower]) % 12
        both = (moves[..., upper] != 0) & (moves[..., lower] != 0)
        perfect = (new == 0) | (new == 7)
        cost += FORBIDDEN * (perfect & (old == new) & both)
        same_way = (moves[..., upper] * moves[..., lower]) > 0
        if (upper, lower) == (0, 3):
            cost += 4.0 * (perfect & same_way & (size[..., 0] > 2))
    for upper in range(3):  # a voice does not pass where its neighbour was
        cost += 3.0 * ((w[..., upper] < v[..., upper + 1]) | (w[..., upper + 1] > v[..., upper]))
    cost += 2.0 * ((moves > 0).all(-1) | (moves < 0).all(-1)) + 2.0 * (size[..., :3].sum(-1) == 0)
    if between_phrases:
        return np.minimum(cost, FORBIDDEN).astype(np.float32)
    return (cost + _resolutions(before, after, v, w, moves, size)).astype(np.float32)


def _resolutions(before: Chord, after: Chord, v, w, moves, size) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Sevenths fall, leading notes rise, and no voice steps an augmented second."""
    cost = np.zeros(moves.shape[:2])
    same_root = before.pitches[0] == after.pitches[0]
    if before.seventh is not None and not same_root:
        stays = before.seventh in after.pitches
        fine = ((moves >= -2) & (moves <= -1)) | (stays & (moves == 0))
        cost += FORBIDDEN * ((v % 12 == before.seventh) & ~fine).any(-1)
    if before.leading is not None and (before.leading + 1) % 12 in after.pitches:
        wrong = (v % 12 == before.leading) & (moves != 1)
        cost += FORBIDDEN * (wrong[..., 0] | wrong[..., 3]) + 1.6 * (wrong[..., 1] | wrong[..., 2])
    if before.minor:
        low, high = (before.tonic + 8) % 12, (before.tonic + 11) % 12
        augmented = (size == 3) & (((v % 12 == low) & (w % 12 == high)) | ((v % 12 == high) & (w % 12 == low)))
        cost += FORBIDDEN * augmented.any(-1)
    return cost


def lead(
    rng: np.random.Generator,
    chords: list[Chord],
    contour: np.ndarray,
    closing: dict[int, float],
    before: tuple[Chord, np.ndarray] | None,
    melody: np.ndarray | None = None,
) -> np.ndarray:
    """Draw voicings [chords, 4]. `contour` is where the soprano would like to be at each chord; `closing` what its last
    note costs by its distance from the tonic; `before` the chord and voicing that the phrase follows; `melody` sopranos
    to be kept.
    """
    costs = []
    for index, chord in enumerate(chords):
        rows, own = voicings(chord)
        own = own + 0.2 * np.abs(rows[:, 0] - contour[index])
        if melody is not None:
            own = own + FORBIDDEN * (rows[:, 0] != melody[index])
        if index == len(chords) - 1:
            own = own + np.array([closing.get((key - chord.tonic) % 12, 4.0) for key in rows[:, 0].tolist()])
        costs.append(own)
    if before is not None:
        rows, _ = voicings(before[0])
        at = int(np.flatnonzero((rows == before[1]).all(1))[0])
        costs[0] = costs[0] + transition(before[0], chords[0], True)[at]
    steps = [_weights(a, b) for a, b in itertools.pairwise(chords)]
    ahead = [np.exp(-costs[-1] / TEMPERATURE)]  # the weight of all ways from here to the end
    for own, step in zip(costs[-2::-1], steps[::-1], strict=True):
        ahead.append(np.exp(-own / TEMPERATURE) * (step @ ahead[-1]))
    ahead.reverse()
    chosen: list[int] = []
    for index, weight in enumerate(ahead):
        weight = weight if not chosen else weight * steps[index - 1][chosen[-1]]
        if not weight.sum() > 1e-250:
            raise ValueError("these chords cannot be led")
        chosen.append(int(rng.choice(len(weight), p=weight / weight.sum())))
    return np.array([voicings(chord)[0][row] for chord, row in zip(chords, chosen, strict=True)])
