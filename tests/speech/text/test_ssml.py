"""SSML: what it makes of a text, what it notes, what it refuses."""

import contextlib
import random

import pytest

from fastwave.errors import InputError
from fastwave.speech.phones import SYMBOLS, Pause, Word
from fastwave.speech.text import from_ssml, sentences, spell


def parts(text, notes=None):
    return [part for sentence in from_ssml(text, notes) for part in sentence.parts]


def words(text):
    return [part for part in parts(text) if isinstance(part, Word)]


def test_plain_text_in_speak_is_the_plain_text():
    text = "Good morning, Dr. Smith. It is 3:30 p.m."
    assert spell(from_ssml(f"<speak>{text}</speak>")) == spell(sentences(text)) == spell(from_ssml(text))


def test_places_count_in_the_document():
    text = '<speak>Café &amp; <prosody rate="slow">“Zoë”</prosody> 5\n<sub alias="for example">e.g.</sub></speak>'
    assert [text[word.start : word.end] for word in words(text)] == ["Café", "&", "Zoë", "5", "e.g.", "e.g."]
    assert [word.text for word in words(text)] == ["Café", "&", "Zoë", "5", "e.g.", "e.g."]


def test_places_of_a_piece_without_speak_count_in_the_piece():
    text = "Zoë &amp; <s>one</s>"
    assert [(word.text, word.start, word.end) for word in words(text)] == [("Zoë", 0, 3), ("&", 4, 5), ("one", 13, 16)]


def test_p_and_s_are_sentences():
    made = from_ssml("<speak><p><s>one</s><s>two?</s></p><p>three</p></speak>")
    assert [sentence.parts[-1].mark for sentence in made] == [".", "?", "."]


@pytest.mark.parametrize(
    ("tag", "pause"),
    [
        ('<break time="500ms"/>', Pause("_", 0.5)),
        ('<break time="1.5s"/>', Pause("_", 1.5)),
        ('<break strength="x-strong"/>', Pause("_", 1.0)),
        ("<break/>", Pause(",")),
        ('<break strength="none"/>', None),
        ('<break time="99999s"/>', Pause("_", 60.0)),
    ],
)
def test_breaks_are_pauses(tag, pause):
    expected = [pause] if pause else []
    assert [part for part in parts(f"<speak>a{tag} b</speak>")[:-1] if isinstance(part, Pause)] == expected


@pytest.mark.parametrize(
    ("attributes", "rate", "pitch", "volume"),
    [
        ('rate="slow"', 0.75, 1, 1),
        ('rate="120%"', 1.2, 1, 1),
        ('rate="+20%"', 1.2, 1, 1),
        ('rate="-10%"', 0.9, 1, 1),
        ('rate="0.5"', 0.5, 1, 1),
        ('rate="9000%"', 4, 1, 1),
        ('pitch="+2st"', 1, 2 ** (2 / 12), 1),
        ('pitch="high"', 1, 1.14, 1),
        ('pitch="-12st"', 1, 0.5, 1),
        ('volume="+6dB"', 1, 1, 10 ** (6 / 20)),
        ('volume="silent"', 1, 1, 0),
        ('volume="50"', 1, 1, 0.5),
        ('rate="x-fast" pitch="low" volume="soft"', 1.7, 0.88, 0.5),
    ],
)
def test_prosody_gives_factors(attributes, rate, pitch, volume):
    word = words(f"<speak><prosody {attributes}>word</prosody></speak>")[0]
    assert (word.rate, word.pitch, word.volume) == pytest.approx((rate, pitch, volume))


def test_prosody_multiplies_inward_and_ends_with_its_element():
    inner, outer = words('<speak><prosody rate="50%"><prosody rate="150%">a1</prosody></prosody> dog</speak>')[::2]
    assert (inner.rate, outer.rate) == (0.75, 1)


@pytest.mark.parametrize(
    ("attributes", "text", "expected"),
    [
        ('interpret-as="characters"', "AB1", "EY1 | B IY1 | W AH1 N ."),
        ('interpret-as="spell-out"', "a-b", "EY1 | D AE1 SH | B IY1 ."),
        ('interpret-as="cardinal"', "1999", "one thousand nine hundred ninety nine"),
        ('interpret-as="ordinal"', "3", "third"),
        ('interpret-as="digits"', "105", "one zero five"),
        ('interpret-as="date" format="dmy"', "5/6/2020", "june fifth twenty twenty"),
        ('interpret-as="date"', "2020-06-05", "june fifth twenty twenty"),
        ('interpret-as="time"', "3:30pm", "three thirty P M"),
        ('interpret-as="telephone"', "555-12", "five five five, one two"),
    ],
)
def test_say_as_reads_a_text_as_its_kind(attributes, text, expected):
    made = spell(from_ssml(f"<speak><say-as {attributes}>{text}</say-as></speak>"))
    assert made == (expected if "." in expected else spell(sentences(expected)))


def test_phoneme_gives_the_phones():
    text = '<speak><phoneme alphabet="{}" ph="{}">tomato</phoneme></speak>'
    expected = ("T", "AH0", "M", "EY1", "T", "OW0")
    assert words(text.format("ipa", "təˈmeɪtoʊ"))[0].phones == expected
    assert words(text.format("x-arpabet", "T AH0 M EY1 T OW0"))[0].phones == expected
    assert words(text.format("ipa", "təˈmeɪtoʊ"))[0].text == "tomato"


def test_emphasis_makes_little_words_strong_and_louder():
    word = words('<speak>he is <emphasis level="strong">the</emphasis> man</speak>')[2]
    assert word.phones == ("DH", "IY1")
    assert word.volume > 1 and word.rate < 1


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ('a <mark name="x"/> b', "<mark>"),
        ('<audio src="x">b</audio>', "<audio>"),
        ('<voice name="x">b</voice>', "<voice>"),
        ('<lang xml:lang="fr">b</lang>', "<lang>"),
        ('<say-as interpret-as="zz">b</say-as>', "say-as"),
        ('<prosody rate="zz">b</prosody>', "rate"),
        ('<prosody pitch="200Hz">b</prosody>', "pitch"),
        ('<break time="zz"/>b', "break"),
        ('<phoneme ph="%">b</phoneme>', "phoneme"),
        ('<emphasis level="zz">b</emphasis>', "emphasis"),
    ],
)
def test_what_has_no_effect_leaves_a_note_and_the_text_is_spoken(text, note):
    notes = []
    made = words_of(from_ssml(f"<speak>{text}</speak>", notes))
    assert len(notes) == 1 and note in notes[0]
    assert made[-1].text == "b"


def words_of(made):
    return [part for sentence in made for part in sentence.parts if isinstance(part, Word)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<speak>\n<p>one</speak>", r"line 2, column \d+: mismatched tag"),
        ("<speak>a & b</speak>", r"line 1, column 1\d"),
        ("a & b", r"line 1, column [3-5]\b"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><speak>&a;</speak>', "document type"),
        ("<speak>&nbsp;</speak>", "undefined entity"),
        ("<speak>" + 70 * "<p>", "more than 64 elements"),
        ("<speak>\x00</speak>", "line 1"),
        ("<speak>\ud800</speak>", "line 1"),
        ("<speak>" + 1_000_001 * "a", "at most 1000000"),
    ],
)
def test_broken_documents_are_refused_with_their_place(text, message):
    with pytest.raises(InputError, match=message):
        from_ssml(text)


def test_random_documents_are_read_or_refused_with_a_sentence():
    random.seed(3)
    pieces = ["<speak>", "</speak>", "<p>", "</p>", "<s>", "</s>", "<break time='1s'/>", "<break time='-1s'/>", "&amp;",
              "<prosody rate='x'>", "<prosody pitch='+99999st'>", "</prosody>", "<say-as interpret-as='date'>", "12/13",
              "<say-as interpret-as='ordinal'>", "²", "</say-as>", "<sub alias='é 5'>", "</sub>", "<", ">", "&", "word",
              "<phoneme ph='həˈ'>", "</phoneme>", "😀", "5", " ", "\n", "'", '"', "<!--", "-->", "<![CDATA[", "]]>",
              "<emphasis>", "</emphasis>", "<x:y/>", "<?pi?>"]  # fmt: skip
    read = 0
    for _ in range(3000):
        text = "".join(random.choices(pieces, k=random.randint(1, 12)))
        if random.random() < 0.5:
            text = f"<speak>{text}</speak>"
        with contextlib.suppress(InputError):
            made = from_ssml(text)
            read += 1
            assert {unit.symbol for sentence in made for unit in sentence.units()} <= set(SYMBOLS)
    assert read > 100
