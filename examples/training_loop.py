"""Your own training loop: a small model learns a plucked string, written as any PyTorch program.

    python examples/training_loop.py

Shows what a loop needs: a config, tokens from its codec, `model.loss`, an optimiser. It then scores the sound, writes
`string.wav` (the model's continuation of it) into the current folder, and checks that something was learned. Takes a
few seconds on one core. `fastwave train` adds what a long run needs: checkpoints, validation, a report.
"""

import math
import random
import time

import torch

import fastwave

STEPS, BATCH, WINDOW = 60, 4, 1024


def string(seconds: float, rate: int, pitch: float = 220.0) -> torch.Tensor:
    """A string plucked twice a second: a delay line of one period, fed back through an average of two samples."""
    period, generator = round(rate / pitch), random.Random(0)
    line, wave = [0.0] * period, []
    for at in range(round(seconds * rate)):
        if at % (rate // 2) == 0:
            line = [generator.uniform(-0.5, 0.5) for _ in line]
        slot = at % period
        wave.append(line[slot])
        line[slot] = 0.498 * (line[slot] + line[(slot + 1) % period])
    return torch.tensor(wave)


def main() -> None:
    begun = time.monotonic()
    torch.manual_seed(0)
    config = fastwave.WaveNetConfig(
        residual_channels=24,
        skip_channels=48,
        dilations=fastwave.dilation_cycle(depth=7, stacks=1),  # it sees 128 samples: three periods of the string
        sample_rate=8000,
    )
    model = fastwave.WaveNet(config)
    wave = string(2.0, config.sample_rate)
    tokens = config.codec_object.encode(wave)  # [time], classes 0 .. 255
    print(f"{config.parameter_count:,} parameters, receptive field {config.receptive_field} samples")

    before = fastwave.score(model, wave)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(STEPS):
        starts = torch.randint(len(tokens) - WINDOW, (BATCH,))
        batch = torch.stack([tokens[start : start + WINDOW] for start in starts])
        loss = model.loss(batch)  # nats a sample
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 20 == 0:
            print(f"step {step}: {loss.item() / math.log(2):.2f} bits a sample")
    after = fastwave.score(model, wave)
    print(f"{before:.2f} bits a sample before, {after:.2f} after, {time.monotonic() - begun:.1f} s")

    fastwave.generate(model, seconds=1, prime=wave, temperature=0.8).save("string.wav")
    print("string.wav: one second that follows the training sound")

    assert after < before - 2, "the model learned nothing"


if __name__ == "__main__":
    main()
