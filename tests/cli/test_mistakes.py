"""What a new user gets wrong, a row each: no traceback, a status that is not 0, and a message that says what was asked
for, what there is, and what to do.
"""

import json
import shlex

import numpy as np
import pytest
import soundfile
import torch

from fastwave import WaveNet, WaveNetConfig
from fastwave.cli.main import main
from small_runs import make_config, make_data, make_settings, make_sound, train_wavenet

TINY = {"residual_channels": 4, "skip_channels": 4, "dilations": (1, 2), "classes": 16}


def save_model(folder, **fields):
    torch.manual_seed(0)
    WaveNet(WaveNetConfig(**{**TINY, **fields}), backend="reference").save_pretrained(folder)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder such as a new user has: models of every kind, sounds, and files that are not what they seem."""
    folder = tmp_path_factory.mktemp("desk")
    make_sound(folder / "sounds", files=3)
    make_sound(folder / "few", files=3, seconds=0.01)
    make_sound(folder / "voices" / "anna", files=2)
    make_sound(folder / "voices" / "bert", files=2)
    save_model(folder / "tones")
    save_model(folder / "poet", codec="bytes", classes=256, sample_rate=0)
    save_model(folder / "vocoder", condition_channels=8, hop=64, features={"kind": "mel", "bands": 8})
    save_model(folder / "follower", condition_channels=3, hop=64, features={"kind": "array", "channels": 3})
    save_model(folder / "choir", speakers=2, speaker_channels=2, condition_channels=2, speaker_names=("anna", "bert"))
    save_model(folder / "numbers", speakers=2, speaker_channels=2, condition_channels=2)
    train_wavenet(make_data(folder / "work"), folder / "run", make_config(), make_settings(steps=4, save_every=4))
    soundfile.write(folder / "a.wav", np.zeros(800), 16_000)
    soundfile.write(folder / "b.wav", np.zeros(800), 8_000)
    (folder / "fake.wav").write_bytes(b"not sound at all")
    (folder / "fake.npy").write_bytes(b"RIFF not an array")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "poem.txt").write_text("a poem " * 20)
    (folder / "notes.pdf").write_bytes(b"%PDF")
    (folder / "empty").mkdir()
    np.save(folder / "c.npy", np.zeros((30, 5)))
    np.save(folder / "short.npy", np.zeros((2, 3)))
    for name in ("other.pth", "other.ckpt", "other.pt", "other.onnx", "other.safetensors"):
        (folder / name).write_bytes(b"PK\x03\x04")
    (folder / "foreign").mkdir()
    (folder / "foreign" / "config.json").write_text(json.dumps({"model_type": "wav2vec2", "architectures": ["X"]}))
    (folder / "weights").mkdir()
    (folder / "weights" / "best.pth").write_bytes(b"PK\x03\x04")
    (folder / "begun").mkdir()
    (folder / "begun" / "run.json").write_text("{}")
    (folder / "torn").mkdir()
    (folder / "torn" / "config.json").write_text('{"format": 1, ')
    return folder


# The command line, and words of the message
MISTAKES = [
    # no verb, or a misspelt one
    ("", "VERB"),
    ("genrate", "'genrate' | Did you mean 'generate'? | Choose one of generate, play, copy, process, train"),
    ("trian sounds --out r", "'trian' | Did you mean 'train'?"),
    ("sing a.wav", "'sing' | Choose one of"),
    ("model", "'model' | Did you mean 'models'?"),
    ("Generate -o x.wav", "'Generate' | Did you mean 'generate'?"),
    ("preset", "'preset' | Did you mean 'presets'?"),
    ("help", "'help' | Choose one of"),
    ("a.wav", "'a.wav' | Choose one of generate"),
    # misspelt options
    ("generate --secnds 3 -o x.wav", "--secnds | Did you mean '--seconds'? | generate --help"),
    ("generate --ouput x.wav", "--ouput | Did you mean '--output'?"),
    ("generate --temprature 0.5 -o x.wav", "--temprature | Did you mean '--temperature'?"),
    ("generate --topk 5 -o x.wav", "--topk | Did you mean '--top-k'?"),
    ("generate --top_p 0.5 -o x.wav", "--top_p | Did you mean '--top-p'?"),
    ("generate --speeker anna -o x.wav", "--speeker | Did you mean '--speaker'?"),
    ("generate --primetext hello -o x.wav", "--primetext | Did you mean '--prime-text'?"),
    ("generate --Seed=3 -o x.wav", "--Seed | Did you mean '--seed'?"),
    ("train sounds --uot r", "--uot | Did you mean '--out'?"),
    ("train sounds --out r --minute-s 5", "--minute-s | Did you mean '--minutes'?"),
    ("train sounds --out r --lr 0.1", "there is no option --lr | train --help"),
    ("train sounds --out r --learning_rate 0.1", "--learning_rate | Did you mean '--learning-rate'?"),
    ("train sounds --out r --batchsize 4", "--batchsize | Did you mean '--batch"),
    ("train sounds --out r --epochs 5", "there is no option --epochs"),
    ("prepare sounds --ouut d", "--ouut | Did you mean '--out'?"),
    ("score tones a.wav --jsn", "--jsn | Did you mean '--json'?"),
    ("info tones --jason", "--jason | Did you mean '--json'?"),
    ("bench --repeat-s 3", "--repeat-s | Did you mean '--repeats'?"),
    ("doctor --quite", "--quite | Did you mean '--quiet'?"),
    ("generate -0 x.wav", "unrecognized arguments: x.wav"),
    # values of the wrong kind
    ("generate -o x.wav --seconds 0", "--seconds | above 0 | '0'"),
    ("generate -o x.wav --seconds -1", "--seconds | above 0 | '-1'"),
    ("generate -o x.wav --seconds three", "--seconds | above 0 | 'three'"),
    ("generate -o x.wav --seconds nan", "--seconds | above 0 | 'nan'"),
    ("generate -o x.wav --seconds inf", "--seconds | above 0 | 'inf'"),
    ("generate -o x.wav --seconds 1,5", "--seconds | above 0 | '1,5'"),
    ("generate -o x.wav --samples 0", "--samples | at least 1 | '0'"),
    ("generate -o x.wav --samples 1.5", "--samples | whole number | '1.5'"),
    ("generate -o x.wav --seconds 1 --samples 5", "--samples | --seconds"),
    ("generate -o x.wav --batch 0", "--batch | at least 1 | '0'"),
    ("generate -o x.wav --batch -2", "--batch | at least 1 | '-2'"),
    ("generate -o x.wav --seed x", "--seed | 'x'"),
    ("generate -o x.wav --seed -1", "seed | 0..2^64-1 | -1"),
    ("generate -o x.wav --temperature hot", "--temperature | 'hot'"),
    ("generate -o x.wav --temperature -1", "temperature | -1"),
    ("generate -o x.wav --temperature nan", "temperature | nan"),
    ("generate -o x.wav --top-k 0", "--top-k | at least 1 | '0'"),
    ("generate -o x.wav --top-p 0", "top_p"),
    ("generate -o x.wav --top-p 2", "top_p"),
    ("generate -o x.wav --threads 0", "--threads | at least 1"),
    ("generate -o x.wav --threads many", "--threads | whole number | 'many'"),
    ("generate -o x.wav --backend cup", "--backend | 'cup' | Did you mean 'cpu'?"),
    ("generate -o x.wav --backend triton", "--backend | 'triton' | Choose one of auto, reference, cpu, cuda"),
    ("generate -o x.wav --dtype float23", "--dtype | 'float23' | Did you mean 'float32'?"),
    ("generate -o x.wav --dtype bf16", "--dtype | 'bf16' | Did you mean 'bfloat16'?"),
    ("generate -o x.wav --save-every 0", "--save-every 0 | above 0"),
    ("generate poet --save-every 5", "--save-every 5 | -o FILE"),
    ("bench --repeats 0", "--repeats | at least 1 | '0'"),
    ("bench --samples 0", "--samples | at least 1"),
    ("bench --batch none", "--batch | whole number | 'none'"),
    ("train sounds --out r --steps many", "--steps | 'many'"),
    ("train sounds --out r --steps 0", "steps must be at least 1, got 0"),
    ("train sounds --out r --learning-rate 0", "learning_rate must be above 0"),
    ("train sounds --out r --minutes -5", "minutes must be above 0"),
    # models that are none
    ("generate pluk -o x.wav", "no checkpoint folder at pluk | Did you mean 'pluck'?"),
    ("generate tonse -o x.wav", "no checkpoint folder at tonse | Did you mean 'tones'?"),
    ("generate /nowhere/at/all -o x.wav", "no checkpoint folder at /nowhere/at/all | config.json | pluck"),
    ("generate other.pth -o x.wav", "other.pth | another program (PyTorch) | fastwave train"),
    ("generate other.pt -o x.wav", "other.pt | another program (PyTorch) | save_pretrained"),
    ("generate other.ckpt -o x.wav", "other.ckpt | another program | fastwave train"),
    ("info other.onnx", "other.onnx | ONNX"),
    ("info other.safetensors", "safetensors file of another program"),
    ("generate a.wav -o x.wav", "a.wav is a sound file, not a fastwave model"),
    ("score a.wav tones", "a.wav is a sound file, not a fastwave model"),
    ("info foreign", "model of another program | model_type wav2vec2 | fastwave train"),
    ("info weights", "model of another program (PyTorch)"),
    ("generate sounds -o x.wav", "holds sound or text, not a model | fastwave train sounds --out RUN"),
    ("info run/data", "no checkpoint folder at run/data"),
    ("info work/data", "holds prepared data, not a model | fastwave train work/data"),
    ("info begun", "has saved no model yet | resume"),
    ("info run/checkpoints", "holds the steps of a training run | step-00000004.safetensors"),
    ("info empty", "empty is no checkpoint: it lacks config.json"),
    ("info torn", "torn/config.json | not valid JSON"),
    ("generate --untrained smal -o x.wav", "'smal' | choose one of ref, small | Did you mean 'small'?"),
    ("generate tones --untrained small -o x.wav", "MODEL or --untrained PRESET, not both"),
    ("doctor nowhere", "no checkpoint folder at nowhere"),
    ("bench nowhere", "no checkpoint folder at nowhere"),
    # outputs that cannot be written
    ("generate", "makes sound: give -o FILE.wav"),
    ("generate tones -o nowhere/x.wav", "cannot write nowhere/x.wav: there is no folder nowhere"),
    ("generate tones -o soundz/x.wav", "no folder soundz | Did you mean 'sounds'?"),
    ("generate tones -o sounds", "cannot write sounds: it is a folder"),
    ("generate tones -o /dev/null", "cannot write /dev/null: it is a device"),
    ("generate tones -o x.xyz", "x.xyz | '.xyz' | .wav, .flac, .ogg, .mp3"),
    ("generate tones -o x", "suffix '' | .wav, .flac"),
    ("generate tones -o a.wav/x.wav", "there is no folder a.wav"),
    ("generate tones -o - --batch 2 --samples 5", "one stream, not 2"),
    # primes and conditions
    ("generate tones -o x.wav --prime nowhere.wav", "--prime nowhere.wav: there is no such file"),
    ("generate tones -o x.wav --prime aa.wav", "--prime aa.wav | Did you mean 'a.wav'?"),
    ("generate tones -o x.wav --prime sounds", "--prime sounds is a folder"),
    ("generate tones -o x.wav --prime fake.wav", "fake.wav | not a wav, flac, ogg or mp3 file"),
    ("generate tones -o x.wav --prime empty.wav", "empty.wav"),
    ("generate tones -o x.wav --prime-text hello", "--prime-text is for models of text"),
    ("generate poet --prime poem.txt --prime-text hello", "--prime or --prime-text, not both"),
    ("generate poet --include-prime", "--include-prime needs a prime"),
    ("generate poet --seconds 3", "has no seconds: give samples="),
    ("generate tones -o x.wav --condition a.wav", "takes no local features"),
    ("generate tones -o x.wav --condition nowhere.wav", "--condition nowhere.wav: there is no such file"),
    ("generate vocoder -o x.wav", "conditioned: give condition="),
    ("generate vocoder -o x.wav --condition c.npy", "condition must have shape | 30, 5]"),
    ("generate vocoder -o x.wav --condition fake.npy", "fake.npy as a .npy array: its first bytes"),
    ("generate vocoder -o x.wav --condition fake.wav", "fake.wav | not a wav, flac, ogg or mp3 file"),
    ("generate vocoder -o x.wav --condition a.wav --seconds 9", "frames of 64 samples | give at least"),
    ("generate follower -o x.wav --condition a.wav", "brought as arrays | .npy array of floats [frames, 3]"),
    ("generate follower -o x.wav --condition short.npy --samples 999", "2 frames | at least 16 frames"),
    # speakers
    ("generate choir -o x.wav", "needs to know the speaker"),
    ("generate choir -o x.wav --speaker ana", "'ana' is not known | anna, bert | Did you mean 'anna'?"),
    ("generate choir -o x.wav --speaker 7", "speaker ids must be 0..1, got [7]"),
    ("generate numbers -o x.wav --speaker anna", "'anna' is not known | numbers, not names"),
    ("generate tones -o x.wav --speaker anna", "knows no speakers"),
    # scoring
    ("score tones", "required: FILE"),
    ("score tones nowhere.wav", "nowhere.wav: there is no such file"),
    ("score vocoder a.wav b.wav --condition a.wav", "--condition a.wav belongs to one sound, but 2 files"),
    ("score tones fake.wav", "fake.wav | not a wav, flac, ogg or mp3 file"),
    ("score tones sounds", "sounds is a folder"),
    # data and shapes
    ("train", "required: FOLDER, --out"),
    ("train sounds", "required: --out"),
    ("train nowhere --out r", "there is no nowhere: give a folder of sound or text files"),
    ("train sonds --out r", "there is no sonds | Did you mean 'sounds'?"),
    ("train empty --out r", "empty holds no"),
    ("train sounds --out a.wav", "--out a.wav is a file"),
    ("train sounds --out sounds", "is the folder of the data"),
    ("train few --out r --preset small --steps 2", "too little to train on | 0.02 s | at least 0.128 s"),
    ("train sounds --out r --preset smal", "'smal' | Did you mean 'small'?"),
    ("train sounds --out r --set residual_chanels=8", "'residual_chanels' | Did you mean 'residual_channels'?"),
    ("train sounds --out r --set residual_channels", "--set takes FIELD=VALUE"),
    ("train sounds --out r --set dilations=wide", "give whole numbers"),
    ("train sounds --out r --device gpu", "device 'gpu' is not known | Did you mean 'cuda'?"),
    ("train sounds --out r --device mps", "device 'mps' is not known | use cpu"),
    ("train sounds --out r --device cuda:x", "'cuda:x' is not known | auto, cpu, cuda"),
    ("train sounds --out r --backend trition", "'trition' is not known | auto"),
    ("train sounds --out r --schedule cosin", "cosin"),
    ("train sounds --out r --precision float16", "float16"),
    ("train sounds --out r --held-out 2", "held_out is a share"),
    ("train sounds --out r --bands 8", "add --features mel"),
    ("train sounds --out r --speakers nobody.csv", "cannot read the speakers"),
    ("train sounds --out r --features mels", "neither a kind of features"),
    ("prepare nowhere --out d", "there is no nowhere"),
    ("prepare work/data --out d", "holds prepared data already"),
    ("prepare sounds --out a.wav", "--out a.wav is a file"),
]


def test_the_table_is_long_and_names_no_command_twice():
    assert len(MISTAKES) >= 120
    assert len({command for command, _ in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize(("command", "words"), MISTAKES, ids=[command or "nothing" for command, _ in MISTAKES])
def test_a_mistake_is_answered_by_a_sentence_that_helps(command, words, desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    before = sorted(path.name for path in desk.iterdir())
    try:
        status = main(shlex.split(command))
    except SystemExit as stop:  # of argparse
        status = stop.code
    output = capsys.readouterr()
    assert status not in (0, None)
    message = output.err.strip().splitlines()[-1 if "See fastwave" not in output.err else -2]
    assert message.startswith("fastwave"), output.err
    for word in words.split(" | "):
        assert word in output.err
    assert "Traceback" not in output.err and "pickle" not in output.err and "newer fastwave" not in output.err
    assert output.out == ""
    made = {path.name for path in desk.iterdir()} - set(before)
    assert made <= {"r"}  # a run that was refused after its data were read
