"""recipes/chorales: the grammar keeps its rules, and every measure tells good from bad."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from fastwave.errors import InputError
from fastwave.music.composer import text
from fastwave.music.composer.chorale import HELD, REST, Chorale
from small_chorales import CHORALE

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "chorales"
if not RECIPE.is_dir():
    pytest.skip("recipes/ is not beside tests/", allow_module_level=True)
before = list(sys.path)
sys.path[:0] = [str(RECIPE), str(RECIPE.parent)]  # as `python recipes/chorales/...` does
import chorale_grammar  # noqa: E402
import figures  # noqa: E402
import jsb  # noqa: E402
import markov_text as markov  # noqa: E402
import read_bach  # noqa: E402

sys.path[:] = before
(SMALL,) = text.read(CHORALE)


@pytest.fixture(scope="module")
def written():
    rng = np.random.default_rng(11)
    return [chorale_grammar.chorale(rng, phrases, (0, minor)) for phrases, minor in ((3, False), (5, True), (2, False))]


def test_the_grammar_keeps_its_rules(written):
    found = figures.measure(written)
    assert (found.fifths, found.octaves, found.crossings, found.out_of_range) == (0, 0, 0, 0)
    assert found.home == 1 and found.triads > 0.6 and found.longest_chord <= 4 and found.moving > 0.2


def test_the_grammar_writes_well_formed_text_of_the_wanted_shape(written):
    assert text.read("".join(map(text.write, written))) == written
    assert [(each.form.phrases, each.form.minor) for each in written] == [(3, False), (5, True), (2, False)]
    assert all(len(each.ends) == each.form.phrases for each in written)


def test_the_same_seed_writes_the_same_chorale():
    first, second = (chorale_grammar.chorale(np.random.default_rng(3), 2, (0, False)) for _ in range(2))
    assert first == second


def test_figures_count_what_a_chorale_has():
    found = figures.measure([SMALL])
    assert (found.chorales, found.beats, found.home, found.longest_chord) == (1, 10, 1, 3)
    assert found.triads == pytest.approx(0.9) or found.triads == 1.0
    rows = [(72, 67, 64, 48), (74, 69, 65, 50), (72, 67, 64, 48), (60, 67, 64, 48)]  # fifths, octaves; a crossing
    found = figures.measure([Chorale(SMALL.form, tuple(step for row in rows for step in (row, (HELD,) * 4)))])
    assert found.fifths * 4 / 100 == 2 and found.octaves * 4 / 100 == 2
    assert found.crossings * 4 / 100 == 2  # both steps of the last chord


def test_a_copied_run_is_found_in_any_key_and_no_longer_than_it_is():
    own = SMALL.transposed(3)
    other = Chorale(own.form, (*own.steps[2:12], *((65, 60, 57, 53),) * 4))
    copies = figures.Copies([SMALL])
    assert copies.longest(SMALL.transposed(-2)) == 10
    assert copies.longest(other) == 5
    assert figures.Copies([other]).longest(SMALL) == 5
    changed = Chorale(SMALL.form, (*SMALL.steps[:9], (69, 65, 57, 53), *SMALL.steps[10:]))
    assert copies.longest(changed) == 4.5  # another tenor sounds from the tenth step to the twelfth


def test_the_markov_control_knows_what_it_has_seen():
    data = b"abcabcabd" * 50
    chain = markov.Markov(data, 3)
    assert chain.chances(b"ab").sum() == pytest.approx(1)
    assert chain.chances(b"cab")[ord("d")] == pytest.approx(0.5, abs=0.02)
    assert chain.chances(b"dab")[ord("c")] > 0.9
    assert chain.bits(data) < 0.5 < markov.Markov(data, 0).bits(data)
    assert set(chain.write(np.random.default_rng(0), 60, b"abc")) <= set("abcd")


def test_an_order_of_letters_is_a_chance_of_their_counts():
    chain = markov.Markov(b"aaab", 0)  # Witten-Bell: (count + kinds / 256) / (4 + kinds)
    assert chain.chances(b"")[ord("a")] == pytest.approx((3 + 2 / 256) / 6)


PIECES = {"train": [[[72, 67, 64, 48], [72, 67, 62, 48]]], "valid": [], "test": [[[72, 67, 64, 48], [None, 67, 64, 0]]]}


def write_json(folder, content):
    path = folder / "jsb.json"
    path.write_text(json.dumps(content))
    return path


def test_the_jsb_file_becomes_chorales(tmp_path):
    pieces = jsb.read(write_json(tmp_path, PIECES))
    assert pieces["train"][0].steps == ((72, 67, 64, 48), (HELD, HELD, 62, HELD))
    assert pieces["test"][0].steps[1] == (REST, HELD, HELD, REST)
    assert text.write(pieces["train"][0]) == "any key, free, sixteenths\nMHEo\n..C.\n\n"
    jsb.write_texts(pieces, tmp_path)
    shifted = text.read((tmp_path / "train" / "piece-000.txt").read_text())
    assert len(shifted) == 12 and shifted[0].steps[0] == (67, 62, 59, 43)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must be an object"),
        ({"train": [], "valid": []}, "must be an object"),
        ({**PIECES, "test": [[[72, 67, 64]]]}, r"test\[0\]\[0\] must be a list of four keys"),
        ({**PIECES, "test": [[]]}, "1 to 8192 steps"),
        ({**PIECES, "test": [[[72.5, 67, 64, 48]]]}, "whole number"),
        ({**PIECES, "test": [[["72", 67, 64, 48]]]}, "whole number"),
        ({**PIECES, "test": [[[90, 67, 64, 48]]]}, "from 36 to 81"),
    ],
)
def test_another_json_file_is_refused_with_the_place(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        jsb.read(write_json(tmp_path, content))


def test_nats_are_shared_among_four_tokens_a_step(tmp_path):
    pieces = jsb.read(write_json(tmp_path, PIECES))["test"]
    length = len("any key, free, sixteenths\nMHEo\n_.._\n\n")
    assert jsb.nats_a_token(lambda each: 2.0, pieces) == pytest.approx(2 * math.log(2) * length / 8)


def music_xml(bars, metre=4):
    part = "".join(
        f"<measure><attributes><divisions>2</divisions><key><fifths>1</fifths><mode>major</mode></key>"
        f"<time><beats>{metre}</beats><beat-type>4</beat-type></time></attributes>{bar}</measure>"
        for bar in bars
    )
    return f"<score-partwise>{''.join(f'<part>{part}</part>' for _ in range(4))}</score-partwise>".encode()


def note(step, octave, duration, more=""):
    return (
        f"<note><pitch><step>{step}</step><octave>{octave}</octave></pitch><duration>{duration}</duration>{more}</note>"
    )


def test_music_xml_becomes_a_chorale():
    tie = '<tie type="start"/>'
    fermata = "<notations><fermata/></notations>"
    bars = [note("D", 4, 2), note("G", 4, 4) + note("F", 4, 3, tie) + note("F", 4, 1, fermata), note("G", 4, 8)]
    chorale = read_bach.chorale(music_xml(bars))
    assert text.header(chorale.form) == "G major, 4/4, sixteenths, 2 phrases"
    assert chorale.pickup == 4 and chorale.ends == (20, 36)
    struck = [(index, step[0]) for index, step in enumerate(chorale.steps) if step[0] != HELD]
    assert struck == [(0, 62), (4, 67), (12, 65), (20, 67)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (music_xml([note("D", 4, 2)], metre=5), "its metre is 5/4"),
        (b"<score-partwise/>", "four parts"),
        (b"<!DOCTYPE a [<!ENTITY x 'y'>]><score-partwise/>", "entities"),
        (music_xml([note("D", 4, 0)]), "grid of sixteenths"),
        (music_xml(["<backup/>"]), "several voices"),
    ],
)
def test_other_music_xml_is_refused(content, message):
    with pytest.raises(InputError, match=message):
        read_bach.chorale(content)
