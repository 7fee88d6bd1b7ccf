"""From recordings and texts to a voice by one call, also after interruptions, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from banded_speech import spoken, symbols_of
from fastwave.cli.main import main
from fastwave.errors import InputError
from fastwave.speech import corpus, preparation, training
from fastwave.speech.acoustic import training as acoustic_training
from fastwave.speech.acoustic.data import Utterances
from fastwave.speech.analysis import HOP
from fastwave.speech.text import sentences
from fastwave.speech.voice import Voice
from fastwave.training.loop import Loop
from fastwave.vocoder import vocoder
from small_runs import verbs_of
from spoken_sentences import SMALL

WORDS = (
    "kettle morning seven silver tomorrow garden window paper yellow river mountain little table under music".split()
)
CONFIG = vocoder.config(residual_channels=4, skip_channels=8, head_channels=8, dilations=(1, 2, 4))
QUICK = {
    "steps": 2, "warmup": 1, "validate_every": 2, "sample_every": 2, "save_every": 1, "log_every": 1, "average": 0.9,
    "sample_seconds": 0.05, "validation_targets": 1_600, "shape": SMALL, "config": CONFIG, "progress": False,
}  # fmt: skip


def make_recordings(folder, count=20):
    """LJSpeech's layout; the last text is that of another sound."""
    (folder / "wavs").mkdir(parents=True)
    lines = []
    for number in range(count):
        draw = np.random.default_rng(number)
        said, written = (" ".join(draw.choice(WORDS, 4)).capitalize() + "." for _ in range(2))
        wave, _ = spoken(symbols_of(*sentences(said)), draw)
        soundfile.write(folder / "wavs" / f"r{number:02}.wav", wave, 16_000)
        lines.append(f"r{number:02}|{written if number == count - 1 else said}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_recordings(tmp_path_factory.mktemp("recordings") / "data")


@pytest.fixture(scope="module")
def out(data, tmp_path_factory):
    """A voice that nothing interrupted."""
    folder = tmp_path_factory.mktemp("voice") / "anna"
    training.train_voice(data, folder, speaker="Anna", **QUICK)
    return folder


def test_recordings_become_a_voice_that_speaks(out):
    voice = Voice.load(out)
    assert (voice.description.name, voice.description.speaker) == ("anna", "Anna")
    assert voice("Good morning.").lengths[0] > 1_000
    assert len(list((out / "samples").glob("*.wav"))) == len(training.SENTENCES)


def test_the_page_has_sentences_runs_and_what_was_left_out(out):
    page = (out / "report.html").read_text()
    assert page.count("<audio") == len(training.SENTENCES)
    assert page.count("runs/acoustic/") == 3 and "runs/vocoder/report.html" in page
    assert "1 recordings left out" not in page and "1 recording left out" in page and "r19" in page


def test_a_recording_of_another_text_is_left_out(out):
    summary = json.loads((out / "runs/data/prepared.json").read_text())
    assert list(summary["left_out"]) == ["r19"] and summary["sentences"] == 19


def test_durations_fill_the_sounds_and_one_recording_is_held_out(out):
    utterances = Utterances.read(out / "runs/data")  # refuses durations that do not fit
    assert (len(utterances.training), len(utterances.held_out)) == (18, 1)
    assert all(each.durations[0] <= preparation.BEFORE for each in utterances.training)
    assert all(each.durations[-1] <= preparation.AFTER for each in utterances.training)


def test_a_sentence_keeps_the_silence_just_before_it(out):
    for path in (out / "runs/data/wavs").iterdir():
        wave, _ = soundfile.read(path)
        silence = preparation.BEFORE * HOP
        assert np.abs(wave[: silence - 2 * HOP]).max() < 0.02 < np.abs(wave[silence : silence + 2 * HOP]).max()


def contents(folder):
    """What a voice is made of."""
    names = ["voice.json", "acoustic.safetensors", "wavenet/model.safetensors", "runs/data/utterances.jsonl"]
    return {name: (folder / name).read_bytes() for name in names}


class Killed(BaseException):
    """Not an error that anything handles."""


PLACES = [
    (preparation, "_written", 7),  # in the midst of the preparation
    (acoustic_training, "run_part", 2),  # between two networks
    (training.vocoder_training, "train", 1),  # before the WaveNet
    (Loop, "_one_step", 2),  # in the midst of its training
    (training, "write_report", 1),  # when all but the page is there
]


def killed_at(module, name, call, monkeypatch, run):
    """Run until a function is called so many times."""
    real, calls = getattr(module, name), []

    def count(*arguments, **options):
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, count)
        with pytest.raises(Killed):
            run()


def test_a_killed_training_goes_on_and_ends_with_the_same_voice(data, out, tmp_path, monkeypatch):
    folder = tmp_path / "anna"

    def run():
        training.train_voice(data, folder, speaker="Anna", **QUICK)

    for module, name, call in PLACES:
        killed_at(module, name, call, monkeypatch, run)
    run()
    assert contents(folder) == contents(out)


def test_stages_that_are_done_are_not_done_again(data, out, monkeypatch):
    before = contents(out)
    for module, name in [(preparation, "align"), (acoustic_training, "train"), (training.vocoder_training, "train")]:
        monkeypatch.setattr(module, name, lambda *arguments, **options: pytest.fail("done again"))
    training.train_voice(data, out, speaker="Anna", **QUICK)
    assert contents(out) == before


@pytest.mark.parametrize(("minutes", "said"), [(30.0, True), (90.0, False), (None, False)])
def test_other_minutes_for_a_begun_voice_are_said_to_change_nothing(tmp_path, monkeypatch, capsys, minutes, said):
    def begin(minutes):
        with pytest.raises(Killed):
            training.train_voice(tmp_path / "data", tmp_path / "anna", minutes, progress=False)

    def killed(runs, plan, *others):
        plans.append(plan)
        raise Killed

    plans = []
    monkeypatch.setattr(training, "prepare", lambda *arguments: preparation.Prepared(20, 100.0, {}))
    monkeypatch.setattr(training, "_acoustic", killed)
    begin(None)
    begin(minutes)
    assert [plan.minutes for plan in plans] == [90.0, 90.0] and plans[0] == plans[1]
    notes = capsys.readouterr().err
    assert ("planned for 90 minutes, and that plan goes on: 30 minutes change nothing" in notes) == said == bool(notes)
    (tmp_path / "anna" / training.RUNS / training.PLAN).unlink()  # as the note advises
    begin(30.0)
    assert plans[2].minutes == 30.0


def test_a_stage_that_was_removed_is_done_again(data, out, tmp_path, capsys):
    folder = tmp_path / "anna"
    shutil.copytree(out, folder)
    shutil.rmtree(folder / "runs/vocoder")
    (folder / "runs/acoustic/pitch/pitch.safetensors").unlink()
    capsys.readouterr()
    training.train_voice(data, folder, speaker="Anna", **{**QUICK, "progress": True})
    shown = capsys.readouterr().err
    assert "step 2 of 2" in shown and verbs_of(shown) == {"voice"}
    assert contents(folder) == contents(out)


def test_other_recordings_are_refused(data, out, tmp_path):
    other = tmp_path / "data"
    shutil.copytree(data, other)
    (other / "metadata.csv").write_text((data / "metadata.csv").read_text().replace("r00|", "r00|Oh "))
    with pytest.raises(InputError, match="not those that the voice"):
        training.train_voice(other, out, **QUICK)


def test_known_durations_and_f0_are_used_as_they_are(out, tmp_path):
    """The prepared folder of a voice has the layout of a teacher's data."""
    known = tmp_path / "known"
    shutil.copytree(out / "runs/data", known)
    np.save(known / "f0" / "00003.npy", np.full_like(np.load(known / "f0" / "00003.npy"), 123.0))
    place = tmp_path / "voice" / "runs" / "data"
    prepared = preparation.prepare(known, place, lambda sentence: None)
    assert prepared.sentences == 19
    assert (place / "utterances.jsonl").read_text() == (known / "utterances.jsonl").read_text()
    assert set(np.load(place / "f0" / "00003.npy")) == {123.0}


# Layouts


def pair_files(folder, **texts):
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        path = folder / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.zeros(800), 16_000)
        if text is not None:
            path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return folder


def test_a_text_may_lie_beside_each_sound(tmp_path):
    folder = pair_files(tmp_path / "d", b="Two.", a="\ufeffOne.", c=None)
    (folder / "lonely.txt").write_text("Nobody.")
    pairs, left_out = corpus.read(folder)
    assert [(pair.name, pair.text, pair.sound.name) for pair in pairs] == [
        ("a", "One.", "a.wav"),
        ("b", "Two.", "b.wav"),
    ]
    assert left_out == {"c": "it has no text", "lonely": "there is no sound of this name"}


def test_a_table_has_names_with_or_without_suffix_and_may_have_words_in_a_third_column(tmp_path):
    folder = pair_files(tmp_path / "d", a=None, b=None, c=None)
    (folder / "metadata.csv").write_text("a|In 1999|In nineteen ninety nine\nwavs/b.wav|Two\n\nc|Three|\n")
    assert {pair.name: pair.text for pair in corpus.read(folder).pairs} == {
        "a": "In nineteen ninety nine", "b": "Two", "c": "Three",
    }  # fmt: skip


# Mistakes: what a user does to a folder of recordings, and words of the message


def no_texts(folder):
    (folder / "metadata.csv").unlink()


def no_sounds(folder):
    shutil.rmtree(folder / "wavs")


def other_names(folder):
    (folder / "metadata.csv").write_text("x1|Hello.\nx2|You.\n")


def no_columns(folder):
    (folder / "metadata.csv").write_text("r00 Hello.\n")


def twice(folder):
    (folder / "metadata.csv").write_text("r00|Hello.\nr00|You.\n")


def latin(folder):
    (folder / "metadata.csv").write_bytes(b"r00|Caf\xe9.\n")


def few(folder):
    for path in sorted((folder / "wavs").iterdir())[3:]:
        path.unlink()


def unspeakable(folder):
    (folder / "metadata.csv").write_text("".join(f"r{number:02}|* * *\n" for number in range(20)))


def shifted(folder):
    lines = [line.split("|") for line in (folder / "metadata.csv").read_text().splitlines()]
    names = [name for name, _ in lines]
    texts = [text for _, text in lines[5:] + lines[:5]]
    (folder / "metadata.csv").write_text("".join(f"{a}|{b}\n" for a, b in zip(names, texts, strict=True)))


def damaged(folder):
    for path in (folder / "wavs").iterdir():
        path.write_bytes(b"not a sound")


MISTAKES = [
    (no_texts, "20 sounds, but no text | metadata.csv"),
    (no_sounds, "holds no sounds | NAME.txt"),
    (other_names, "'x1' | 'r00' | same name"),
    (no_columns, "line 1 | NAME|TEXT"),
    (twice, "line 2 | second one of 'r00'"),
    (latin, "UTF-8"),
    (few, "3 recordings | too little to learn from | half an hour"),
    (unspeakable, "0 recordings | nothing that can be spoken"),
    (shifted, "belong together"),
    (damaged, "0 recordings | not a wav"),
]


@pytest.mark.parametrize(("mistake", "words"), MISTAKES, ids=[mistake.__name__ for mistake, _ in MISTAKES])
def test_a_mistake_in_the_data_is_explained(data, tmp_path, capsys, mistake, words):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    mistake(folder)
    assert main(["voice", "train", str(folder), "--out", str(tmp_path / "v"), "--steps", "2", "--quiet"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("fastwave voice: ") and "Traceback" not in message
    for word in words.split(" | "):
        assert word in message


COMMANDS = [
    ("voice train nowhere --out v", "nowhere does not exist"),
    ("voice train DATA/metadata.csv --out v", "is a file: give a folder"),
    ("voice train DATA --out DATA/metadata.csv", "is a file"),
    ("voice train DATA --out DATA/voice", "lies in the folder of the recordings"),
    ("voice train DATA", "--out"),
    ("voice train DATA --out v --minutes 0", "above 0"),
    ("voice train DATA --out v --steps 0", "at least 1"),
    ("voice trian DATA --out v", "Did you mean 'train'?"),
]


@pytest.mark.parametrize(("command", "words"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_mistake_in_the_command_is_explained(data, tmp_path, monkeypatch, capsys, command, words):
    monkeypatch.chdir(tmp_path)
    try:
        status = main([word.replace("DATA", str(data)) for word in command.split()])
    except SystemExit as error:
        status = error.code
    assert status != 0 and words in capsys.readouterr().err
    assert not Path("v").exists()
