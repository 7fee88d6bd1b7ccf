"""Live streaming: the bundled model plays in chunks of 64 samples, 4 ms each, as they are made.

    python examples/live_streaming.py

Raw 16-bit PCM goes through a pipe to a thread that stands in for a sound card; a real player would be at the end of
`sys.stdout.buffer` instead (`| aplay -f S16_LE -r 16000`). The level of the sound is printed as it comes. At the end
the program writes what was played to `live.wav` in the current folder, and checks that it is, sample by sample, what
`fastwave.generate` makes in one call with the same seed. Takes a few seconds on one core.
"""

import os
import threading
import time

import torch

import fastwave
from fastwave.sound import audio

SECONDS, CHUNK, SEED = 2.0, 64, 5


def pcm(wave: torch.Tensor) -> bytes:
    """[time] floats in [-1, 1] -> 16-bit samples."""
    return (wave * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy().tobytes()


def sound_card(pipe: int, played: bytearray) -> None:
    """Take what comes until the other end is closed."""
    with os.fdopen(pipe, "rb") as source:
        while data := source.read(2 * CHUNK):
            played += data


def main() -> None:
    model = fastwave.WaveNet.from_pretrained("pluck")
    rate, decode = model.config.sample_rate, model.config.codec_object.decode
    total = round(SECONDS * rate)
    read_end, write_end = os.pipe()
    played = bytearray()
    card = threading.Thread(target=sound_card, args=(read_end, played))
    card.start()

    engine = fastwave.Engine(model, threads=1)  # several threads would try slow schedules while it plays
    state = engine.start()
    engine.run(state.copy(), 256)  # the first calls are slower; a copy of the state, so nothing is played
    slowest, level, begun = 0.0, 0.0, time.monotonic()
    with os.fdopen(write_end, "wb") as sink:
        for first in range(0, total, CHUNK):
            started = time.monotonic()
            # in place: no copy of the state for each chunk
            tokens = engine.run(state, min(CHUNK, total - first), seed=SEED, in_place=True)
            wave = decode(tokens[0])
            slowest = max(slowest, time.monotonic() - started)
            sink.write(pcm(wave))
            sink.flush()
            level = max(level, float(wave.abs().max()))
            if first // (rate // 10) != (first + CHUNK) // (rate // 10):  # ten lines a second of sound
                print(f"{first / rate:4.1f} s  {'#' * round(60 * level)}")
                level = 0.0
    elapsed = time.monotonic() - begun
    card.join()

    print(f"{SECONDS} s of sound in {elapsed:.2f} s: {SECONDS / elapsed:.1f} times real time")
    print(f"slowest chunk: {1000 * slowest:.1f} ms, of the {1000 * CHUNK / rate:.1f} ms that it plays")
    samples = torch.frombuffer(played, dtype=torch.int16)
    audio.save("live.wav", samples / 32768, rate)

    whole = fastwave.generate(model, seconds=SECONDS, seed=SEED, threads=1).samples[0]
    assert bytes(played) == pcm(whole), "the stream is not what one call makes"


if __name__ == "__main__":
    main()
