"""Logs and samples as training runs leave them, for tests of the report."""

import json

import numpy as np

from fastwave.config import WaveNetConfig
from fastwave.sound import audio

RATE = 16_000
SKIPPED = [[f"take {number}.wav", "there is no sound in this file"] for number in range(23)]


def start(text=False, **changes):
    data = {
        "source": "/data/strings",
        "files": 212,
        "samples": 9_600_000,
        "held_out_samples": 480_000,
        "sample_rate": 0 if text else RATE,
        "white_noise_bits": 8.0,
        "order0_bits": 4.31 if text else 6.12,
        "skipped": [],
    }
    config = WaveNetConfig.preset("small", **({"codec": "bytes", "sample_rate": 0} if text else {}))
    line = {
        "event": "start",
        "step": 0,
        "elapsed": 0.0,
        "command": "fastwave train strings --out runs/strings --minutes 30 --set residual_channels=48",
        "config": config.to_dict(),
        "settings": {"steps": 20_000, "batch": 8, "learning_rate": 0.002, "precision": "float32", "minutes": None},
        "device": "cpu",
        "parameters": 410_368,
        "data": {**data, **changes},
    }
    return json.loads(json.dumps(line))


def train(step, bits=3.0, **values):
    usual = {"learning_rate": 1e-3, "gradient_norm": 0.4, "samples_per_second": 40_000.0, "waiting": 0.01}
    return {"event": "train", "step": step, "elapsed": step / 2, "bits": bits, **usual, **values}


def validation(step, bits=3.0):
    return {"event": "validation", "step": step, "elapsed": step / 2, "bits": bits}


def sample(step, suffix=".wav"):
    file = f"samples/step-{step:08}{suffix}"
    return {"event": "sample", "step": step, "elapsed": step / 2, "file": file, "real": f"samples/real{suffix}"}


def write_log(run, lines):
    run.mkdir(parents=True, exist_ok=True)
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def pluck(seconds, noise, seed):
    """A decaying chord at 16 kHz under so much noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    random = np.random.default_rng(seed)
    wave = np.zeros(len(time))
    for number, pitch in enumerate((196.0, 246.9, 293.7, 392.0)):
        after = np.maximum(time - 0.45 * number, 0)
        for harmonic in range(1, 18):
            wave += (
                (after > 0) * np.sin(2 * np.pi * pitch * harmonic * after) * np.exp(-after * (1 + harmonic)) / harmonic
            )
    return 0.2 * (1 - noise) * wave + 0.2 * noise * random.standard_normal(len(time))


def write_run(run, sound=True):
    """A run as a training leaves it: 12,000 steps with a rollback, a resume, and twelve samples."""
    random = np.random.default_rng(0)
    suffix = ".wav" if sound else ".txt"
    lines = [start(text=not sound, skipped=SKIPPED)]
    exploded = {"to": 7_000, "learning_rate_scale": 0.5, "reason": "the loss exploded at step 7400"}
    stretches = (
        (0, 7_400, {"event": "rollback", "step": 7_000, "elapsed": 3_700.0, **exploded}),
        (7_000, 9_000, {"event": "resume", "step": 8_500, "elapsed": 4_500.0, "bad": []}),
        (
            8_500,
            12_000,
            {"event": "end", "step": 12_000, "elapsed": 7_984.0, "bits": 2.51, "reason": "stopped after 133 minutes"},
        ),
    )
    for first, last, ending in stretches:
        for step in range(first + 10, last + 1, 10):
            loss = 2.3 + 5.6 * (1 + step / 60) ** -0.7
            rate = 2e-3 * min(1, step / 200) * (1 + np.cos(np.pi * step / 20_000)) / 2
            speed = 41_000 + 1_500 * random.standard_normal()
            bits = loss + 0.09 * random.standard_normal()
            lines.append(train(step, bits, learning_rate=rate, samples_per_second=speed))
            lines += [validation(step, loss + 0.07)] * (step % 500 == 0)
            lines += [sample(step, suffix)] * (step % 1000 == 0)
            if step == 3_210:
                lines.append({"event": "micro_batch", "step": step, "elapsed": step / 2, "size": 4})
            if step == 5_180:
                reason = "the gradient is not finite"
                lines.append({"event": "skipped_step", "step": step, "elapsed": step / 2, "reason": reason})
        lines.append(ending)
    write_log(run, lines)
    (run / "samples").mkdir()
    for step in range(1000, 12_001, 1000):
        path = run / "samples" / f"step-{step:08}{suffix}"
        if sound:
            audio.save(path, pluck(3.0, (1 - step / 13_000) ** 2, step), RATE)
        else:
            letters = random.choice(np.frombuffer(b"the cat sat on a mat.\n", np.uint8), 900)
            path.write_bytes(letters.tobytes())
    if sound:
        audio.save(run / "samples" / "real.wav", pluck(3.0, 0.0, 1), RATE)
    else:
        (run / "samples" / "real.txt").write_text("It was a bright cold day in April.\n" * 20)
    return run
