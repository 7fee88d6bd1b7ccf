"""Phones and pauses are found in sounds whose truth is known to the sample."""

import itertools

import numpy as np
import pytest

from banded_speech import make_sentence, spoken, symbols_of
from fastwave.errors import InputError
from fastwave.speech.aligner import Recording, align
from fastwave.speech.analysis import HOP
from fastwave.speech.phones import Pause, Sentence, Word
from fastwave.speech.readings import FINE, Reading, whole_frames
from fastwave.speech.viterbi import Row, best_paths

COUNT = 24
# A frame of the aligner hears half its window on each side, and the result is rounded to frames of 12.5 ms
TOLERANCE = FINE.window // 2 + HOP // 2


def make_recordings(sentences, symbols=None):
    """Recordings and the true ends of their units; `symbols[i]` is what is spoken in place of sentence i."""
    recordings, truth = [], []
    for number, sentence in enumerate(sentences):
        draw = np.random.default_rng(1000 + number)
        wave, ends = spoken((symbols or {}).get(number) or symbols_of(sentence), draw)
        recordings.append(Recording(f"r{number}", wave, [sentence]))
        truth.append(ends)
    return recordings, truth


@pytest.fixture(scope="module")
def sentences():
    return [make_sentence(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def aligned(sentences):
    """Wrong texts in two places, a pause that was not made, and one that the text does not have."""
    symbols = {
        3: symbols_of(make_sentence(900)),
        11: symbols_of(make_sentence(901)),
        5: [symbol for symbol in symbols_of(sentences[5]) if symbol != ","],
        7: with_pause_after_word(sentences[7], 1),
    }
    recordings, truth = make_recordings(sentences, symbols)
    return align(recordings), truth


def with_words_after_the_comma(sentence, other):
    """What is spoken has three words of another sentence and a pause there: all of it may pass for one long pause."""
    symbols = symbols_of(sentence)
    place = symbols.index(",") + 1
    return [*symbols[:place], *symbols_of(other)[1:10], ",", *symbols[place:]]


def with_pause_after_word(sentence, count):
    parts = [*sentence.parts[:count], Pause(","), *sentence.parts[count:]]
    return symbols_of(Sentence(tuple(parts)))


def units_of(spoken_sentence):
    return [unit.symbol for unit in spoken_sentence.sentence.units()]


def test_phones_are_found_where_they_are(aligned):
    alignment, truth = aligned
    errors = []
    for each in alignment.aligned:
        (sentence,) = each.sentences
        ends = np.cumsum(sentence.durations[:-1]) * HOP
        errors += list(np.abs(ends - truth[int(each.name[1:])][:-1]))
    assert np.median(errors) <= TOLERANCE / 2
    assert np.mean(np.array(errors) <= TOLERANCE) > 0.97


def test_texts_that_are_not_spoken_are_named_and_left_out(aligned):
    assert set(aligned[0].left_out) == {"r3", "r11"}
    assert all("not that of its text" in reason for reason in aligned[0].left_out.values())


def test_a_recording_with_words_that_its_text_lacks_is_left_out(sentences):
    recordings, _ = make_recordings(sentences, {17: with_words_after_the_comma(sentences[17], make_sentence(902))})
    assert set(align(recordings).left_out) == {"r17"}


def test_all_others_are_kept_in_their_order(aligned):
    expected = [f"r{number}" for number in range(COUNT) if number not in (3, 11)]
    assert [each.name for each in aligned[0].aligned] == expected


def test_a_pause_that_was_not_made_is_dropped(aligned, sentences):
    (sentence,) = next(each for each in aligned[0].aligned if each.name == "r5").sentences
    assert units_of(sentence) == [symbol for symbol in symbols_of(sentences[5]) if symbol != ","]


def test_a_pause_that_the_text_does_not_have_is_found(aligned, sentences):
    (sentence,) = next(each for each in aligned[0].aligned if each.name == "r7").sentences
    assert units_of(sentence) == with_pause_after_word(sentences[7], 1)


def test_durations_are_as_long_as_the_recording(aligned, sentences):
    lengths = [-(-len(recording.wave) // HOP) for recording in make_recordings(sentences)[0]]
    for each in aligned[0].aligned:
        number = int(each.name[1:])
        if number not in (5, 7):
            (sentence,) = each.sentences
            assert sum(sentence.durations) == lengths[number] and min(sentence.durations) >= 1


def test_a_recording_of_two_sentences_is_cut_between_them(sentences):
    recordings, _ = make_recordings(sentences[:8])
    pair = sentences[8:10]
    wave, ends = spoken(symbols_of(*pair), np.random.default_rng(5))
    recordings.append(Recording("pair", wave, pair))
    first, second = next(each for each in align(recordings).aligned if each.name == "pair").sentences
    assert (first.first, second.first) == (0, sum(first.durations))
    assert [units_of(first), units_of(second)] == [symbols_of(each) for each in pair]
    before, after = ends[len(symbols_of(pair[0])) - 2], ends[len(symbols_of(pair[0])) - 1]
    assert before < second.first * HOP < after  # within the pause


def test_a_text_too_long_for_its_sound_is_named(sentences):
    recordings, _ = make_recordings(sentences[:9])
    short = Recording("short", recordings[0].wave[:4000], sentences[0:1])
    crowded = Recording("slow", recordings[1].wave, [Sentence((Word("a", ("AA1",)), Pause(".")))])
    left_out = align([*recordings, short, crowded]).left_out
    assert set(left_out) == {"short", "slow"}
    assert "do not fit into its 0.25 s" in left_out["short"] and "a second" in left_out["slow"]


def test_too_little_sound_is_refused(sentences):
    recordings, _ = make_recordings(sentences[:3])
    with pytest.raises(InputError, match="too little to learn from"):
        align(recordings)


def test_texts_that_all_belong_to_other_sounds_are_refused(sentences):
    recordings, _ = make_recordings(sentences)
    texts = [each.sentences for each in recordings]
    mixed = [Recording(each.name, each.wave, texts[(i + 5) % COUNT]) for i, each in enumerate(recordings)]
    with pytest.raises(InputError, match="belong together"):
        align(mixed)


def test_the_same_recordings_give_the_same_alignment(sentences):
    recordings, _ = make_recordings(sentences[:9])
    assert align(recordings) == align(recordings)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_path_is_the_best_of_all_paths(seed):
    """Against every path of a short recording, some of them with jumps, in one group with a longer one."""
    draw = np.random.default_rng(seed)
    rows = [Row(draw.integers(0, 4, 5), np.array([-1, -1, -1, 0, 2])), Row(draw.integers(0, 4, 3), np.full(3, -1))]
    scores = [draw.standard_normal((frames, 4)).astype(np.float32) for frames in (6, 9)]
    for score, row, path in zip(scores, rows, best_paths(scores, rows), strict=True):
        states = len(row.emissions)
        best = max(
            score[range(len(score)), row.emissions[list(each)]].sum(dtype=np.float64)
            for each in itertools.product(range(states), repeat=len(score))
            if is_allowed(each, row)
        )
        assert is_allowed(tuple(path.states), row)
        assert score[range(len(score)), row.emissions[path.states]].sum() == pytest.approx(best, abs=1e-5)
        assert path.score == pytest.approx(best, abs=1e-5)


def is_allowed(states, row):
    steps = itertools.pairwise(states)
    ends = states[0] == 0 and states[-1] == len(row.emissions) - 1
    return ends and all(after in (before, before + 1) or row.jumps[after] == before for before, after in steps)


def test_units_have_a_frame_at_least_and_fill_the_recording():
    assert whole_frames([10.0, 20.0, 30.0, 1000.0], 5) == [1, 2, 3, 5]
    assert whole_frames([990.0, 995.0, 1000.0], 5) == [3, 4, 5]
    assert whole_frames([310.0, 690.0, 1000.0], 5) == [2, 3, 5]


def test_a_pause_may_be_left_out_and_a_phone_may_not():
    parts = (Word("a", ("AA1", "B")), Pause(","), Word("b", ("K",)), Word("c", ("S",)), Pause("."))
    elements = Reading("x", [Sentence(parts)], 16_000).elements()
    assert [element.symbol for element in elements if element.optional] == [",", ","]
    assert [element.symbol for element in elements if not element.optional] == ["_", "AA1", "B", "K", "S", "."]
