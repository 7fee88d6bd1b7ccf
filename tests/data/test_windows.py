"""Windows of prepared data: nothing missed, nothing twice, nothing shifted, and the same for the same seed."""

import collections
import json

import numpy as np
import pytest
import torch

from fastwave import InputError, WaveNet
from fastwave.data.preparation import Preparation
from fastwave.data.prepare import prepare
from fastwave.data.shards import Data
from fastwave.data.windows import Place, Windows, shuffled
from fastwave.sound import audio
from fastwave.training.parallel import Group
from small_runs import make_config

LENGTHS = (1000, 37, 640, 129, 1, 333)  # samples of the files: 640 is 10 windows, 129 is 2 and a sample, 1 is a sample
WINDOW = 64


def write_noise(folder, lengths=LENGTHS):
    """Files of 16-bit noise. No two stretches are alike, so a shift by one sample is seen."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(5)
    for number, length in enumerate(lengths):
        wave = torch.randint(-20_000, 20_000, (length,), generator=generator) / 32768
        audio.save(folder / f"noise{number}.wav", wave, 16_000)
    return folder


def make_noise(folder, lengths=LENGTHS, **changes):
    preparation = Preparation(**{"classes": 32, "held_out": 0.3, **changes})
    prepare(write_noise(folder / "sound", lengths), folder / "data", preparation, workers=1)
    return Data(folder / "data")


def make_frames(folder, hop, lengths):
    """Features whose value is the number of their frame: [frames, 1] for every file."""
    folder.mkdir(parents=True)
    for number, length in enumerate(lengths):
        np.save(folder / f"noise{number}.npy", np.arange(-(-length // hop), dtype=np.float32)[:, None])
    return {"features": str(folder), "feature_channels": 1, "hop": hop}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_noise(tmp_path_factory.mktemp("data"))


def in_order(windows):
    """Every window by its index, as validation sees them."""
    return windows.some(1 << 40)


def files_of(data, held_out):
    """The numbers of the files that are held out, or of those that are not."""
    return [number for number, file in enumerate(data.files) if (file["held_out_samples"] > 0) == held_out]


# Which windows there are


@pytest.mark.parametrize("window", [1, WINDOW, 5000])
@pytest.mark.parametrize("held_out", [False, True])
def test_every_target_of_every_file_is_counted_exactly_once(data, window, held_out):
    windows = Windows(data, make_config(), window, seed=0, held_out=held_out)
    times = {number: np.zeros(data.files[number]["samples"], dtype=int) for number in files_of(data, held_out)}
    assert times
    places = in_order(windows)
    for place in places:
        times[place.file][place.first : place.last] += 1
    assert all((each == 1).all() for each in times.values())
    assert windows.targets == sum(map(len, times.values()))
    counted = sum(int(windows.batch([place]).counted.sum()) for place in places)
    assert counted == windows.targets


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_an_epoch_visits_every_window_once_before_any_comes_again(data, batch, monkeypatch):
    windows = Windows(data, make_config(), WINDOW, seed=3)
    drawn = []
    draw = Windows._place
    monkeypatch.setattr(Windows, "_place", lambda self, index, shift: drawn.append(index) or draw(self, index, shift))
    steps = -(-3 * windows.count // batch)
    for step in range(steps):
        windows.places(step, batch)
    epochs = [drawn[at : at + windows.count] for at in range(0, 3 * windows.count, windows.count)]
    assert all(sorted(epoch) == list(range(windows.count)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_places_depend_on_seed_and_step_and_on_nothing_else(data):
    config = make_config()
    forwards = Windows(data, config, WINDOW, seed=9)
    backwards = Windows(Data(data.folder), config, WINDOW, seed=9)
    steps = range(12)
    want = [forwards.places(step, 4) for step in steps]
    assert [backwards.places(step, 4) for step in reversed(steps)] == want[::-1]
    assert [Windows(data, config, WINDOW, seed=10).places(step, 4) for step in steps] != want
    # the order of the windows is the same in batches of 4 and of 8
    pairs = [want[step] + want[step + 1] for step in range(0, 12, 2)]
    assert pairs == [forwards.places(step, 8) for step in range(6)]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_rows_of_all_ranks_are_the_global_batch(data, world):
    windows = Windows(data, make_config(), WINDOW, seed=1)
    places = windows.places(7, 8)
    rows = []
    for rank in range(world):
        group = Group("cpu")
        group.rank, group.world = rank, world
        mine = places[group.share(8)]
        assert len(mine) == 8 // world
        rows += mine
    assert rows == places
    whole = windows.batch(places)
    parts = [windows.batch(rows[at : at + 8 // world]) for at in range(0, 8, 8 // world)]
    assert torch.equal(torch.cat([part.tokens for part in parts]), whole.tokens)
    group.world = 3
    with pytest.raises(InputError, match="does not divide among 3"):
        group.share(8)


def test_training_windows_stay_inside_their_file_and_begin_elsewhere_in_each_epoch(data):
    windows = Windows(data, make_config(), WINDOW, seed=2)
    firsts = collections.defaultdict(set)
    for step in range(20 * windows.count):
        (place,) = windows.places(step, 1)
        assert 0 <= place.first < place.last <= data.files[place.file]["samples"]
        assert place.last - place.first == min(WINDOW, data.files[place.file]["samples"])
        firsts[place.file].add(place.first % WINDOW)
    long = max(firsts, key=lambda number: data.files[number]["samples"])
    assert len(firsts[long]) > 10


def test_some_is_a_fixed_choice_of_windows_that_hold_about_so_many_targets(data):
    windows = Windows(data, make_config(), 16, seed=0)
    chosen = windows.some(320)
    assert chosen == Windows(data, make_config(), 16, seed=5).some(320)
    assert len(set(chosen)) == 20
    assert len({place.file for place in chosen}) > 1
    assert len(windows.some(1 << 40)) == windows.count


def test_data_that_is_all_held_out_is_refused_for_training(tmp_path):
    (only,) = (data := make_noise(tmp_path, (100,), held_out=0.5)).files
    only["held_out_samples"] = 100
    with pytest.raises(InputError, match=r"all of .* is held out. Lower --held-out"):
        Windows(data, make_config(), WINDOW, seed=0).places(0, 1)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 16, 17, 63, 64, 65, 100, 255, 256, 257, 1000, 4097])
def test_shuffled_is_a_permutation(count):
    orders = [[shuffled(index, count, key) for index in range(count)] for key in (0, 1, 2**64 - 1)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    if count > 8:
        assert orders[0] != orders[1] and orders[0] != list(range(count))


# What is in the windows


def test_tokens_are_the_true_past_and_silence_before_a_file(data):
    config = make_config(dilations=(1, 2, 64))  # further back than a window
    windows = Windows(data, config, WINDOW, seed=0)
    sounds = [audio.load(data.folder.parent / "sound" / entry["name"])[0] for entry in data.files]
    everything = [config.codec_object.encode(wave) for wave in sounds]
    places = in_order(windows) + windows.places(0, 20)
    batch = windows.batch(places)
    assert batch.tokens.dtype == torch.int64
    assert batch.tokens.shape == (len(places), windows.context + WINDOW)
    assert windows.context == config.receptive_field
    assert any(0 < place.first < windows.context for place in places)
    for row, place in enumerate(places):
        for at, token in enumerate(batch.tokens[row].tolist()):
            position = place.first - windows.context + at
            inside = 0 <= position < place.last
            assert token == (everything[place.file][position] if inside else config.codec_object.silence)
        assert batch.counted[row].tolist() == [1] * (place.last - place.first) + [0] * (
            WINDOW - place.last + place.first
        )


def test_scalar_tokens_are_the_samples_of_the_file(tmp_path):
    data = make_noise(tmp_path, (300, 200), codec="pcm", classes=0)
    config = make_config(codec="pcm", classes=0, output="gaussian")
    windows = Windows(data, config, WINDOW, seed=0)
    (place, *_) = places = in_order(windows)
    tokens = windows.batch(places).tokens
    assert tokens.dtype == torch.float32
    wave, _ = audio.load(tmp_path / "sound" / data.files[place.file]["name"])
    assert torch.equal(tokens[0, windows.context :], wave[:WINDOW])
    assert torch.equal(tokens[1, windows.context :], wave[WINDOW : 2 * WINDOW])
    assert not tokens[0, : windows.context].any()


@pytest.mark.parametrize("hop", [1, 8, 24])
def test_frame_i_belongs_to_sample_i_times_hop_and_edges_repeat(tmp_path, hop):
    lengths = (500, 391, 250)
    data = make_noise(tmp_path, lengths, **make_frames(tmp_path / "features", hop, lengths))
    config = make_config(condition_channels=1, hop=hop)
    for held_out in (False, True):
        windows = Windows(data, config, WINDOW, seed=4, held_out=held_out)
        places = in_order(windows) + (windows.places(0, 30) if not held_out else [])
        batch = windows.batch(places)
        for row, place in enumerate(places):
            start = place.first - windows.context
            assert start % hop == 0
            last = data.files[place.file]["frames"] - 1
            first_number = start // hop
            want = [min(max(first_number + i, 0), last) for i in range(batch.frames.shape[1])]
            assert batch.frames[row, :, 0].tolist() == want


@pytest.mark.parametrize("upsampling", ["repeat", "linear", "learned"])
def test_a_window_gives_a_model_what_the_whole_file_gives_it(tmp_path, upsampling):
    """The whole file through the model, beside its windows: the same outputs, so nothing is shifted or missing."""
    hop, lengths = 12, (400, 300)
    features = make_frames(tmp_path / "features", hop, lengths)
    for path in (tmp_path / "features").iterdir():
        np.save(path, np.sin(np.load(path)))
    sound = write_noise(tmp_path / "sound" / "ann", lengths[:1]), write_noise(tmp_path / "sound" / "bob", lengths)
    (sound[1] / "noise0.wav").unlink()
    for who, number in (("ann", 0), ("bob", 1)):
        (tmp_path / "features" / who).mkdir()
        (tmp_path / f"features/noise{number}.npy").rename(tmp_path / f"features/{who}/noise{number}.npy")
    prepare(tmp_path / "sound", tmp_path / "data", Preparation(classes=32, speakers="folders", **features), workers=1)
    data = Data(tmp_path / "data")
    assert [file["speaker"] for file in data.files] == [0, 1]
    scales = {"upsample_scales": (3, 4)} if upsampling == "learned" else {}
    conditioned = {"condition_channels": 3, "speaker_channels": 2, "speakers": 2, "hop": hop, "upsampling": upsampling}
    config = make_config(**conditioned, **scales)
    torch.manual_seed(0)
    model = WaveNet(config, backend="reference")
    for parameter in model.parameters():  # a new upsampler interpolates, which needs fewer frames than it may read
        torch.nn.init.normal_(parameter, std=0.3)
    for held_out in (False, True):
        windows = Windows(data, config, 100, seed=0, held_out=held_out)
        assert windows.window == 108
        for place in in_order(windows) + ([] if held_out else windows.places(0, 6)):
            batch = windows.batch([place])
            file = data.files[place.file]
            assert batch.speaker.tolist() == [file["speaker"]]
            numbers = np.arange(-windows.context // hop, file["samples"] // hop + 3)
            past = np.full(windows.context, config.codec_object.silence)
            tokens = torch.from_numpy(np.concatenate([past, data.tokens(place.file, 0, file["samples"])]))[None]
            frames = torch.from_numpy(data.frames(place.file, numbers))[None]
            with torch.inference_mode():
                whole = model(tokens[:, :-1], frames, batch.speaker)
                part = model(batch.tokens[:, :-1], batch.frames, batch.speaker)
            length = place.last - place.first
            first = windows.context - 1
            want = whole[:, first + place.first :][:, :length]
            torch.testing.assert_close(part[:, first:][:, :length], want, rtol=1e-5, atol=1e-5)


# A single file


@pytest.mark.parametrize("hop", [1, 16, 100])
def test_a_single_file_is_cut_on_the_frame_grid_and_no_target_is_on_both_sides(tmp_path, hop):
    features = make_frames(tmp_path / "features", hop, (1003,))
    data = make_noise(tmp_path, (1003,), held_out=0.2, **features)
    config = make_config(condition_channels=1, hop=hop)
    training = Windows(data, config, WINDOW, seed=0)
    held_out = Windows(data, config, WINDOW, seed=0, held_out=True)
    (side,) = held_out.sides
    assert side.first % hop == 0
    assert 1003 - 201 <= side.first < 1003 - 201 + hop
    assert side.last == 1003
    assert training.sides == [(0, 0, side.first)]
    for step in range(10 * training.count):
        (place,) = training.places(step, 1)
        assert place.last <= side.first


def test_a_single_file_of_one_sample_is_all_for_training(tmp_path):
    data = make_noise(tmp_path, (1,))
    assert Windows(data, make_config(), WINDOW, seed=0).targets == 1
    assert Windows(data, make_config(), WINDOW, seed=0, held_out=True).count == 0


# Damage


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"prepared.json is damaged"),
        (b"\xff\xfe", r"prepared.json is damaged"),
        (b"[]", r"made by another version"),
        (b'{"format": 0}', r"made by another version"),
        (b'{"format": 1}', r"prepared.json is damaged .*prepare the data again"),
        (b'{"format": 1, "preparation": {"colour": 3}, "files": []}', r"prepared.json is damaged"),
    ],
)
def test_a_damaged_index_is_an_input_error(tmp_path, content, message):
    (tmp_path / "prepared.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        Data(tmp_path)


def test_a_folder_that_was_not_prepared_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"No such file.*fastwave prepare"):
        Data(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", ["missing", "empty", "short"])
@pytest.mark.parametrize("kind", ["tokens", "frames"])
def test_a_shard_that_is_missing_or_cut_short_is_an_input_error_and_mended_by_preparing(tmp_path, kind, damage):
    lengths = (300, 200)
    features = make_frames(tmp_path / "features", 8, lengths)
    make_noise(tmp_path, lengths, **features)
    path = tmp_path / f"data/shard-00000.{kind}"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else content[:-4])
    data = Data(tmp_path / "data")
    with pytest.raises(
        InputError, match=r"shard-00000\.\w+ (is missing or damaged|ends after).*prepare the data again"
    ):
        Windows(data, make_config(condition_channels=1, hop=8), 1000, seed=0).batch([Place(1, 0, 200)])
    assert prepare(tmp_path / "sound", tmp_path / "data", data.preparation, workers=1)["files"] == data.files
    assert path.read_bytes() == content


def test_the_summary_counts_files_and_samples(data):
    summary = data.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["files"] == len(LENGTHS)
    assert summary["samples"] == sum(LENGTHS)
    assert summary["held_out_samples"] == Windows(data, make_config(), WINDOW, 0, held_out=True).targets
    assert summary["white_noise_bits"] == 5
    assert 0 < summary["order0_bits"] <= 5
