"""`fastwave music`: every option does what its help says, and a mistake is answered by a sentence that helps."""

import io
import json
import shlex
import subprocess
import sys
import types

import numpy as np
import pytest
import soundfile

from fastwave.cli import player as players
from fastwave.cli.main import main
from fastwave.music import bands, midi, write_midi
from fastwave.music.notes import Note, Piece, Track
from midi_bytes import midi as make_midi
from midi_bytes import off, on, program, track
from small_band import SineBand, make_band_folder, make_piece


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with a MIDI file of 0.4 s, and a bundled band of stand-ins."""
    make_band_folder(tmp_path / "instruments" / "chamber", licence="MIT", description="sines")
    monkeypatch.setattr(bands, "BUNDLED", tmp_path / "instruments")
    band = SineBand()
    monkeypatch.setattr(bands, "load_folder", lambda folder: band)
    composer = types.ModuleType("fastwave.music.composer")
    composer.compose = lambda seconds, **options: band.__dict__.update(composed=(seconds, options)) or make_piece()
    monkeypatch.setitem(sys.modules, composer.__name__, composer)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    write_midi(make_piece(), "song.mid")
    return band


def music(command):
    return main(["music", *shlex.split(command)])


def wave(path="x.wav"):
    return soundfile.read(path)[0]


def test_a_midi_file_becomes_stereo(desk, capsys):
    assert music("song.mid -o x.wav --json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["output"] == "x.wav" and row["seconds"] == 0.45 and row["sample_rate"] == 44_100
    assert row["tracks"][0] == {"name": "soprano", "instrument": "flute", "notes": 2}
    assert soundfile.info("x.wav").channels == 2


def test_options_reach_the_notes_and_the_band(desk, capsys):
    assert music("song.mid -o x.wav --tempo 0.5 --start 0.2 --end 0:00.3 --sample-rate 48000 --seed 5") == 0
    assert soundfile.info("x.wav").frames == 48_000 * 0.25  # 0.1 s twice as slow, and 0.05 s of ringing
    assert desk.asked == (5, None)
    assert music("song.mid -o y.wav --temperature 0.5 --instrument organ --transpose 12 --gain -6 --json") == 0
    assert desk.asked == (0, 0.5)
    assert {each["instrument"] for each in json.loads(capsys.readouterr().out)["tracks"]} == {"organ"}
    assert np.abs(wave("y.wav")).max() == pytest.approx(0.8 * 10 ** (-6 / 20), rel=0.02)


def test_stems_are_written_beside_the_mix(desk, capsys):
    assert music("song.mid -o x.flac --stems parts --json") == 0
    stems = json.loads(capsys.readouterr().out)["stems"]
    assert [name.rpartition("/")[2] for name in stems] == [
        "01-soprano.flac", "02-alto.flac", "03-tenor.flac", "04-bass.flac",
    ]  # fmt: skip
    assert np.abs(sum(map(wave, stems)) - wave("x.flac")).max() < 3 / 32768


def test_notes_are_written_as_they_would_be_played(desk, capsys):
    assert music("song.mid -o up.mid --transpose 12 --tempo 2 --json") == 0
    assert json.loads(capsys.readouterr().out)["tracks"] == ["soprano", "alto", "tenor", "bass"]
    assert midi.read("up.mid").tracks[0].notes[1].key == 83
    assert midi.read("up.mid").seconds == pytest.approx(0.2, abs=1e-3)


def test_a_composed_piece_is_played_or_written(desk):
    assert music("--compose --seconds 12 --key 'D minor' --seed 4 --temperature 0.8 -o x.wav") == 0
    assert desk.composed == (12.0, {"seed": 4, "key": "D minor", "temperature": 0.8})
    assert desk.asked == (4, None)
    assert music("--compose -o new.mid") == 0
    assert desk.composed == (30.0, {"seed": 0})
    assert midi.read("new.mid").tracks == midi.read("song.mid").tracks


def test_a_pipe_takes_a_stereo_wav_whose_length_is_open(desk, capsysbinary):
    assert music("song.mid -o -") == 0
    with io.BytesIO(capsysbinary.readouterr().out) as piped:
        samples, rate = soundfile.read(piped)
    assert rate == 44_100 and samples.shape == (round(0.45 * 44_100), 2)


@pytest.mark.skipif(sys.platform == "win32", reason="the player is a shell script")
@pytest.mark.parametrize("player", ["aplay", "paplay"])
def test_the_player_of_the_machine_plays_it(player, desk, tmp_path, monkeypatch):
    program = tmp_path / player
    program.write_text(f'#!/bin/sh\nif [ -f "$1" ]; then cat "$1"; else cat; fi > {tmp_path}/played\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr("fastwave.serving.sound_card.has_device", lambda: False)
    monkeypatch.setattr(players.shutil, "which", lambda name: name if name == player else None)
    assert music("song.mid --play") == 0
    assert len((tmp_path / "played").read_bytes()) == 44 + 4 * round(0.45 * 44_100)


def test_what_is_left_out_is_said(desk, capsys):
    content = make_midi(track((0, program(40)), (0, on()), (9, off()), (0, on(36, channel=9)), (9, off(36, 9))))
    with open("drums.mid", "wb") as file:
        file.write(content)
    assert music("drums.mid -o x.wav") == 0
    error = capsys.readouterr().err
    assert "fastwave: drums are left out: 1 note on channel 10." in error
    assert "fastwave: played by a relative: violin (by strings)." in error
    assert music("drums.mid -o x.wav --quiet") == 0
    assert capsys.readouterr().err == ""


def test_what_was_played_before_an_interruption_is_saved(desk, monkeypatch):
    class Interrupted(SineBand):
        def stream(self, *arguments):
            yield next(super().stream(*arguments))
            raise KeyboardInterrupt

    monkeypatch.setattr(bands, "load_folder", lambda folder: Interrupted())
    assert music("song.mid -o x.wav") == 130
    assert soundfile.info("x.wav").frames == 4410


def test_instruments_are_listed_without_loading_one(desk, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(bands, "load_folder", lambda folder: pytest.fail("loaded"))
    assert music("--list-instruments") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["instrument", "band", "licence", "description"]
    assert lines[1].split() == ["flute", "chamber", "MIT", "sines"]
    assert music("--list-instruments --json") == 0
    assert json.loads(capsys.readouterr().out)[3]["name"] == "organ"
    monkeypatch.setattr(bands, "BUNDLED", tmp_path / "nowhere")
    assert music("--list-instruments") == 0
    assert "no bundled instruments" in capsys.readouterr().err
    assert music("song.mid -o x.wav") == 1
    assert "no bundled instruments: name a folder of them with --instrument FOLDER" in capsys.readouterr().err
    assert music("song.mid -o y.mid --tempo 2") == 0  # notes need no instrument


MISTAKES = [
    ("", "say what to play: FILE.mid, or --compose"),
    ("song.mid", "say where the music goes: -o FILE.wav"),
    ("song.mid -o x.wav --play", "give -o FILE or --play, not both"),
    ("sonk.mid -o x.wav", "sonk.mid: there is no such file | Did you mean 'song.mid'?"),
    ("folder -o x.wav", "folder is a folder or a device"),
    ("poem.mid -o x.wav", "poem.mid is not a MIDI file: it is a text"),
    ("drums.mid -o x.wav", "there is nothing to play. Drums are left out: 1 note on channel 10."),
    ("empty.mid -o x.wav", "there is nothing to play. It holds no notes."),
    ("empty.mid -o y.mid", "there is nothing to write"),
    ("trumpet.mid -o x.wav", "there is nothing to play. | like trumpet: name an instrument to play all tracks"),
    ("long.mid -o x.wav", "lasts 24.0 hours, 6 are the most"),
    ("song.mid -o x.xyz", "suffix '.xyz': use .wav, .flac, .ogg, .mp3, or .mid"),
    ("song.mid -o folder", "cannot write folder: it is a folder"),
    ("song.mid -o nowhere/x.wav", "there is no folder nowhere"),
    ("song.mid -o song.mid --tempo 2", "-o song.mid is the file that is read"),
    ("song.mid -o x.mid --stems parts", "--stems is for sound"),
    ("song.mid -o x.mid --instrument flute", "--instrument is for sound"),
    ("song.mid -o - --json", "standard output takes the sound or JSON, not both"),
    ("song.mid -o - --stems parts", "--stems parts goes with a file: give -o FILE.wav"),
    ("song.mid -o x.wav --stems poem.mid", "--stems poem.mid cannot be made | poem.mid is a file"),
    ("song.mid -o x.wav --instrument flut", "no instrument 'flut' | flute, clarinet, strings, organ | "
                                            "Did you mean 'flute'?"),
    ("song.mid -o x.wav --instrument folder", "folder is a folder, not a band: it lacks instrument.json"),
    ("song.mid -o x.wav --seconds 3", "--seconds belongs to --compose | Use --start and --end"),
    ("song.mid -o x.wav --key C", "--key belongs to --compose"),
    ("song.mid --compose -o x.wav", "give song.mid or --compose"),
    ("song.mid -o x.wav --tempo 0", "tempo must be a number from 0.1 to 10, got '0.0'"),
    ("song.mid -o x.wav --transpose 60", "transpose must be a whole number of keys from -48 to 48"),
    ("song.mid -o x.wav --transpose up", "--transpose | 'up'"),
    ("song.mid -o x.wav --gain 99", "gain must be a number from -60 to 40"),
    ("song.mid -o x.wav --temperature 9", "temperature must be a number from 0 to 2"),
    ("song.mid -o x.wav --sample-rate 8000", "--sample-rate | Choose one of 44100, 48000"),
    ("song.mid -o x.wav --start 1:2:3", "--start | must be seconds, such as 90, or minutes and seconds, 1:30"),
    ("song.mid -o x.wav --start nan", "--start | must be seconds"),
    ("song.mid -o x.wav --start 2 --end 1", "end must lie behind start"),
    ("song.mid -o x.wav --start 99", "the piece lasts 0.4 s: nothing is left from 99 s on"),
    ("song.mid -o x.wav --seed -1", "seed must be an integer 0..2^64-1"),
    ("song.mid -o x.wav --instrumnt flute", "--instrumnt | Did you mean '--instrument'?"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "words"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_answered_by_a_sentence_that_helps(command, words, desk, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(bands, "load_folder", lambda folder: pytest.fail("found after the work"))
    work = tmp_path / "work"
    (work / "folder").mkdir()
    (work / "poem.mid").write_text("a poem")
    (work / "drums.mid").write_bytes(make_midi(track((0, on(channel=9)), (9, off(channel=9)))))
    (work / "empty.mid").write_bytes(make_midi(track()))
    (work / "trumpet.mid").write_bytes(make_midi(track((0, program(56)), (0, on()), (9, off()))))
    write_midi(Piece((Track((Note(86_400, 1, 60),), 73),)), work / "long.mid")
    before = sorted(path.name for path in work.iterdir())
    try:
        status = music(command)
    except SystemExit as stop:  # of argparse
        status = stop.code
    output = capsys.readouterr()
    assert status not in (0, None)
    assert output.err.startswith("fastwave music: ")
    for word in words.split(" | "):
        assert word in output.err
    assert "Traceback" not in output.err and output.out == ""
    assert sorted(path.name for path in work.iterdir()) == before


def test_a_mistake_is_answered_without_torch(tmp_path):
    (tmp_path / "poem.mid").write_text("a poem")
    code = (
        "import sys\nfrom fastwave.cli.main import main\n"
        "for more in (['poem.mid'], ['nowhere.mid'], ['poem.mid', '--tempo', '99'], ['--list-instruments']):\n"
        "    main(['music', *more, '-o', 'x.mid'])\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)
