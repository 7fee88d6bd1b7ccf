"""`fastwave speak`: every option does what its help says, and a mistake is answered by a sentence that helps."""

import io
import json
import shlex
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import fastwave
import fastwave.speech.text as english
from fastwave import InputError
from fastwave.cli import player as players
from fastwave.cli import speak_output
from fastwave.cli.main import main
from fastwave.sound import audio, streaming
from fastwave.speech.voice import Voice
from small_voice import make_voice

TEXT = "Good morning, the kettle is on. Is it? Yes."


class Input:
    """Standard input: bytes, from a pipe or a keyboard."""

    def __init__(self, content=b"", keyboard=False):
        self.buffer, self.keyboard = io.BytesIO(content), keyboard

    def isatty(self):
        return self.keyboard


@pytest.fixture(autouse=True)
def no_sound_card(monkeypatch):
    """Programs play here; tests/cli/test_play.py has the sound card."""
    monkeypatch.setattr("fastwave.serving.sound_card.has_device", lambda: False)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with a voice of stand-ins, which every name of a voice loads."""
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "voice.json").write_text(json.dumps({"format": 1, "kind": "voice", "name": "anna"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Voice, "load", classmethod(lambda cls, *_, **__: make_voice()))
    monkeypatch.setattr(sys, "stdin", Input(keyboard=True))
    return tmp_path


def speak(command):
    return main(["speak", "--voice", "anna", *shlex.split(command)])


def sound(path="x.wav"):
    return audio.load(path)[0]


# Where a text comes from


def test_a_text_in_quotes_and_words_without_them_are_said(desk):
    assert speak("'good morning' -o x.wav") == 0
    assert speak("good morning -o y.wav") == 0
    assert (desk / "x.wav").read_bytes() == (desk / "y.wav").read_bytes()
    assert soundfile.info("x.wav").samplerate == 16_000


@pytest.mark.parametrize("command", ["- -o y.wav", "-o y.wav", "-f - -o y.wav", "-f poem.txt -o y.wav"])
def test_a_text_comes_from_a_pipe_or_from_a_file(command, desk, monkeypatch):
    (desk / "poem.txt").write_text(TEXT)
    monkeypatch.setattr(sys, "stdin", Input(TEXT.encode()))
    assert speak(f"{shlex.quote(TEXT)} -o x.wav") == 0
    assert speak(command) == 0
    assert (desk / "x.wav").read_bytes() == (desk / "y.wav").read_bytes()


def test_a_mark_of_byte_order_is_no_text(desk, capsys):
    (desk / "marked.txt").write_bytes(b"\xef\xbb\xbfgood")
    assert speak("-f marked.txt --phonemes") == 0
    assert capsys.readouterr().out == "G AA1 AA1 D .\n"


def test_lines_become_files_that_are_named_after_their_numbers(desk):
    (desk / "lines.txt").write_text("good\n\nmorning\n")
    assert speak("-f lines.txt --lines --output-dir made") == 0
    assert sorted(path.name for path in (desk / "made").iterdir()) == ["0001.wav", "0003.wav"]
    assert speak("morning -o x.wav") == 0
    assert (desk / "made" / "0003.wav").read_bytes() == (desk / "x.wav").read_bytes()


def test_piped_lines_become_files_as_with_piper(desk, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Input(b"good\nmorning\n"))
    assert main(["speak", "-m", "anna", "--output_dir", "made"]) == 0
    assert len(list((desk / "made").iterdir())) == 2


def test_a_folder_of_texts_becomes_a_folder_of_sounds(desk):
    (desk / "texts").mkdir()
    for name in ("b", "a"):
        (desk / "texts" / f"{name}.txt").write_text(f"{name} good\nmorning")
    assert speak("-f texts --output-dir made") == 0
    assert sorted(path.name for path in (desk / "made").iterdir()) == ["a.wav", "b.wav"]
    assert speak("-f texts --lines --output-dir lines") == 0
    assert sorted(path.name for path in (desk / "lines").iterdir()) == [
        "a-0001.wav", "a-0002.wav", "b-0001.wav", "b-0002.wav",
    ]  # fmt: skip


def test_a_line_that_holds_no_words_is_skipped_with_a_note(desk, capsys):
    (desk / "lines.txt").write_text("good\n12345\n")
    assert speak("-f lines.txt --lines --output-dir made") == 0
    assert [path.name for path in (desk / "made").iterdir()] == ["0001.wav"]
    assert "line 2: the text '12345' holds nothing that can be spoken" in capsys.readouterr().err


SSML = '<speak>Good <break time="2s"/> morning. <audio src="x.wav">Yes.</audio></speak>'


def test_ssml_is_heard_and_what_is_left_out_is_noted(desk, monkeypatch, capsys):
    voice = make_voice()
    voice.front = english
    monkeypatch.setattr(Voice, "load", classmethod(lambda cls, *_, **__: voice))
    assert speak(f"--ssml {shlex.quote(SSML)} -o x.wav --json") == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["notes"] == ["<audio> has no effect: its text is spoken"]
    assert "fastwave: <audio> has no effect: its text is spoken" in output.err
    assert speak(f"--ssml {shlex.quote(SSML)} --phonemes") == 0
    assert "G UH1 D _ M AO1 R" in capsys.readouterr().out
    assert speak("--ssml '<speak>Good <b morning' -o y.wav") == 1
    assert "not well-formed XML at line 1, column" in capsys.readouterr().err


# Where the sound goes


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_every_format_is_written(suffix, desk):
    assert speak(f"{shlex.quote(TEXT)} -o x.{suffix}") == 0
    assert abs(len(sound(f"x.{suffix}")) - make_voice()(TEXT).lengths[0]) < 3000


def test_a_pipe_takes_a_wav_whose_length_is_open_and_raw_samples(desk, capsysbinary):
    assert speak(f"{shlex.quote(TEXT)} -o x.wav") == 0
    saved = soundfile.read("x.wav", dtype="int16")[0]
    capsysbinary.readouterr()
    assert speak(f"{shlex.quote(TEXT)} -o -") == 0
    piped = capsysbinary.readouterr().out
    (desk / "piped.wav").write_bytes(piped)
    assert np.array_equal(soundfile.read("piped.wav", dtype="int16")[0], saved)
    assert struct.unpack("<I", piped[40:44]) == (0xFFFFFFFF,)
    for raw in ("--raw", "--output-raw", "--output_raw", "--raw -o -"):
        assert speak(f"{shlex.quote(TEXT)} {raw}") == 0
        assert np.array_equal(np.frombuffer(capsysbinary.readouterr().out, dtype="<i2"), saved)


def test_a_pipe_gets_the_first_sentence_before_the_second_is_made(desk, monkeypatch):
    voice, seen = make_voice(), []

    class Sink(io.BytesIO):
        def write(self, data):
            seen.append(("written", len(data)))
            return super().write(data)

    original = voice.acoustic.frames
    voice.acoustic.frames = lambda *arguments: (seen.append(("made", 0)), original(*arguments))[1]
    streaming.stream(speak_output.Recorder(voice.stream(TEXT)), Sink(), 16_000, raw=True)
    kinds = [kind for kind, _ in seen]
    assert kinds.count("made") == 3
    assert "written" in kinds[kinds.index("made") + 1 : len(kinds) - kinds[::-1].index("made") - 1]


def make_player(folder, name, monkeypatch, status=0):
    """A program that keeps the file that it is given, or else what it is sent."""
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    play = f'if [ -f "$1" ]; then cat "$1"; else cat; fi > {folder}/played'
    program.write_text(f"#!/bin/sh\n{play}\ntouch {folder}/ended\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")


@pytest.mark.parametrize("player", ["aplay", "ffplay", "paplay", "afplay", "pw-play"])
@pytest.mark.skipif(sys.platform == "win32", reason="the players are shell scripts")
def test_the_player_of_the_machine_plays_it(player, desk, monkeypatch):
    monkeypatch.setattr(players.shutil, "which", lambda name: name if name == player else None)
    make_player(desk, player, monkeypatch)
    assert speak("good --play") == 0
    assert speak("good -o x.wav") == 0
    assert (desk / "played").read_bytes()[44:] == (desk / "x.wav").read_bytes()[44:]


def test_a_machine_without_a_player_is_told_what_to_do(desk, monkeypatch, capsys):
    monkeypatch.setattr(players.shutil, "which", lambda name: None)
    monkeypatch.setattr(Voice, "load", classmethod(lambda cls, *_, **__: pytest.fail("found after the work")))
    assert speak("good --play") == 1
    assert (
        "--play needs a player, and none of aplay, ffplay, pw-play, paplay, afplay is here" in capsys.readouterr().err
    )


def test_a_card_that_takes_no_such_rate_leaves_it_to_a_program(desk, monkeypatch):
    def refuses(*_):
        raise fastwave.InputError("no sound device here plays 1 channel at 16000 Hz.")

    monkeypatch.setattr("fastwave.serving.sound_card.has_device", lambda: True)
    monkeypatch.setattr("fastwave.serving.sound_card.SoundCard", refuses)
    monkeypatch.setattr(players.shutil, "which", lambda name: None)
    assert speak("good --play") == 1
    monkeypatch.setattr(players.shutil, "which", lambda name: name if name == "aplay" else None)
    make_player(desk, "aplay", monkeypatch)
    assert speak("good --play") == 0


@pytest.mark.skipif(sys.platform == "win32", reason="the players are shell scripts")
@pytest.mark.parametrize("player", ["aplay", "paplay"])
@pytest.mark.parametrize("parts", [0, 2])
def test_a_text_that_fails_while_it_is_played_is_the_error_that_is_reported(player, parts, desk, monkeypatch):
    """And the player has ended: it must neither wait for more, nor be blamed for what is missing."""
    monkeypatch.setattr(players.shutil, "which", lambda name: name if name == player else None)
    make_player(desk, player, monkeypatch, status=3)

    def blocks():
        for _ in range(parts):
            yield np.full(800, 0.25, np.float32)
        raise fastwave.GenerationError("the network has made a NaN.")

    with pytest.raises(fastwave.GenerationError, match="NaN"):
        players.play(blocks(), 16_000)
    assert (desk / "ended").exists() == (player == "aplay")  # one that plays files is not started with half a file
    if player == "aplay" and parts:
        assert len((desk / "played").read_bytes()) == 44 + 2 * 800 * parts


def test_a_player_that_fails_is_reported(desk, monkeypatch, capsys):
    monkeypatch.setattr(players.shutil, "which", lambda name: name)
    monkeypatch.setattr(players.subprocess, "Popen", lambda *_, **options: subprocess_that_fails(options))
    assert speak("good --play") == 1
    assert "aplay could not play the sound (status 3)" in capsys.readouterr().err


def subprocess_that_fails(options):
    class Failing:
        stdin = io.BytesIO()

        def wait(self):
            return 3

    return Failing()


# What is said about it


def test_timings_name_every_word_and_where_it_stands(desk, capsys):
    assert speak(f"{shlex.quote(TEXT)} -o x.wav --timings words.json") == 0
    words = json.loads((desk / "words.json").read_text())["words"]
    assert [TEXT[word["first_character"] : word["end_character"]] for word in words] == [word["text"] for word in words]
    assert words[0]["phones"][0].keys() == {"symbol", "start", "end"}
    assert all(word["start"] < word["end"] <= len(sound()) / 16_000 for word in words)
    capsys.readouterr()
    assert speak(f"{shlex.quote(TEXT)} -o x.wav --timings -") == 0
    assert json.loads(capsys.readouterr().out)["words"] == words


def test_json_says_what_was_made(desk, capsys):
    assert speak("good morning -o x.wav --json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["output"] == "x.wav" and row["words"] == 2 and row["seconds"] == round(len(sound()) / 16_000, 3)
    (desk / "lines.txt").write_text("good\nmorning\n")
    assert speak("-f lines.txt --lines --output-dir made --json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_phones_are_printed_and_read_again(desk, capsys):
    assert speak("'good morning. hi' --phonemes") == 0
    assert capsys.readouterr().out == "G AA1 AA1 D | M AA1 R N IH1 N G .\nHH IH1 .\n"
    assert speak("'good' --phonemes --json") == 0
    assert json.loads(capsys.readouterr().out) == [{"name": "TEXT", "phones": ["G AA1 AA1 D ."]}]


def test_phones_are_said_as_the_text_that_they_were_made_from(desk):
    assert speak("'good morning' -o x.wav") == 0
    assert speak("'G AA1 AA1 D | M AA1 R N IH1 N G .' --from-phonemes -o y.wav") == 0
    assert (desk / "x.wav").read_bytes() == (desk / "y.wav").read_bytes()


def test_nothing_is_printed_beside_the_sound(desk, capsys):
    assert speak("good -o x.wav --quiet") == 0
    output = capsys.readouterr()
    assert output.out == "" and output.err == ""


def test_voices_are_listed_without_loading_one(desk, capsys, monkeypatch):
    from fastwave.cli import speak as verb
    from fastwave.speech import locate

    (desk / "anna" / "voice.json").write_text(
        json.dumps({"format": 1, "kind": "voice", "name": "anna", "language": "en-US", "licence": "MIT"})
    )
    monkeypatch.setattr(locate, "BUNDLED", desk)
    monkeypatch.setattr(locate, "DEFAULT", "anna")
    assert main(["speak", "--list-voices"]) == 0
    assert "anna" in capsys.readouterr().out
    assert main(["speak", "--list-voices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["licence"] == "MIT"
    assert verb.default_voice() == "anna"
    assert main(["speak", "good", "-o", "x.wav"]) == 0  # the bundled voice speaks where none is named
    monkeypatch.setattr(locate, "BUNDLED", desk / "nowhere")
    assert main(["speak", "--list-voices"]) == 0
    assert "no bundled voice" in capsys.readouterr().err
    assert main(["speak", "good", "-o", "x.wav"]) == 1
    assert "no bundled voice: name the folder of one with --voice" in capsys.readouterr().err


# How it sounds


def test_speed_and_its_inverse_change_the_length(desk):
    assert speak(f"{shlex.quote(TEXT)} -o x.wav --sentence-silence 0") == 0
    length = len(sound())
    for options in ("--speed 2", "--length-scale 0.5", "--length_scale 0.5"):
        assert speak(f"{shlex.quote(TEXT)} -o y.wav --sentence-silence 0 {options}") == 0
        assert len(sound("y.wav")) == pytest.approx(length / 2, rel=0.1)


def test_silence_stands_between_sentences(desk):
    for name, seconds in (("x", 0), ("y", 0.5)):
        assert speak(f"{shlex.quote(TEXT)} -o {name}.wav --sentence-silence {seconds}") == 0
    assert len(sound("y.wav")) - len(sound("x.wav")) == 2 * 8000


def test_volume_and_seed_and_pitch_and_temperature_reach_the_voice(desk):
    assert speak("good -o x.wav") == 0
    for options in ("--volume 0.5", "--seed 5", "--pitch 1.2", "--temperature 0.5"):
        assert speak(f"good -o y.wav {options}") == 0
        assert not np.array_equal(sound("y.wav").numpy(), sound("x.wav").numpy()), options
    assert speak("good -o y.wav --volume 0.5") == 0
    assert float((sound("y.wav") * 2 - sound("x.wav")).abs().max()) < 1e-3


def test_dtype_and_threads_reach_the_engine(desk, monkeypatch):
    asked = {}
    monkeypatch.setattr(Voice, "load", classmethod(lambda cls, name, **options: asked.update(options) or make_voice()))
    assert speak("good -o x.wav --dtype int8 --threads 2") == 0
    assert asked == {"dtype": "int8", "threads": 2}


def test_what_was_made_before_an_interruption_is_saved(desk, monkeypatch, capsys):
    class Interrupted(type(make_voice().vocoder)):
        def stream(self, *arguments):
            yield next(super().stream(*arguments))
            raise KeyboardInterrupt

    voice = make_voice()
    voice.vocoder = Interrupted()
    monkeypatch.setattr(Voice, "load", classmethod(lambda cls, *_, **__: voice))
    assert speak("good morning -o x.wav") == 130
    assert soundfile.info("x.wav").frames == 1000


MISTAKES = [
    ("-o x.wav", "there is nothing to say: give a TEXT in quotes, -f FILE"),
    ("'' -o x.wav", "there is nothing to say: the text is empty. Give words in quotes, or -f FILE"),
    ("'  ' -o x.wav", "there is nothing to say: the text is empty"),
    ("12345 -o x.wav", "the text '12345' holds nothing that can be spoken: give words"),
    ("-f empty.txt -o x.wav", "there is nothing to say: empty.txt is empty. Give a text that holds words"),
    ("-f empty.txt --lines --output-dir y", "there is nothing to say: empty.txt is empty"),
    ("hello", "say where the sound goes: -o FILE.wav | --play"),
    ("hello -f poem.txt -o x.wav", "give TEXT or -f poem.txt, not both"),
    ("-f zzz -o x.wav", "-f zzz: there is no such file. Give a text file, or a folder of .txt files"),
    ("-f poen.txt -o x.wav", "-f poen.txt | Did you mean 'poem.txt'?"),
    ("-f x.wav", "-f x.wav: there is no such file. -f names the text to say; the sound goes to -o FILE"),
    ("-f a.wav -o x.wav", "a.wav is a sound file: -f names the text to say"),
    ("-f latin.txt -o x.wav", "latin.txt is not a text in UTF-8 (byte 3)"),
    ("-f texts -o x.wav", "-f texts is a folder: give --output-dir FOLDER"),
    ("-f empty --output-dir y", "-f empty is a folder without a .txt file"),
    ("-f poem.txt --lines -o x.wav", "--lines makes a file of every line: give --output-dir FOLDER"),
    ("hello -o nowhere/x.wav", "cannot write nowhere/x.wav: there is no folder nowhere"),
    ("hello -o textz/x.wav", "no folder textz | Did you mean 'texts'?"),
    ("hello -o texts", "cannot write texts: it is a folder"),
    ("hello -o x.xyz", "x.xyz | '.xyz' | .wav, .flac, .ogg, .mp3"),
    ("hello -o x", "suffix '' | .wav, .flac"),
    ("hello -o x.wav --play", "give one of -o x.wav and --play, not both"),
    ("hello -o x.wav --play --phonemes", "give one of -o x.wav and --play and --phonemes, not all of them"),
    ("hello -o x.wav --raw", "--raw writes samples to standard output: leave out -o x.wav"),
    ("hello -o - --json", "standard output takes the sound or JSON, not both"),
    ("hello -o - --timings -", "standard output takes the sound or JSON, not both"),
    ("hello --output-dir poem.txt", "--output-dir poem.txt cannot be made | poem.txt is a file"),
    ("hello -o x.wav --timings nowhere/w.json", "cannot write nowhere/w.json: there is no folder nowhere"),
    ("-f poem.txt --output-dir y --timings w.json", "--timings w.json belongs to one sound"),
    ("hello -o x.wav --speed 0", "speed must be a number from 0.25 to 4, got '0.0'"),
    ("hello -o x.wav --speed 9", "speed must be a number from 0.25 to 4"),
    ("hello -o x.wav --speed fast", "argument --speed: must be a number, got 'fast'"),
    ("hello -o x.wav --pitch abc", "argument --pitch: must be a number, got 'abc'"),
    ("hello -o x.wav --speed nan", "speed must be a number from 0.25 to 4, got 'nan'"),
    ("hello -o x.wav --speed 2 --length-scale 2", "give --speed or --length-scale, its inverse, not both"),
    ("hello -o x.wav --length-scale 0", "--length-scale must be a number from 0.25 to 4, got 0"),
    ("hello -o x.wav --length-scale 0.01", "--length-scale must be a number from 0.25 to 4, got 0.01"),
    ("hello -o x.wav --length-scale nan", "--length-scale must be a number from 0.25 to 4, got nan"),
    ("hello -o x.wav --pitch 3", "pitch must be a number from 0.5 to 2, got '3.0'"),
    ("hello -o x.wav --volume -1", "volume must be a number from 0 to 10, got '-1.0'"),
    ("hello -o x.wav --sentence-silence -1", "sentence_silence must be a number from 0 to 60"),
    ("hello -o x.wav --temperature 5", "temperature must be a number from 0 to 2, got '5.0'"),
    ("hello -o x.wav --seed -1", "seed must be an integer 0..2^64-1, got '-1'"),
    ("hello -o x.wav --seed x", "argument --seed: must be a whole number, got 'x'"),
    ("hello -o x.wav --seed 1.5", "argument --seed: must be a whole number, got '1.5'"),
    ("hello -o x.wav --threads 0", "--threads | at least 1"),
    ("hello -o x.wav --dtype int9", "--dtype | 'int9' | Did you mean 'int8'?"),
    ("hello -o x.wav --voices anna", "--voices | Did you mean '--voice'?"),
    ("hello -o x.wav --ssml --from-phonemes", "the text is SSML or phones, not both"),
    ("hello --phonemes --from-phonemes", "--from-phonemes gives phones already"),
    ("hello -o x.wav --voice ana", "there is no voice 'ana' | a folder that holds voice.json | Did you mean 'anna'?"),
    ("hello -o x.wav --voice texts", "texts is a folder without a voice | --list-voices"),
    ("hello -o x.wav --voice pluck", "pluck is a model without words, not a voice: `fastwave generate pluck`"),
    ("hello -o x.wav --voice poem.txt", "poem.txt is a file, not a voice"),
    ("hello -o x.wav -m voice.onnx", "there is no voice 'voice.onnx'"),
    ("hello -o x.wav --voice model", "model is a model without words, not a voice"),
]


@pytest.mark.parametrize(("command", "words"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_answered_by_a_sentence_that_helps(command, words, desk, capsys):
    (desk / "poem.txt").write_text("a poem")
    (desk / "latin.txt").write_bytes("caf\xe9 au lait".encode("latin-1"))
    (desk / "empty.txt").write_text(" \n")
    (desk / "a.wav").write_bytes(b"RIFF")
    (desk / "texts").mkdir()
    (desk / "texts" / "a.txt").write_text("a")
    (desk / "empty").mkdir()
    (desk / "model").mkdir()
    (desk / "model" / "config.json").write_text("{}")
    before = sorted(path.name for path in desk.iterdir())
    try:
        status = speak(command)
    except SystemExit as stop:  # of argparse
        status = stop.code
    output = capsys.readouterr()
    assert status not in (0, None)
    assert output.err.startswith("fastwave speak: ")
    for word in words.split(" | "):
        assert word in output.err
    assert "Traceback" not in output.err and output.out == ""
    assert sorted(path.name for path in desk.iterdir()) == before


def test_a_pipe_that_ends_early_is_no_error_of_ours(desk, monkeypatch):
    class Closed(io.BytesIO):
        def write(self, data):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        streaming.stream(speak_output.Recorder(make_voice().stream(TEXT)), Closed(), 16_000, raw=True)


def test_a_bad_option_is_answered_without_torch(tmp_path):
    code = (
        "import sys\nfrom fastwave.cli.main import main\n"
        "status = main(['speak', 'hello', '-o', 'x.wav', '--speed', '9'])\n"
        "assert status == 1 and 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)


def test_errors_of_the_voice_before_the_first_sample_leave_no_file(desk, monkeypatch, capsys):
    voice = make_voice()

    def refuse(*_):
        raise InputError("the voice is hoarse.")

    voice.acoustic.frames = refuse
    monkeypatch.setattr(Voice, "load", classmethod(lambda cls, *_, **__: voice))
    assert speak("good -o x.wav") == 1
    assert "the voice is hoarse" in capsys.readouterr().err
    assert not (desk / "x.wav").exists()
