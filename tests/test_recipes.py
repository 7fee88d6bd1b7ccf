"""The recipes' data and measures: what is made is what the page says, and each measure can tell good from bad."""

import functools
import importlib.util
import itertools
import math
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import fastwave.sound.audio
from fastwave.errors import InputError

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
if not RECIPES.is_dir():
    pytest.skip("recipes/ is not beside tests/", allow_module_level=True)


def load(path):
    """A script of recipes/ as a module; all import the same helpers from beside them, by their short names."""
    name = "recipe_" + path.replace("/", "_").removesuffix(".py")
    spec = importlib.util.spec_from_file_location(name, RECIPES / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before, plain = list(sys.path), sys.modules.pop("make_data", None)
    sys.path.insert(0, str((RECIPES / path).parent))  # as `python recipes/...` does
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
        sys.modules.pop("make_data", None)  # two recipes have one of that name
        if plain is not None:
            sys.modules["make_data"] = plain
    return module


FILES = sorted(RECIPES.glob("*/*.py"))
SCRIPTS = [str(path.relative_to(RECIPES)) for path in FILES if '"__main__"' in path.read_text()]  # others help them
pluck, measure_pitch = load("pluck/make_data.py"), load("pluck/measure_pitch.py")
text_data, measure_text = load("text/make_data.py"), load("text/measure_text.py")
speech, measure_speakers = load("speech/make_data.py"), load("speech/measure_speakers.py")
pitch, grammar = measure_pitch.pitch, text_data.grammar


def call(monkeypatch, module, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__file__, *map(str, arguments)])
    module.main()


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def melodies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pluck")
    pluck.make(folder, minutes=0.5, seed=3, sample_rate=16000)
    return [fastwave.sound.audio.load(file)[0].numpy().astype(float) for file in sorted(folder.glob("*.wav"))]


def shifted(cents):
    """Three seconds of the scale's notes, each so much too high."""
    rng = np.random.default_rng(0)
    raised = [frequency * 2 ** (cents / 1200) for frequency in pluck.SCALE]
    return 0.5 * np.concatenate([pluck.string(frequency, 1, 0.25, 16000, rng)[0] for frequency in raised])


# Every script


@pytest.mark.parametrize("path", SCRIPTS)
def test_every_script_explains_itself(path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, load(path), "--help")
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", ["pluck", "text"])
def test_a_seed_names_the_data_and_another_seed_names_other_data(recipe, tmp_path, monkeypatch, capsys):
    module = {"pluck": pluck, "text": text_data}[recipe]
    size = {"pluck": ["--minutes", 0.2], "text": ["--characters", 3000]}[recipe]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        call(monkeypatch, module, tmp_path / name, "--seed", seed, *size)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")
    assert "files" in capsys.readouterr().out


@pytest.mark.parametrize("module", [pluck, text_data, speech])
def test_a_folder_that_holds_files_is_refused_and_left_alone(module, tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.setattr(speech, "find_flite", lambda voices: "flite")
    with pytest.raises(InputError, match="empty folder"):
        call(monkeypatch, module, tmp_path)
    assert contents(tmp_path) == {"mine.txt": b"mine"}


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (pluck, ["--minutes", "0"]),
        (pluck, ["--minutes", "nan"]),
        (pluck, ["--sample-rate", "100"]),
        (pluck, ["--seed", "-1"]),
        (text_data, ["--characters", "0"]),
        (speech, ["--minutes", "-1"]),
        (speech, ["--speakers", "slt", "slt"]),
    ],
)
def test_impossible_wishes_are_refused_before_a_folder_is_made(module, arguments, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=arguments[0]):
        call(monkeypatch, module, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", [measure_pitch, measure_text, measure_speakers])
def test_a_file_that_is_not_there_is_named(module, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"nowhere\.wav"):
        call(monkeypatch, module, tmp_path / "nowhere.wav")


# Pitch


@pytest.mark.parametrize("frequency", [70.0, 123.4, 196.0, 440.0, 880.0, 1190.0])
@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_the_pitch_of_a_known_tone_is_found_within_two_cents(frequency, sample_rate):
    seconds = np.arange(sample_rate // 2) / sample_rate
    partials = sum(np.sin(2 * np.pi * n * frequency * seconds + n) / n for n in (1, 2, 3))
    track = pitch.track(0.2 * partials * np.exp(-4 * seconds), sample_rate, 60, 1250)
    assert track.voiced.all()
    assert np.abs(pitch.cents(track.pitch, frequency)).max() < 2


@pytest.mark.parametrize("weights", [(1, 1.5), (0.4, 1, 1), (1, 0, 0), (0, 1, 1, 1)])
def test_strong_or_missing_partials_do_not_move_the_pitch_by_an_octave(weights):
    seconds = np.arange(8000) / 16000
    wave = sum(weight * np.sin(2 * np.pi * n * 220 * seconds) for n, weight in enumerate(weights, 1))
    track = pitch.track(0.2 * wave, 16000, 100, 1250)
    assert np.abs(pitch.cents(track.pitch, 220.0)).max() < 5


def test_noise_silence_and_a_sound_shorter_than_a_frame_have_no_pitch():
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48000)
    assert measure_pitch.measure(noise, 16000).voiced < 0.01
    assert measure_pitch.measure(np.zeros(16000), 16000).silent == 1
    assert measure_pitch.measure(noise[:100], 16000).within_50 == 0


# Plucked strings


@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 48000])
def test_every_string_is_in_tune_within_ten_cents_and_still_heard_at_its_end(sample_rate):
    rng = np.random.default_rng(0)
    for frequency in pluck.SCALE:
        for wave in 0.3 * pluck.string(frequency, 4, pluck.LONGEST_NOTE, sample_rate, rng):
            track = pitch.track(wave, sample_rate, 150, 1250, silence=0.003)
            assert track.voiced.all()
            assert np.abs(pitch.cents(track.pitch, frequency)).max() < 10
            assert track.level[0] > 3 * track.level[-1] > 0.01


def test_a_melody_file_starts_at_once_fills_its_time_and_peaks_at_a_half(melodies):
    for wave in melodies:
        first = np.flatnonzero(np.abs(wave) > 0.01)[0] / 16000
        assert 0.02 <= first <= 0.055
        assert len(wave) == 8 * 16000
        assert 0.4 < np.abs(wave).max() <= 0.5001
        assert measure_pitch.measure(wave, 16000).silent < 0.1


def test_a_new_note_has_silenced_the_old_one_after_ten_milliseconds():
    strings = [np.ones((pluck.PLUCKS, 16000)), np.zeros((pluck.PLUCKS, 16000))]  # one heard, one not
    wave = pluck.render([(0.1, 0.3, 0, 1.0), (0.3, 0.6, 1, 1.0)], strings, 16000, np.random.default_rng(0))
    heard = np.flatnonzero(wave > 1e-6) / 16000
    assert heard[0] == pytest.approx(0.1, abs=0.001)
    assert heard[-1] == pytest.approx(0.31, abs=0.001)


def test_melodies_step_along_the_scale_and_reach_all_of_it():
    rng = np.random.default_rng(0)
    steps = [[step for _, _, step, _ in pluck.melody(8, rng)] for _ in range(50)]
    assert {step for each in steps for step in each} == set(range(len(pluck.SCALE)))
    assert max(abs(a - b) for each in steps for a, b in itertools.pairwise(each)) <= 3


def test_the_training_data_lies_on_its_scale_and_its_notes_are_counted(melodies):
    measures = [measure_pitch.measure(wave, 16000) for wave in melodies]
    assert min(each.within_50 for each in measures) > 0.97
    assert min(each.within_30 for each in measures) > 0.97
    assert min(each.voiced for each in measures) > 0.9
    rng = np.random.default_rng(5)
    strings = [pluck.string(frequency, pluck.PLUCKS, 0.7, 16000, rng) for frequency in pluck.SCALE]
    for _ in range(3):
        notes = pluck.melody(8, rng)
        heard = measure_pitch.measure(pluck.render(notes, strings, 16000, rng), 16000).notes
        assert heard == pytest.approx(len(notes), abs=3)


def test_a_scale_out_of_tune_fails():
    assert measure_pitch.measure(shifted(0), 16000).within_30 > 0.97
    quarter_tone = measure_pitch.measure(shifted(50), 16000)
    assert quarter_tone.within_30 < 0.1  # at 50 cents it stands on the edge of the wider count
    assert quarter_tone.within_50 < 0.8
    assert measure_pitch.measure(shifted(100), 16000).within_50 < 0.1


def test_chance_is_what_random_pitches_reach():
    rng = np.random.default_rng(0)
    random = pluck.SCALE[0] * 2 ** rng.uniform(0, math.log2(pluck.SCALE[-1] / pluck.SCALE[0]), 20000)
    _, off = measure_pitch.nearest_note(random)
    for within in (30, 50):
        assert measure_pitch.chance(within) == pytest.approx((off <= within).mean(), abs=0.02)


def test_clipping_is_counted(melodies):
    assert measure_pitch.measure(melodies[0], 16000).clipped == 0
    assert measure_pitch.measure(np.clip(4 * melodies[0], -1, 1), 16000).clipped > 100


# Text


class CountingRandom:
    """A generator that adds up the bits it is asked for."""

    def __init__(self, seed):
        self.rng, self.bits = np.random.default_rng(seed), 0.0

    def integers(self, count):
        self.bits += math.log2(count)
        return self.rng.integers(count)


def test_the_entropy_is_the_bits_drawn_for_each_character():
    rng = CountingRandom(0)
    characters = sum(len(grammar.story(rng)) for _ in range(3000))
    assert rng.bits / characters == pytest.approx(grammar.bits_per_character(), rel=0.01)


def readings(text):
    """In how many ways the grammar writes `text`: the casts that fit times the derivations of each."""
    fitting = [[each for each in choices if all_in(each, text)] for choices in grammar.PARTS.values()]
    casts = [{}]
    for choices in fitting:
        casts = [cast | choice for cast in casts for choice in choices]
    return sum(derivations(text, grammar.with_capitals(cast)) for cast in casts)


def all_in(choice, text):
    return all(called.lower() in text.lower() for part, called in choice.items() if part in grammar.PARTS)


def derivations(text, called):
    @functools.cache
    def ends(rule, start):
        """(end, how many derivations of text[start:end]) for every end."""
        if rule in called:
            return Counter({start + len(called[rule]): 1} if text.startswith(called[rule], start) else {})
        found = Counter()
        for line in grammar.RULES[rule]:
            reached = Counter({start: 1})
            for odd, piece in enumerate(grammar._FIELD.split(line)):
                after = Counter()
                for position, ways in reached.items():
                    if odd % 2:
                        for end, more in ends(piece, position).items():
                            after[end] += ways * more
                    elif text.startswith(piece, position):
                        after[position + len(piece)] += ways
                reached = after
            found += reached
        return found

    return ends("STORY", 0)[len(text)]


def test_no_story_has_two_readings_so_the_entropy_is_exact():
    rng = np.random.default_rng(1)
    assert {readings(grammar.story(rng)) for _ in range(150)} == {1}
    for rule, lines in grammar.RULES.items():
        assert len(set(lines)) == len(lines), rule


def test_own_stories_are_all_known_words_and_whole_sentences_and_damage_is_seen():
    rng = np.random.default_rng(0)
    text = "".join(grammar.story(rng) for _ in range(30))
    assert measure_text.known_words(text)[0] == measure_text.known_words(text)[1] > 1000
    assert measure_text.covered(text)[0] == measure_text.covered(text)[1]
    mangled = text.replace("e", "a")
    known, words = measure_text.known_words(mangled)
    assert known < 0.7 * words
    assert measure_text.covered(mangled)[0] < 0.2 * len(mangled)
    shuffled = "".join(np.random.default_rng(0).permutation(list(text)))
    known, words = measure_text.known_words(shuffled)
    assert known < 0.2 * words
    rng = np.random.default_rng(0)
    salad = " ".join(rng.permutation(text.split()))
    assert measure_text.covered(salad)[0] < 0.05 * len(salad)


def test_text_files_hold_whole_stories_that_add_up_to_the_wish(tmp_path):
    files, characters = text_data.make(tmp_path, 250_000, 0)
    texts = [file.read_text() for file in sorted(tmp_path.glob("*.txt"))]
    assert files == len(texts) == 3
    assert characters == sum(map(len, texts))
    assert 250_000 <= characters < 252_000
    assert all(text.endswith(".\n\n") and text.isascii() for text in texts)


# Speech


def test_without_flite_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt-get install flite"):
        call(monkeypatch, speech, tmp_path / "out")
    assert not (tmp_path / "out").exists()


needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")


@needs_flite
def test_an_unknown_voice_is_refused_with_the_ones_there_are():
    with pytest.raises(InputError, match=r"no voice nobody: choose from .*slt"):
        speech.find_flite(["slt", "nobody"])


@needs_flite
def test_speech_is_the_same_on_any_number_of_cores_and_its_speakers_differ_in_pitch(tmp_path, monkeypatch, capsys):
    for name, cores in (("a", 1), ("b", 3)):
        monkeypatch.setattr(speech.os, "cpu_count", lambda cores=cores: cores)
        call(monkeypatch, speech, tmp_path / name, "--minutes", 0.2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    tracks = [measure_speakers.voice(sorted((tmp_path / "a" / voice).iterdir())) for voice in speech.SPEAKERS]
    medians = [np.nanmedian(track.pitch) for track in tracks]
    assert medians[0] > 1.3 * medians[1]
    assert min(track.voiced.mean() for track in tracks) > 0.4
    assert "minutes" in capsys.readouterr().out


# Songs

songs = load("songs/make_data.py")


def write_tone(path, frequency, seconds=7.0, sample_rate=44100, level=0.3):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * sample_rate)) / sample_rate)
    fastwave.sound.audio.save(path, np.stack([wave, wave], axis=1), sample_rate)


def test_a_song_is_the_sum_of_its_recordings_at_8_khz_in_equal_pieces(tmp_path, monkeypatch, capsys):
    write_tone(tmp_path / "in" / "A" / "song.wav", 500)
    write_tone(tmp_path / "in" / "A" / "guitar.wav", 800)
    write_tone(tmp_path / "in" / "deep" / "B" / "all.wav", 300)
    call(monkeypatch, songs, tmp_path / "in", tmp_path / "out", "--seconds", 3)
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["A-000.wav", "A-001.wav", "B-000.wav", "B-001.wav"]
    for file, tones in zip(files, [(500, 800), (500, 800), (300,), (300,)], strict=True):
        wave, sample_rate = fastwave.sound.audio.load(file)
        assert (len(wave), sample_rate) == (28_000, 8000)
        spectrum = np.abs(np.fft.rfft(wave.numpy() * np.hanning(28_000))) / 28_000 * 4
        heard = {round(place * 8000 / 28_000 / 100) * 100 for place in np.flatnonzero(spectrum > 0.2)}
        assert heard == set(tones)
    assert "A: 2 recordings, 7 s, 2 pieces" in capsys.readouterr().out


def test_a_loud_mix_is_brought_down_and_not_clipped(tmp_path):
    for name in ("a.wav", "b.wav"):
        write_tone(tmp_path / name, 200, level=0.9)
    mixed = songs.mix([tmp_path / "a.wav", tmp_path / "b.wav"])
    assert np.abs(mixed).max() == pytest.approx(1, abs=1e-3)
    assert (np.abs(mixed) > 0.99).mean() < 0.1  # of a sine 9%; clipped at 1 it would be 63%


def test_recordings_of_other_lengths_are_other_songs(tmp_path, monkeypatch):
    write_tone(tmp_path / "in" / "a.wav", 200)
    write_tone(tmp_path / "in" / "b.wav", 200, seconds=6)
    with pytest.raises(InputError, match="--seconds must be from 2"):
        call(monkeypatch, songs, tmp_path / "in", tmp_path / "out", "--seconds", "nan")
    with pytest.raises(InputError, match=r"one length, got a\.wav 7\.0 s, b\.wav 6\.0 s"):
        call(monkeypatch, songs, tmp_path / "in", tmp_path / "out")


# How well a voice is understood

understood = load("voice/understood.py")


def test_the_words_of_a_text_are_compared_without_points_capitals_and_figures():
    assert understood.words_of("It's 21 o\u2019clock, Bob!") == ["it's", "twenty", "one", "o'clock", "bob"]
    for heard, wrong in [("a b c", 0), ("a c", 1), ("a x c", 1), ("a b b c", 1), ("", 3)]:
        assert understood.distance("a b c".split(), heard.split()) == wrong


def test_a_voice_is_loaded_once_and_says_line_i_into_file_i(tmp_path, monkeypatch):
    class Said:
        def __init__(self, text):
            self.text = text

        def save(self, path):
            path.write_text(self.text)

    def load(name):
        loaded.append(name)
        return Said

    loaded = []
    monkeypatch.setattr(fastwave.Voice, "load", load)
    (tmp_path / "s.txt").write_text("One.\n* Two.\n")
    call(monkeypatch, understood, "say", "fastwave", tmp_path / "s.txt", tmp_path / "out", "--voice", "anna")
    assert contents(tmp_path / "out") == {"000.wav": b"One.", "001.wav": b"Two."}
    assert loaded == ["anna"]
