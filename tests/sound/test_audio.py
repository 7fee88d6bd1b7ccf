"""Sound files <-> float waveforms."""

import errno
import io
import os
import random
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import soundfile
import torch

from fastwave.errors import AudioError, FastwaveError, InputError
from fastwave.sound import audio, libsndfile

FORMATS = ["wav", "flac", "ogg", "mp3"]
SIXTEEN_BITS = ["wav", "flac"]
HALF_STEP = 0.5 / 32768  # the rounding of 16 bits


def tone(hertz, rate, seconds=1.0, level=0.5):
    """[time] float64"""
    return level * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def noise(*shape, seed=0):
    """Uniform in [-0.9, 0.9), float32."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 1.8 - 0.9


def level_at(wave, hertz, rate):
    """Amplitude of the sine of that whole number of hertz in one second from the middle of `wave`."""
    middle = np.asarray(wave, dtype=np.float64)[(len(wave) - rate) // 2 :][:rate]
    return 2 * abs(np.fft.rfft(middle)[hertz]) / rate


def strongest(wave, rate):
    middle = np.asarray(wave, dtype=np.float64)[(len(wave) - rate) // 2 :][:rate]
    return int(np.abs(np.fft.rfft(middle)).argmax())


def sound_bytes(form, subtype=None, frames=800, channels=1, rate=16000):
    """A small file of that kind."""
    held = io.BytesIO()
    wave = np.stack([tone(300 * (1 + c), rate, frames / rate) for c in range(channels)], axis=1)
    soundfile.write(held, wave, rate, format=form.upper(), subtype=subtype)
    return held.getvalue()


def alone(folder, script, *arguments):
    """Run `script` in a process of its own, where limits bind and crashes show; its output.

    In another folder than the repository, whose fastwave/ would hide the package under test.
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# There and back


@pytest.mark.parametrize("form", SIXTEEN_BITS)
@pytest.mark.parametrize("frames", [1, 2, 4095, 70_000])
def test_sixteen_bit_files_hold_samples_to_half_a_step(tmp_path, form, frames):
    wave = noise(frames)
    audio.save(tmp_path / f"a.{form}", wave, 16000)
    back, rate = audio.load(tmp_path / f"a.{form}")
    assert (back.dtype, back.shape, rate) == (torch.float32, wave.shape, 16000)
    assert float((back - wave).abs().max()) <= HALF_STEP


@pytest.mark.parametrize("form", SIXTEEN_BITS)
def test_what_was_loaded_is_saved_unchanged(tmp_path, form):
    every = torch.arange(-32768, 32768) / 32768  # every value of 16 bits
    audio.save(tmp_path / f"a.{form}", every, 16000)
    assert torch.equal(audio.load(tmp_path / f"a.{form}")[0], every)


@pytest.mark.parametrize("form", ["ogg", "mp3"])
def test_lossy_files_keep_length_pitch_and_level(tmp_path, form):
    wave = tone(440, 16000, 2.0)
    audio.save(tmp_path / f"a.{form}", wave, 16000)
    back, rate = audio.load(tmp_path / f"a.{form}")
    assert (len(back), rate) == (len(wave), 16000)
    assert strongest(back, rate) == 440
    # these formats promise no bound; 1 dB is the smallest change of level that is heard
    assert level_at(back, 440, rate) == pytest.approx(0.5, rel=10 ** (1 / 20) - 1)


@pytest.mark.parametrize("form", SIXTEEN_BITS)
def test_loud_samples_are_clipped(tmp_path, form):
    audio.save(tmp_path / f"a.{form}", torch.tensor([-1e30, -1.5, -1.0, 0.0, 1.0, 1.5, 1e30]), 8000)
    top = 32767 / 32768
    assert audio.load(tmp_path / f"a.{form}")[0].tolist() == [-1.0, -1.0, -1.0, 0.0, top, top, top]


@pytest.mark.parametrize("form", FORMATS)
def test_arrays_and_tensors_of_any_float_type_and_layout_are_saved_alike(tmp_path, form):
    wave = (noise(400, 2) * 64).round() / 64  # exact in every float type
    forms = [wave, wave.bfloat16(), wave.double().numpy(), wave.clone().requires_grad_(), wave.t().contiguous().t()]
    decoded = []
    for place, samples in enumerate(forms):
        audio.save(tmp_path / f"{place}.{form}", samples, 16000)
        decoded.append(audio.load(tmp_path / f"{place}.{form}", channel=1)[0])
    assert all(torch.equal(each, decoded[0]) for each in decoded)


def test_float_files_keep_what_lies_beyond_one(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.5, -3.0, 7.25]), 8000, subtype="FLOAT")
    assert audio.load(tmp_path / "a.wav")[0].tolist() == [0.5, -3.0, 7.25]


@pytest.mark.parametrize("form", FORMATS)
def test_files_read_in_blocks_sound_as_if_read_whole(tmp_path, form, monkeypatch):
    """soundfile seeks after every read, and a seek in an MP3 loses the bits that a frame borrows from the last."""
    path = tmp_path / f"a.{form}"
    audio.save(path, noise(60_000), 16000)
    whole = audio.load(path)[0]
    # soundfile seeks to the start first, after which libmpg123 rounds the last bit otherwise: 4 roundings below 1
    assert np.allclose(whole.numpy(), soundfile.read(path, dtype="float32")[0], rtol=0, atol=4 * 2**-24)
    for block in (1000, 4096, 60_000):
        monkeypatch.setattr(audio, "_BLOCK", block)
        assert torch.equal(audio.load(path)[0], whole)


def test_a_long_ogg_can_be_written(tmp_path):
    """libvorbis keeps the samples of one call on the stack: in a single call these overflow it and kill the process."""
    script = """
        import sys, torch
        from fastwave.sound import audio
        audio.save(sys.argv[1], torch.zeros(3_000_000, 2), 44100)
        print(audio.info(sys.argv[1]).frames)
    """
    assert alone(tmp_path, script, tmp_path / "a.ogg") == "3000000\n"


# Channels


@pytest.mark.parametrize("form", SIXTEEN_BITS)
def test_channels_are_mixed_by_their_mean_or_chosen(tmp_path, form):
    wave = noise(5000, 3)
    audio.save(tmp_path / f"a.{form}", wave, 16000)
    stored = (wave.double() * 32768).round() / 32768
    # a mean rounded to float32 once: half a step of float32 below 1
    assert torch.allclose(audio.load(tmp_path / f"a.{form}")[0].double(), stored.mean(dim=1), rtol=0, atol=2**-25)
    for channel in range(3):
        chosen = audio.load(tmp_path / f"a.{form}", channel=channel)[0]
        assert torch.equal(chosen, stored[:, channel].float())


def test_more_channels_than_a_block_has_samples_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "_BLOCK", 16)
    wave = noise(50, 40)
    audio.save(tmp_path / "a.wav", wave, 16000)
    assert float((audio.load(tmp_path / "a.wav", channel=39)[0] - wave[:, 39]).abs().max()) <= HALF_STEP


@pytest.mark.parametrize("channel", [2, 7, -1])
def test_a_channel_that_is_not_there_is_refused_with_the_count(tmp_path, channel):
    audio.save(tmp_path / "a.wav", noise(100, 2), 16000)
    with pytest.raises(AudioError, match=f"no channel {channel}: the file has 2"):
        audio.load(tmp_path / "a.wav", channel=channel)


def test_mixing_and_resampling_values_near_the_end_of_float32_never_gives_infinity(tmp_path):
    huge = np.full((2000, 2), 3e38, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", huge, 16000, subtype="FLOAT")
    assert torch.equal(audio.load(tmp_path / "a.wav")[0], torch.full((2000,), 3e38))
    huge[::100] *= -1  # band-limited, such jumps overshoot
    soundfile.write(tmp_path / "b.wav", huge, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="too large for float32"):
        audio.load(tmp_path / "b.wav", sample_rate=44100)


# Resampling


@pytest.mark.parametrize(("rate", "new_rate"), [(48000, 16000), (16000, 44100), (44100, 22050), (11025, 16000)])
def test_resampling_keeps_pitch_level_and_length(tmp_path, rate, new_rate):
    soundfile.write(tmp_path / "a.wav", tone(440, rate, 3.0), rate, subtype="FLOAT")
    wave, now = audio.load(tmp_path / "a.wav", sample_rate=new_rate)
    assert now == new_rate
    assert abs(len(wave) - 3 * new_rate) <= 1
    assert strongest(wave, new_rate) == 440
    assert level_at(wave, 440, new_rate) == pytest.approx(0.5, abs=HALF_STEP)
    # nothing else rises above the rounding of 16 bits
    spectrum = [level_at(wave, hertz, new_rate) for hertz in (220, 439, 441, 880, 3000, 5000)]
    assert max(spectrum) < HALF_STEP


def test_what_the_new_rate_cannot_hold_is_filtered_out_not_folded_back(tmp_path):
    both = tone(440, 48000, 3.0, 0.25) + tone(11_000, 48000, 3.0, 0.5)
    soundfile.write(tmp_path / "a.wav", both, 48000, subtype="FLOAT")
    wave, _ = audio.load(tmp_path / "a.wav", sample_rate=16000)
    assert level_at(wave, 440, 16000) == pytest.approx(0.25, abs=HALF_STEP)
    assert level_at(wave, 5000, 16000) < HALF_STEP  # 16000 - 11000: where the loud tone would appear


def test_resampling_does_not_depend_on_the_blocks_it_is_done_in(tmp_path, monkeypatch):
    audio.save(tmp_path / "a.wav", noise(30_000), 16000)
    whole = audio.load(tmp_path / "a.wav", sample_rate=22050)[0]
    monkeypatch.setattr(audio, "_BLOCK", 777)
    assert torch.equal(audio.load(tmp_path / "a.wav", sample_rate=22050)[0], whole)


def test_the_rate_of_the_file_itself_changes_nothing(tmp_path):
    audio.save(tmp_path / "a.wav", noise(1000), 16000)
    assert torch.equal(audio.load(tmp_path / "a.wav", sample_rate=16000)[0], audio.load(tmp_path / "a.wav")[0])


def test_silly_resampling_is_refused(tmp_path):
    audio.save(tmp_path / "a.wav", noise(10_000), 16000)
    with pytest.raises(AudioError, match="16000 Hz to 1 Hz is beyond 256 times"):
        audio.load(tmp_path / "a.wav", sample_rate=1)
    with pytest.raises(AudioError, match="10000 frames at 16000 Hz would become more than the limit of 20000 samples"):
        audio.load(tmp_path / "a.wav", sample_rate=48000, max_samples=20_000)
    for rate in (0, -16000, 16000.0, "16000", True, 10**9):
        with pytest.raises(InputError, match="sample_rate"):
            audio.load(tmp_path / "a.wav", sample_rate=rate)


# Headers


def test_info_tells_the_header(tmp_path):
    audio.save(tmp_path / "a.flac", noise(8000, 2), 16000)
    info = audio.info(tmp_path / "a.flac")
    assert (info.frames, info.channels, info.sample_rate, info.seconds) == (8000, 2, 16000, 0.5)


def flac_claiming(frames, data):
    """`data`, a FLAC file, with another count of frames in its header: 36 bits that end at byte 26."""
    head = int.from_bytes(data[18:26], "big") >> 36 << 36 | frames
    return data[:18] + head.to_bytes(8, "big") + data[26:]


def test_a_header_that_claims_billions_of_frames_is_refused(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(flac_claiming(2 * 10**9, sound_bytes("flac"))[:99])
    assert path.stat().st_size == 99
    with pytest.raises(AudioError, match="claims 2000000000 frames of 1 channels, over the limit of 268435456"):
        audio.load(path)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
@pytest.mark.parametrize("length", [99, None])
def test_memory_follows_what_is_decoded_not_what_is_claimed(tmp_path, length):
    # given a file that claims 8 GB of sound, a caller who allows that, and 300 MB to do it in
    path = tmp_path / "a.flac"
    path.write_bytes(flac_claiming(2 * 10**9, sound_bytes("flac"))[:length])
    script = """
        import resource, sys
        from fastwave.sound import audio
        from fastwave import errors
        import soundfile
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + 300 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            audio.load(sys.argv[1], max_samples=2**40)
        except errors.AudioError as error:
            print(error)
    """
    # then what is wrong with the file is found, not that memory ran out
    said = alone(tmp_path, script, path)
    assert "decoder" in said if length else "2000000000 frames but 800 could be decoded: the file is cut short" in said


def test_a_flac_cut_short_is_refused_and_one_of_unknown_length_is_read(tmp_path):
    data = sound_bytes("flac", frames=20_000)
    (tmp_path / "cut.flac").write_bytes(flac_claiming(30_000, data))
    with pytest.raises(AudioError, match="claims 30000 frames but 20000 could be decoded: the file is cut short"):
        audio.load(tmp_path / "cut.flac")
    (tmp_path / "stream.flac").write_bytes(flac_claiming(0, data))
    assert len(audio.load(tmp_path / "stream.flac")[0]) == 20_000
    with pytest.raises(AudioError, match="does not say how long"):
        audio.info(tmp_path / "stream.flac")
    with pytest.raises(AudioError, match="more than the limit of 19999"):
        audio.load(tmp_path / "stream.flac", max_samples=19_999)
    (tmp_path / "stereo.flac").write_bytes(flac_claiming(0, sound_bytes("flac", frames=20_000, channels=2)))
    assert len(audio.load(tmp_path / "stereo.flac", max_samples=40_000)[0]) == 20_000
    with pytest.raises(AudioError, match="more than the limit of 39999"):
        audio.load(tmp_path / "stereo.flac", max_samples=39_999)


def test_the_limit_on_samples_counts_all_channels(tmp_path):
    audio.save(tmp_path / "a.wav", noise(1000, 2), 16000)
    assert len(audio.load(tmp_path / "a.wav", max_samples=2000)[0]) == 1000
    with pytest.raises(AudioError, match="1000 frames of 2 channels, over the limit of 1999"):
        audio.load(tmp_path / "a.wav", max_samples=1999)


@pytest.mark.parametrize("rate", [0, 1_536_001, 2**31 - 1, 2**32 - 1])
def test_an_absurd_sample_rate_is_refused(tmp_path, rate):
    data = bytearray(sound_bytes("wav", "PCM_16"))
    data[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(AudioError, match=re.escape(str(tmp_path / "a.wav"))):
        audio.load(tmp_path / "a.wav")


# Files that are not sound


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_file_with_nan_or_infinity_is_refused(tmp_path, bad):
    wave = np.zeros((90_000, 2))
    wave[80_000, 1] = bad
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN or infinity"):
        audio.load(tmp_path / "a.wav", channel=0)


def test_what_is_no_sound_file_is_refused_by_name(tmp_path):
    cases = {
        "empty.wav": b"",
        "text.wav": b"this is not a sound file at all, whatever it is called",
        "zeros.mp3": bytes(4096),
        "head.wav": sound_bytes("wav")[:44],
        "half.ogg": sound_bytes("ogg")[:60],
        "tag.mp3": b"ID3\x03\0\0\0\0\0\0",
        "tags.mp3": b"ID3\x03\0\0\0\0\0\0" * 100,
        "aiff.wav": sound_bytes("aiff"),
        "behind-tag.mp3": b"ID3\x03\0\0\0\0\0\0" + sound_bytes("aiff"),
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(AudioError, match=re.escape(str(tmp_path / name))):
            audio.load(tmp_path / name)


def test_rare_formats_never_reach_their_parsers(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "forward_only", lambda: pytest.fail("the library was asked"))
    rare = [sound_bytes(form) for form in ("aiff", "au", "caf", "mat5", "w64", "voc")] + [b"RIFF\x20\0\0\0AVI LIST"]
    for data in rare:
        for tag in (b"", b"ID3\x03\0\0\0\0\0\x02ab"):
            (tmp_path / "a.wav").write_bytes(tag + data)
            with pytest.raises(AudioError, match="not a wav, flac, ogg or mp3"):
                audio.load(tmp_path / "a.wav")


@pytest.mark.parametrize("form", ["flac", "mp3"])
def test_a_tag_in_front_is_passed_over(tmp_path, form):
    tag = b"ID3\x03\0\0\0\0\x01\x02" + bytes(130)
    (tmp_path / f"a.{form}").write_bytes(tag + sound_bytes(form, frames=4000))
    assert len(audio.load(tmp_path / f"a.{form}")[0]) == 4000


def test_a_file_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    with pytest.raises(AudioError, match="no sound in this file"):
        audio.load(tmp_path / "a.wav")


def test_missing_files_folders_and_pipes_are_refused_at_once(tmp_path):
    with pytest.raises(AudioError, match="No such file"):
        audio.load(tmp_path / "nowhere.wav")
    with pytest.raises(AudioError, match="not an ordinary file"):
        audio.load(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait for a writer that never comes
        with pytest.raises(AudioError, match="not an ordinary file"):
            audio.load(tmp_path / "pipe.wav")


def test_arguments_that_mean_nothing_are_refused(tmp_path):
    audio.save(tmp_path / "a.wav", noise(100), 16000)
    for options in ({"channel": "left"}, {"channel": True}, {"channel": 0.0}, {"max_samples": 0}, {"max_samples": 1e9}):
        with pytest.raises(InputError):
            audio.load(tmp_path / "a.wav", **options)
    for path in (None, 3, b"a.wav", "a\0.wav"):
        with pytest.raises(InputError):
            audio.load(path)
        with pytest.raises(InputError):
            audio.save(path, noise(10), 16000)


@pytest.mark.parametrize(
    "failure", [TypeError, ValueError, RuntimeError, AssertionError, OSError, MemoryError, KeyError]
)
def test_whatever_the_library_raises_becomes_an_audio_error_with_the_path(tmp_path, monkeypatch, failure):
    audio.save(tmp_path / "a.wav", noise(100), 16000)

    def fail(*_, **__):
        raise failure

    places = [(soundfile.SoundFile, "read"), (soundfile.SoundFile, "write"), (audio, "forward_only")]
    acts = {"read": [audio.load], "write": [save_noise], "forward_only": [audio.load, audio.info, save_noise]}
    for owner, name in places:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            for act in acts[name]:
                with pytest.raises(AudioError, match=re.escape(str(tmp_path / "a.wav"))):
                    act(tmp_path / "a.wav")


def save_noise(path):
    audio.save(path, noise(300_000, seed=1), 16000)


class FailingDisk(io.FileIO):
    """Gives up beyond 100,000 bytes."""

    def readinto(self, buffer):
        if self.tell() > 100_000:
            raise OSError(errno.EIO, "Input/output error")
        return super().readinto(buffer)

    def write(self, data):
        if self.tell() > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_disk_that_fails_while_reading_is_reported(tmp_path, monkeypatch):
    save_noise(tmp_path / "a.wav")
    monkeypatch.setattr(audio, "open", FailingDisk, raising=False)
    with pytest.raises(AudioError, match=r"a\.wav: cannot read: Input/output error"):
        audio.load(tmp_path / "a.wav")


def test_a_file_that_points_outside_itself_moves_nothing(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"abcdef")
    with open(tmp_path / "a.wav", "rb") as file:
        witness = libsndfile.Witness(file)
        assert witness.seek(4) == 4
        for offset, whence in ((-5, os.SEEK_SET), (2**80, os.SEEK_SET), (-10, os.SEEK_END), (0, 99)):
            assert witness.seek(offset, whence) == 4  # an error here would be lost in the library, and printed


def mutated(data, chance):
    """`data` with a few bytes flipped, overwritten, cut, doubled or dropped, mostly near the front."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(min(len(data), 200) if chance.random() < 0.6 else len(data))
        length = chance.randrange(1, 64)
        kind = chance.randrange(6)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at] = chance.randrange(256)
        elif kind == 2:
            data[at : at + 4] = chance.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)).to_bytes(4, "little")
        elif kind == 3 and at:
            del data[at:]
        elif kind == 4:
            data[at:at] = data[at : at + length]
        elif len(data) > at + length:
            del data[at : at + length]
    return bytes(data)


@pytest.mark.parametrize(
    ("form", "subtype"),
    [("wav", "PCM_16"), ("wav", "FLOAT"), ("wav", "IMA_ADPCM"), ("flac", None), ("ogg", None), ("mp3", None)],
)
def test_a_damaged_file_gives_sound_or_a_fastwave_error(tmp_path, form, subtype):
    original = sound_bytes(form, subtype, frames=1500, channels=2)
    path = tmp_path / f"a.{form}"
    outcomes = {"sound": 0, "refused": 0}
    for seed in range(100):
        path.write_bytes(mutated(original, random.Random(seed)))
        try:
            wave, rate = audio.load(path)
        except FastwaveError:
            outcomes["refused"] += 1
        else:
            outcomes["sound"] += 1
            assert wave.dtype == torch.float32
            assert wave.ndim == 1
            assert len(wave) > 0
            assert bool(torch.isfinite(wave).all())
            assert 1 <= rate <= audio.HIGHEST_RATE
    assert outcomes["refused"] > 0  # else nothing was damaged


# Saving


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_is_an_error_and_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, form):
    path = tmp_path / f"a.{form}"
    audio.save(path, noise(1000), 16000)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(audio, "open", FailingDisk, raising=False)
        with pytest.raises(AudioError, match=rf"a\.{form}: cannot write: No space left on device"):
            audio.save(path, noise(900_000), 16000)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on file sizes is POSIX's, and measured on Linux")
@pytest.mark.parametrize("form", FORMATS)
def test_a_file_is_saved_whole_or_not_at_all_wherever_the_disk_fills(tmp_path, form):
    script = """
        import os, resource, signal, sys, torch
        from fastwave.sound import audio
        from fastwave import errors
        path = sys.argv[1]
        wave = torch.rand(8000, generator=torch.Generator().manual_seed(0)) - 0.5
        audio.save(path, wave, 16000)
        size = os.path.getsize(path)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for limit in [0, 1, 43, 44, 45, *range(100, size, size // 40), size - 2, size - 1, size, size + 1]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                audio.save(path, wave, 16000)
                saved = True
            except errors.AudioError as error:
                assert "File too large" in str(error), error
                saved = False
            assert saved == (limit >= size), (limit, size, saved)
            assert os.path.getsize(path) == size
            assert len(audio.load(path)[0]) == 8000
            assert os.listdir() == [os.path.basename(path)]
    """
    alone(tmp_path, script, tmp_path / f"a.{form}")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_poisoned_samples_are_never_saved(tmp_path, bad):
    path = tmp_path / "a.wav"
    audio.save(path, noise(100), 16000)
    before = path.read_bytes()
    wave = noise(200_000)
    wave[150_000] = bad
    with pytest.raises(InputError, match="NaN or infinity"):
        audio.save(path, wave, 16000)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("name", ["a.aiff", "a.wave", "a", "a.wav.bak", "a.pt"])
def test_an_unknown_suffix_is_refused_and_the_known_ones_listed(tmp_path, name):
    with pytest.raises(AudioError, match=r"use \.wav, \.flac, \.ogg, \.mp3"):
        audio.save(tmp_path / name, noise(10), 16000)
    assert os.listdir(tmp_path) == []


def test_a_suffix_in_capitals_is_understood(tmp_path):
    audio.save(tmp_path / "A.FLAC", noise(10), 16000)
    assert (tmp_path / "A.FLAC").read_bytes()[:4] == b"fLaC"


def test_a_folder_that_is_missing_or_closed_is_an_audio_error(tmp_path):
    with pytest.raises(AudioError, match="No such file or directory"):
        audio.save(tmp_path / "nowhere" / "a.wav", noise(10), 16000)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match="folder or a device"):
        audio.save(tmp_path / "folder.wav", noise(10), 16000)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to root")
def test_a_read_only_folder_is_an_audio_error(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(AudioError, match="Permission denied"):
            audio.save(tmp_path / "a.wav", noise(10), 16000)
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize(
    "samples",
    [
        torch.zeros(0),
        torch.zeros(10, 0),
        torch.zeros(2, 3, 4),
        torch.tensor(0.5),
        torch.zeros(9, dtype=torch.int16),
        np.zeros(9, dtype=np.int32),
        np.zeros(9, dtype=complex),
        "sound",
        None,
    ],
)
def test_samples_of_the_wrong_shape_or_type_are_refused(tmp_path, samples):
    with pytest.raises(InputError):
        audio.save(tmp_path / "a.wav", samples, 16000)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "channels", "rate"),
    [("a.wav", 1025, 16000), ("a.flac", 9, 16000), ("a.mp3", 3, 16000), ("a.ogg", 256, 16000)]
    + [("a.wav", 1, rate) for rate in (0, -1, 1_536_001, 16000.0, None, True)]
    + [("a.flac", 1, 65_537), ("a.flac", 1, 655_360), ("a.mp3", 1, 16_001), ("a.ogg", 1, 200_001)],
)
def test_what_a_format_cannot_hold_is_refused_before_anything_is_written(tmp_path, name, channels, rate):
    with pytest.raises(InputError):
        audio.save(tmp_path / name, noise(50, channels), rate)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "channels", "rate"),
    [
        ("a.wav", 1024, 1),
        ("a.wav", 1, 1_536_000),
        ("a.flac", 8, 65_535),
        ("a.flac", 1, 96_000),
        ("a.flac", 1, 655_350),
        ("a.ogg", 255, 1),
        ("a.ogg", 1, 200_000),
        ("a.mp3", 2, 48_000),
        ("a.mp3", 1, 8000),
        ("a.mp3", 1, 11_025),
    ],
)
def test_what_a_format_says_it_holds_it_holds(tmp_path, name, channels, rate):
    audio.save(tmp_path / name, noise(3000, channels), rate)
    wave, now = audio.load(tmp_path / name, channel=channels - 1)
    assert (len(wave), now) == (3000, rate)


def test_more_than_a_wav_can_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "_encode", lambda *_: pytest.fail("4 GiB were about to be written"))
    with pytest.raises(AudioError, match=r"4 GiB: use \.flac"):
        audio.save(tmp_path / "a.wav", torch.zeros(1).expand(2**31), 16000)


# Imports


def test_the_sound_libraries_are_loaded_only_when_a_file_is(tmp_path):
    script = """
        import sys
        from fastwave.sound import audio
        print([name for name in ("soundfile", "soxr", "_soundfile") if name in sys.modules])
    """
    assert alone(tmp_path, script) == "[]\n"


@pytest.mark.parametrize("name", ["soundfile", "soxr"])
def test_a_missing_library_is_named_with_its_cure(tmp_path, monkeypatch, name):
    audio.save(tmp_path / "a.wav", noise(100), 16000)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(AudioError, match=f"pip install {name}"):
        audio.load(tmp_path / "a.wav", sample_rate=8000)


# In blocks, as sound is made


@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_are_saved_as_the_whole_would_be(channels, tmp_path):
    whole = noise(1000, channels)
    audio.save(tmp_path / "whole.wav", whole, 16_000)
    audio.save_blocks(tmp_path / "blocks.wav", whole.split(77), 16_000, channels)
    assert (tmp_path / "blocks.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()


def test_a_block_of_other_channels_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="a block has 1 channels, the file 2"):
        audio.save_blocks(tmp_path / "x.wav", [noise(10, 2), noise(10, 1)], 16_000, 2)
    assert list(tmp_path.iterdir()) == []


def test_two_channels_are_resampled_as_each_alone():
    whole = np.stack([tone(440, 16_000, 0.2), tone(1000, 16_000, 0.2)], axis=1).astype(np.float32)
    both = np.concatenate(list(audio.resampled(np.array_split(whole, 7), 16_000, 44_100, 2)))
    for channel in range(2):
        alone = np.concatenate(list(audio.resampled([whole[:, channel].copy()], 16_000, 44_100)))
        assert np.abs(both[:, channel] - alone).max() < 1e-6
