"""Judging files: distances see the fault that was planted, pairs go by name, and the report is JSON with known keys."""

import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastwave.cli.main import main
from fastwave.errors import InputError
from fastwave.tools import judge, judge_pair, judge_scores, judge_table, judge_text

RATE = 16_000
PAGE = Path(__file__).resolve().parents[2] / "docs" / "judging.md"


def melody(rate=RATE, seed=0, raised=1.0, seconds=2.0):
    """Notes of a scale, each a quarter of a second, raised by a factor."""
    rng = np.random.default_rng(seed)
    notes = []
    for _ in range(round(4 * seconds)):
        place = np.arange(rate // 4) / rate
        frequency = raised * 220 * 2 ** (rng.integers(0, 13) / 12)
        partials = sum(np.sin(2 * np.pi * n * frequency * place) / n for n in (1, 2, 3))
        notes.append(0.2 * partials * np.exp(-6 * place) * np.clip(200 * np.minimum(place, 0.25 - place), 0, 1))
    return np.concatenate(notes)


def write(path, wave, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype="FLOAT")
    return path


def compared(generated, reference=None):
    return judge_pair.compare(generated, melody() if reference is None else reference, RATE)


# Distances


def test_a_sound_is_at_no_distance_from_itself():
    same = compared(melody())
    assert (same.shift_ms, same.log_mel_distance_db, same.log_spectral_distance_db) == (0, 0, 0)
    assert (same.pitch_within_50_cents, same.pitch_rmse_cents, same.voicing_error) == (1, 0, 0)


def test_a_difference_in_level_is_loudness_and_no_spectral_distance():
    louder = compared(2 * melody())
    assert louder.loudness_difference_db == pytest.approx(6.02, abs=0.1)
    assert louder.log_mel_distance_db < 0.05


@pytest.mark.parametrize(("raised", "cents", "within"), [(2.0, 1200, 0.0), (1.01, 17, 1.0), (1.06, 101, 0.0)])
def test_an_octave_error_and_a_wrong_tuning_are_pitch_errors_in_cents(raised, cents, within):
    wrong = compared(melody(raised=raised))
    assert wrong.pitch_rmse_cents == pytest.approx(cents, rel=0.1)
    assert wrong.pitch_within_50_cents == pytest.approx(within, abs=0.06)


@pytest.mark.parametrize("milliseconds", [-40, 7, 50])
def test_a_shift_of_up_to_50_ms_is_taken_back(milliseconds):
    late = round(abs(milliseconds) * RATE / 1000)
    wave = np.concatenate([np.zeros(late), melody()]) if milliseconds > 0 else melody()[late:]
    shifted = compared(wave)
    assert shifted.shift_ms == pytest.approx(milliseconds)
    assert shifted.log_mel_distance_db < 0.5 and shifted.pitch_within_50_cents > 0.99


def test_a_shift_beyond_50_ms_is_a_distance():
    late = compared(np.concatenate([np.zeros(round(0.12 * RATE)), melody()]))
    assert late.log_mel_distance_db > 5 and late.pitch_within_50_cents < 0.8


def test_sounds_that_do_not_match_are_not_moved():
    noise = 0.1 * np.random.default_rng(0).normal(size=2 * RATE)
    other = compared(noise)
    assert other.shift_ms == 0 and other.pitch_rmse_cents is None and other.voicing_error > 0.9
    assert other.log_mel_distance_db > 20


def test_clipping_raises_the_distance_and_more_noise_raises_it_more():
    clipped, noisy = np.clip(4 * melody(), -1, 1), melody() + 0.01 * np.random.default_rng(0).normal(size=2 * RATE)
    noisier = melody() + 0.05 * np.random.default_rng(0).normal(size=2 * RATE)
    distances = [compared(wave).log_mel_distance_db for wave in (melody(), clipped, noisy, noisier)]
    assert distances[0] < 1 < distances[1] and distances[1] < distances[2] < distances[3]


def test_only_the_common_part_of_different_lengths_is_compared():
    assert compared(melody()[: RATE + 1234]).log_mel_distance_db < 0.5


def test_distributions_compare_sounds_that_say_something_else():
    references = judge_pair.summary([melody(seed=1), melody(seed=2)], RATE)
    like = judge_pair.distributions(judge_pair.summary([melody(seed=3)], RATE), references)
    octave = judge_pair.distributions(judge_pair.summary([melody(seed=3, raised=2.0)], RATE), references)
    assert abs(like.voiced_difference) < 0.1 and abs(like.pitch_difference_cents) < 400
    assert octave.pitch_difference_cents - like.pitch_difference_cents == pytest.approx(1200, abs=5)
    assert octave.average_spectrum_distance_db > like.average_spectrum_distance_db


# Files


def test_a_reference_at_another_rate_is_resampled_and_a_wrong_rate_in_the_header_is_a_distance(tmp_path):
    generated = write(tmp_path / "a.wav", melody())
    right = judge.report(generated, write(tmp_path / "b.wav", melody(48_000), 48_000))["files"][0]["comparison"]
    assert right["log_mel_distance_db"] < 3 and right["pitch_within_50_cents"] > 0.99
    wrong = judge.report(generated, write(tmp_path / "c.wav", melody(), 22_050))["files"][0]["comparison"]
    assert wrong["log_mel_distance_db"] > 8 and wrong["pitch_within_50_cents"] < 0.2


def test_folders_are_compared_by_name_whatever_the_suffix_and_have_a_mean(tmp_path):
    write(tmp_path / "made" / "x" / "one.wav", melody(seed=0))
    write(tmp_path / "made" / "two.wav", melody(seed=1))
    write(tmp_path / "true" / "one.wav", melody(seed=2))
    soundfile.write(tmp_path / "true" / "two.flac", melody(seed=1), RATE)
    report = judge.report(tmp_path / "made", tmp_path / "true")
    by_name = {Path(each["generated"]).stem: each for each in report["files"]}
    assert by_name["two"]["comparison"]["log_mel_distance_db"] < 1
    assert by_name["one"]["comparison"] is None  # x/one is not one
    assert report["without_reference"] == ["x/one"]
    levels = [each["measures"]["rms_db"] for each in report["files"]]
    assert report["mean"]["measures"]["rms_db"] == pytest.approx(np.mean(levels))


def test_unaligned_folders_need_no_common_names(tmp_path):
    for folder, seed in (("made", 0), ("true", 1), ("true", 2)):
        write(tmp_path / folder / f"{folder}-{seed}.wav", melody(seed=seed))
    (entry,) = judge.report(tmp_path / "made", tmp_path / "true", unaligned=True)["files"]
    assert abs(entry["comparison"]["voiced_difference"]) < 0.1
    with pytest.raises(InputError, match="--unaligned"):
        judge.report(tmp_path / "made", tmp_path / "true")


def test_what_cannot_be_judged_is_refused_in_words(tmp_path):
    sound = write(tmp_path / "a.wav", melody())
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        ((tmp_path / "nowhere",), "nowhere"),
        ((tmp_path / "empty",), "holds no"),
        ((sound, tmp_path / "a.txt"), "two of a kind"),
        ((tmp_path / "a.txt", sound), "two of a kind"),
        ((sound, None, True), "give one"),
        ((tmp_path,), "suffix only"),
    ]:
        with pytest.raises(InputError, match=message):
            judge.report(*arguments)
    low = write(tmp_path / "low.wav", melody(), 2000)
    with pytest.raises(InputError, match="2000 Hz"):
        judge.report(sound, low)


# Text


def prose(count=400):
    words = [f"{a}{b}" for a in ("ka", "lo", "mi", "ne", "su") for b in ("r", "ta", "min", "del", "vo")]
    return " ".join(np.random.default_rng(0).choice(words, count)) + "."


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (prose().encode(), "reads ordinary"),
        (b"", "empty"),
        (prose(40).encode() + b"abc" * 100, "stuck on one pattern"),
        (b"a" * 50, "stuck on one pattern"),
        (bytes(np.random.default_rng(0).integers(33, 127, 2000, dtype=np.uint8)), "noise: it hardly compresses"),
        (bytes(np.random.default_rng(0).integers(128, 256, 500, dtype=np.uint8)), "not valid UTF-8; noise"),
    ],
    ids=["prose", "empty", "loop at the end", "one letter", "random letters", "random bytes"],
)
def test_each_kind_of_text_has_its_verdict(data, words):
    assert judge_text.verdict(judge_text.of(data)).startswith(words)


def test_measures_of_a_text_are_counted():
    measured = judge_text.of("One two two. Ähre ähre! abcabcabcabc 3".encode())
    assert (measured.words, measured.distinct_words) == (6, 4)
    assert measured.longest_repeat == 12
    assert judge_text.of(b"good\xff").utf8_share == pytest.approx(0.8)
    assert judge_text.of(b"ab" * 5000).zlib_bits < 0.1
    assert judge_text.compare(b"one three", b"one two")["known_words_share"] == 0.5


# Scores of other packages


def test_scores_that_are_installed_are_given_and_a_failing_one_is_none(monkeypatch):
    def fails(*_, **__):
        raise ValueError("no utterance")

    monkeypatch.setattr(judge_scores, "_is_there", lambda package: package in ("pystoi", "pesq"))
    monkeypatch.setitem(sys.modules, "pystoi", types.SimpleNamespace(stoi=lambda true, made, rate, extended: 0.75))
    monkeypatch.setitem(sys.modules, "pesq", types.SimpleNamespace(pesq=fails))
    assert judge_scores.scores(melody(8000), melody(8000), 8000) == {"stoi": 0.75, "pesq": None}
    assert judge_scores.missing() == ["pip install 'fastwave[judge]' adds ViSQOL"]


def test_without_the_extra_one_line_says_what_it_adds(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(judge_scores, "_is_there", lambda package: False)
    path = str(write(tmp_path / "a.wav", melody()))
    assert main(["judge", path, path]) == 0
    assert "pip install 'fastwave[judge]' adds STOI and ViSQOL" in capsys.readouterr().err
    assert main(["judge", path]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("package", ["pystoi", "visqol"])
def test_a_real_score_falls_with_noise(package):
    pytest.importorskip(package)
    wave = melody(seconds=4)
    noisy = wave + 0.1 * np.random.default_rng(0).normal(size=len(wave))
    name = judge_scores._SCORES[package][0]
    clean, worse = (judge_scores.scores(each, wave, RATE)[name] for each in (wave, noisy))
    assert clean > worse > 0


# The command


def test_the_command_prints_a_table_with_its_verdict_last(tmp_path, capsys):
    path = write(tmp_path / "a.wav", np.zeros(RATE))
    assert main(["judge", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "verdict: silent"
    assert any(re.match(r"duration +1\.00 s", line) for line in lines)
    write(tmp_path / "b.wav", melody())
    assert main(["judge", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "verdict: 1 of 2: silent, 1 of 2: sounds ordinary"
    assert lines[1].endswith("a.wav (silent)") and lines[3].endswith("mean of 2")


def test_json_is_one_object_whose_keys_are_documented(tmp_path, capsys):
    path = str(write(tmp_path / "a.wav", melody()))
    (tmp_path / "a.txt").write_text(prose())
    reports = []
    for arguments in ([path, path], [path, path, "--unaligned"], [str(tmp_path / "a.txt")] * 2):
        assert main(["judge", *arguments, "--json"]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    entries = [entry for report in reports for entry in report["files"]]
    keys = {key for entry in entries for key in entry}
    parts = ("measures", "reference_measures", "comparison", "scores")
    measured = {key for entry in entries for part in parts for key in entry[part] or {}}
    assert keys == {"generated", "reference", "kind", "verdict", *parts}
    assert measured | {"stoi", "visqol", "pesq"} == set(judge_table.FORMATS)
    if PAGE.exists():
        documented = set(re.findall(r"`(\w+)`", PAGE.read_text()))
        assert keys | measured | {"files", "mean", "without_reference"} <= documented


def test_an_error_is_one_sentence(capsys):
    assert main(["judge", "/nowhere.wav"]) == 1
    assert capsys.readouterr().err.startswith("fastwave judge: there is no /nowhere.wav")
