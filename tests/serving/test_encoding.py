"""Sound as bytes: what a listener receives is what a file of it would hold."""

import io

import numpy as np
import pytest
import soundfile

from fastwave.serving.encoding import encoding_of

RATE = 16_000
WAVE = (0.6 * np.sin(np.arange(5_000) * 0.11)).astype(np.float32)
BLOCKS = np.split(WAVE, [1, 400, 1_999])


def bytes_of(encoding):
    return encoding.begin() + b"".join(encoding.block(block) for block in BLOCKS) + encoding.end()


@pytest.mark.parametrize("samples", [None, len(WAVE)])
def test_a_wav_in_blocks_is_the_whole_wav(samples):
    encoding = encoding_of("wav", RATE, samples)
    data = bytes_of(encoding)
    assert encoding.length == (None if samples is None else len(data))
    heard = np.frombuffer(data[44:], "<i2")
    assert np.array_equal(heard, np.rint(WAVE * 32768).astype(np.int16))
    if samples is not None:
        read, rate = soundfile.read(io.BytesIO(data), dtype="int16")
        assert rate == RATE and np.array_equal(read, heard)


def test_bare_samples_have_no_header():
    assert np.array_equal(np.frombuffer(bytes_of(encoding_of("pcm", RATE)), "<i2"), np.rint(WAVE * 32768))


def test_bare_samples_of_another_rate_last_as_long_and_sound_the_same():
    heard = np.frombuffer(bytes_of(encoding_of("pcm", RATE, bare_rate=24_000)), "<i2") / 32768
    assert len(heard) == len(WAVE) * 3 // 2
    wanted = 0.6 * np.sin(np.arange(len(heard)) * 0.11 * 2 / 3)
    middle = slice(600, -600)  # the filter rings at both ends
    assert np.abs(heard - wanted)[middle].max() < 1e-3


@pytest.mark.parametrize(("name", "error"), [("flac", 0.5 / 32768), ("mp3", 0.05)])
def test_a_compressed_file_comes_at_the_end_and_holds_the_sound(name, error):
    encoding = encoding_of(name, RATE)
    assert encoding.begin() == b"" and encoding.block(WAVE) == b""
    read, rate = soundfile.read(io.BytesIO(encoding.end()), dtype="float32")
    assert rate == RATE
    assert np.abs(read[: len(WAVE)] - WAVE)[200:-200].max() <= error * 1.001
