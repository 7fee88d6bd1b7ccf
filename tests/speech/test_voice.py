"""A voice says the same thing the same way, in parts or whole, however long, and knows when it says each word."""

import contextlib
import json
import tracemalloc

import numpy as np
import pytest
import torch

import fastwave
from fastwave import InputError
from fastwave.sound import audio
from fastwave.speech import pieces
from fastwave.speech.loudness import scaled
from fastwave.speech.phones import Pause, Sentence, Word
from fastwave.speech.spoken import joined
from small_voice import HOP, make_real_voice, make_voice

TEXT = "Good morning, the kettle is on. Is it? Good morning, the kettle is on."


@pytest.fixture
def voice():
    return make_voice()


def frames_of(voice, sentence):
    """Samples of a sentence as its durations say."""
    return int(voice.acoustic.durations(sentence).sum()) * HOP


def test_parts_are_the_whole_bit_for_bit(voice):
    whole = voice(TEXT, seed=3)
    parts = list(voice.stream(TEXT, seed=3))
    assert torch.equal(torch.cat([part.samples for part in parts], dim=1), whole.samples)
    assert joined(parts, 16_000).timings == whole.timings
    assert whole.samples.shape == (1, whole.lengths[0]) and whole.samples.dtype == torch.float32


def test_a_sentence_sounds_the_same_whatever_stands_before_it(voice):
    first, second = (voice(text, seed=7).samples for text in ("The kettle is on.", "Yes. The kettle is on."))
    assert torch.equal(second[:, -first.shape[1] :], first)
    other = voice("The kettle is on.", seed=8).samples
    assert other.shape == first.shape and not torch.equal(other, first)


def test_silence_stands_between_sentences_and_nowhere_else(voice):
    dense, loose = voice("Yes. No. Yes.", sentence_silence=0), voice("Yes. No. Yes.", sentence_silence=0.25)
    assert loose.lengths[0] - dense.lengths[0] == 2 * 4000
    first = frames_of(voice, voice.front.sentences("Yes.")[0])
    assert not loose.samples[0, first : first + 4000].any()
    assert loose.samples[0, first + 4000] == dense.samples[0, first]


def test_timings_follow_the_durations_and_the_text(voice):
    said = voice(TEXT, sentence_silence=0.3)
    assert [TEXT[word.first_character : word.end_character] for word in said.timings] == [
        word.text for word in said.timings
    ]
    assert [word.text for word in said.timings][:4] == ["Good", "morning", "the", "kettle"]
    phones = [phone for word in said.timings for phone in word.phones]
    assert all(phone.end - phone.start == pytest.approx(4 * 0.0125) for phone in phones)
    assert said.timings[0].start == pytest.approx(10 * 0.0125)  # behind the silence in front
    assert all(a.end <= b.start + 1e-9 for a, b in zip(said.timings, said.timings[1:], strict=False))
    for word in said.timings:
        assert (word.start, word.end) == (word.phones[0].start, word.phones[-1].end)
    assert said.timings[-1].end + 10 * 0.0125 == pytest.approx(said.seconds)


def test_timings_are_saved_as_json(voice, tmp_path):
    said = voice("Caf\udc80 kettle.")
    said.save_timings(tmp_path / "words.json")
    words = json.loads((tmp_path / "words.json").read_text())["words"]
    assert [word["text"] for word in words] == [word.text for word in said.timings]


def test_speed_and_pitch_act_on_durations_and_on_frames(voice):
    usual, fast = voice("Kettle.", speed=1.0), voice("Kettle.", speed=2.0)
    assert fast.lengths[0] == pytest.approx(usual.lengths[0] / 2, rel=0.05)
    spectrum = lambda said: np.abs(np.fft.rfft(said.samples[0].numpy()))  # noqa: E731
    high = voice("Kettle.", pitch=1.5)
    assert high.lengths == usual.lengths
    assert spectrum(high).argmax() == pytest.approx(1.5 * spectrum(usual).argmax(), rel=0.02)


@pytest.mark.parametrize("volume", [0.0, 0.3, 1.0, 3.0, 10.0])
def test_no_volume_clips(voice, volume):
    wave = voice(TEXT, volume=volume).samples
    assert float(wave.abs().max()) < 1
    assert torch.isfinite(wave).all()
    assert volume > 0 or not wave.any()
    loud = wave.abs() > 0.97
    assert not (loud[:, 1:] & (wave[:, 1:] == wave[:, :-1])).any()  # no flat tops


def test_quiet_samples_are_only_multiplied():
    wave = np.linspace(-0.4, 0.4, 801, dtype=np.float32)
    assert np.array_equal(scaled(wave, 2.0, None, 0, HOP), wave * 2)
    louder = scaled(wave, 100.0, None, 0, HOP)
    assert (np.diff(louder) >= 0).all() and np.abs(louder).max() <= 1


def test_a_word_may_be_louder_than_its_neighbours(voice):
    usual = [Word("a", ("AA1",) * 10), Word("b", ("AA1",) * 10), Pause(".")]
    louder = [usual[0], Word("b", ("AA1",) * 10, volume=0.5), usual[2]]
    sounds = []
    for parts in (usual, louder):
        voice.front.sentences = lambda _, parts=parts: [Sentence(tuple(parts))]
        sounds.append(voice("x").samples[0])
    begin = 10 * HOP
    first, second = slice(begin, begin + 39 * HOP), slice(begin + 41 * HOP, begin + 79 * HOP)
    assert torch.equal(sounds[1][first], sounds[0][first])
    assert torch.allclose(sounds[1][second], sounds[0][second] * 0.5, atol=1e-6)
    steps = (sounds[1] - sounds[0]).diff().abs().max()
    assert float(steps) < 0.05  # the factor changes over a frame, not from one sample to the next


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty"),
        ("  \n ", "the text is empty"),
        ("12345", "the text '12345' holds nothing that can be spoken"),
        (b"bytes", "a text to speak is a str, got bytes"),
        (None, "got NoneType"),
    ],
)
def test_what_cannot_be_said_is_refused(text, message, voice):
    with pytest.raises(InputError, match=message):
        voice.stream(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 0}, "speed must be a number from 0.25 to 4, got '0'"),
        ({"speed": "fast"}, "speed must be a number"),
        ({"pitch": float("nan")}, "pitch must be a number from 0.5 to 2, got 'nan'"),
        ({"volume": -1}, "volume must be a number from 0 to 10"),
        ({"seed": -1}, "seed must be an integer"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"temperature": 3}, "temperature must be a number from 0 to 2"),
        ({"sentence_silence": True}, "sentence_silence must be a number from 0 to 60"),
        ({"ssml": True, "phonemes": True}, "SSML or phones, not both"),
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_made(options, message, voice):
    with pytest.raises(InputError, match=message):
        voice.stream("Yes.", **options)


def test_a_misspelt_option_is_a_type_error(voice):
    with pytest.raises(TypeError, match="sped"):
        voice("Yes.", sped=2)


def test_a_result_shows_itself_with_a_player(voice, tmp_path):
    said = voice("Yes.")
    page = said._repr_html_()
    assert "<audio controls" in page and "data:image/png" in page
    assert said.save(tmp_path / "x.wav") == [tmp_path / "x.wav"]


# Real parts, tiny and untrained


@pytest.fixture(scope="module")
def tiny():
    return make_real_voice()


def test_parts_of_a_real_voice_are_the_whole_bit_for_bit(tiny):
    text = "The kettle is on. Is it? The kettle is on."
    whole = tiny(text, seed=3, speed=2.0)
    parts = list(tiny.stream(text, seed=3, speed=2.0))
    assert torch.equal(torch.cat([part.samples for part in parts], dim=1), whole.samples)
    assert float(whole.samples.abs().max()) <= 1
    first = tiny("The kettle is on.", seed=3, speed=2.0).samples
    assert torch.equal(whole.samples[:, : first.shape[1]], first)
    assert torch.equal(whole.samples[:, -first.shape[1] :], first)
    assert not torch.equal(tiny("The kettle is on.", seed=4, speed=2.0).samples, first)


def test_phones_of_a_text_say_the_text(tiny):
    text = "The kettle is on."
    phones = tiny.phonemes(text)
    assert phones == "DH AH0 | K EH1 T AH0 L | IH0 Z | AA1 N ."
    said = tiny(phones, phonemes=True, seed=3)
    assert torch.equal(said.samples, tiny(text, seed=3).samples)
    assert [phones[word.first_character : word.end_character] for word in said.timings][1] == "K EH1 T AH0 L"


def test_speed_divides_the_length_and_pitch_does_not_change_it(tiny):
    usual, fast, high = (tiny("The kettle is on.", **options) for options in ({}, {"speed": 2}, {"pitch": 1.3}))
    assert fast.lengths[0] == pytest.approx(usual.lengths[0] / 2, rel=0.1)
    assert high.lengths == usual.lengths and not torch.equal(high.samples, usual.samples)


def test_ssml_acts_on_words(tiny):
    plain = tiny("<speak>The kettle is on.</speak>", ssml=True)
    paused = tiny('<speak>The <break time="1s"/> kettle is on.</speak>', ssml=True)
    slow = tiny('<speak><prosody rate="50%">The kettle is on.</prosody></speak>', ssml=True)
    assert torch.equal(plain.samples, tiny("The kettle is on.").samples)
    assert paused.seconds - plain.seconds == pytest.approx(1.0, abs=0.2)
    assert slow.seconds == pytest.approx(2 * plain.seconds, rel=0.1)
    noted = tiny('<speak><audio src="x.wav">The kettle.</audio></speak>', ssml=True)
    assert noted.notes == ("<audio> has no effect: its text is spoken",)


def test_speak_says_a_text_and_saves_it(tmp_path):
    make_real_voice().save(tmp_path / "tiny")
    said = fastwave.speak("The kettle.", voice=tmp_path / "tiny", output=tmp_path / "x.wav", seed=2)
    saved, rate = audio.load(tmp_path / "x.wav")
    assert rate == said.sample_rate == 16_000
    assert torch.allclose(saved, said.samples[0], atol=1e-4)
    with pytest.raises(InputError, match="cannot write"):
        fastwave.speak("The kettle.", voice=tmp_path / "nowhere", output=tmp_path / "nowhere" / "x.wav")


# Long texts


def test_pieces_are_the_text_and_end_where_sentences_do():
    text = "\n\n".join(f"Paragraph {number}. " + "Some words of it stand here. " * 40 for number in range(20))
    parts = list(pieces.pieces(text))
    assert "".join(part for _, part in parts) == text
    assert all(text[first : first + len(part)] == part for first, part in parts)
    assert all(part.rstrip().endswith(".") and len(part) <= 1000 for _, part in parts)


@pytest.mark.parametrize(
    "text", ["a" * 50_000, "word " * 20_000, "\n" * 10_000, "a\n\n" * 10_000, "Mr. Smith. " * 2000]
)
def test_pieces_of_any_text_are_short(text):
    parts = list(pieces.pieces(text))
    assert "".join(part for _, part in parts) == text
    assert max(len(part) for _, part in parts) <= pieces.MOST_CHARACTERS


def test_an_abbreviation_ends_no_piece():
    text = (
        "He said so to them and they went. " * 11
        + "It is what Mr. Smith and Dr. No of St. Ives have said, they say. " * 4
    )
    assert all(not part.rstrip().endswith(("Mr.", "Dr.", "St.")) for _, part in pieces.pieces(text))


def test_words_of_a_long_text_know_their_place_in_it(voice):
    text = "Some words of it stand here. " * 60 + "\n\nThe kettle. " * 5
    said = voice(text)
    assert all(text[word.first_character : word.end_character] == word.text for word in said.timings)
    assert len(said.timings) == 60 * 6 + 5 * 2


def test_an_endless_sentence_is_cut_at_pauses_or_between_words():
    word = Word("word", ("W", "ER1", "D"))
    with_pauses = Sentence((*((word, word, word, word, Pause(",")) * 500), word, Pause("?")))
    parts = list(pieces.bounded(with_pauses))
    assert sum(isinstance(part, Word) for each in parts for part in each.parts) == 2001
    for each in parts:
        assert len(each.units()) <= pieces.MOST_UNITS + 2
        assert each.parts[-1] == Pause("?") and not isinstance(each.parts[-2], Pause)
    without = Sentence((word,) * 3000 + (Pause("."),))
    assert all(len(each.units()) <= pieces.MOST_UNITS + 2 for each in pieces.bounded(without))
    huge = Sentence((Word("a" * 5000, ("AA1",) * 5000), Pause(".")))
    assert sum(len(part.phones) for each in pieces.bounded(huge) for part in each.parts[:-1]) == 5000
    short = Sentence((word, Pause(".")))
    assert list(pieces.bounded(short)) == [short]


def test_a_break_that_was_asked_for_survives_the_cut():
    word = Word("word", ("W", "ER1", "D"))
    asked = Pause(",", seconds=1.5)
    sentence = Sentence((*((word,) * 200), asked, word, Pause(".")))
    parts = [part for each in pieces.bounded(sentence) for part in each.parts]
    assert asked in parts


def test_a_book_takes_no_more_memory_than_a_page(voice):
    def peak(paragraphs):
        text = "The kettle is on and the tea is made for all of them. It is warm.\n\n" * paragraphs
        tracemalloc.start()
        for _ in voice.stream(text):
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest - len(text)

    page, book = peak(5), peak(100)
    assert book < 1.2 * page


def test_the_first_part_comes_before_the_second_sentence_is_read(voice):
    seen = []
    original = voice.front.sentences
    voice.front.sentences = lambda text: (seen.append(len(text)), original(text))[1]
    parts = voice.stream("Some words of it stand here. " * 2000)
    next(parts)
    assert sum(seen) < 1000


# Whatever is typed


def random_text(random):
    """A string of any characters, more of those that mean something to a front end."""
    kind = random.integers(4)
    length = int(random.integers(1, 60))
    if kind == 0:
        points = random.integers(0, 0x110000, size=length)
    elif kind == 1:
        points = random.integers(32, 127, size=length)
    elif kind == 2:
        points = random.choice(
            [ord(each) for each in " .,!?-0123456789$%£€'\"()[]<>&;:/@#*+=\n\tabcXYZéßñ\u2019\u201c\u201d\u2026\u2014"],
            size=length,
        )
    else:
        points = random.choice(
            [*range(0x1F300, 0x1F700), *range(0x4E00, 0x4F00), *range(0x600, 0x6FF), 0x200D], size=length
        )
    return "".join(chr(point) for point in points)


def test_two_thousand_random_texts_are_said_or_refused_with_a_sentence(voice):
    import fastwave.speech.text as english

    voice.front = english
    voice.vocoder.stream = lambda frames, *_: [np.zeros(len(frames) * HOP, dtype=np.float32)]
    random = np.random.default_rng(5)
    said = 0
    for _ in range(2000):
        text = random_text(random)
        with contextlib.suppress(InputError):  # of a text that holds no words
            for part in voice.stream(text, speed=4.0, sentence_silence=0):
                assert all(0 <= word.first_character < word.end_character <= len(text) for word in part.timings)
            said += 1
    assert said > 500
