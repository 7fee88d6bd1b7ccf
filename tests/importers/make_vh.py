"""The cases of tests/importers/data/vh-*: networks made, saved and run by vincentherrmann/pytorch-wavenet's own code.

Usage: python tests/importers/make_vh.py CHECKOUT    (of the project, at 26ba289)

Three things of that code no longer run on today's PyTorch: its padding, and a queue that takes a column where it has a
row, which are repaired here; and `generate_fast`, whose loop this script runs itself.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).resolve().parent / "data"
STEPS, GREEDY = 48, 40
CASES = {
    "vh-module": {"whole": True, "legacy": False, "network": {"kernel_size": 2, "bias": True}},
    "vh-module-legacy": {"whole": True, "legacy": True, "network": {"kernel_size": 2, "bias": False}},
    "vh-state": {"whole": False, "legacy": True, "network": {"kernel_size": 3, "bias": True}},
}
SHAPE = {
    "layers": 3,
    "blocks": 2,
    "dilation_channels": 6,
    "residual_channels": 5,
    "skip_channels": 7,
    "end_channels": 9,
}


def main():
    sys.path.insert(0, sys.argv[1])
    import audio_data
    import wavenet_model
    import wavenet_modules

    wavenet_modules.constant_pad_1d = pad
    # Legacy files of whole modules hold the source of every class, which belongs to its project
    torch.serialization.get_source_lines_and_file = lambda _: (["# the source of a class\n"], 1, "wavenet_model.py")
    wavenet_model.DilatedQueue.enqueue = enqueue
    for name, case in CASES.items():
        torch.manual_seed(len(name))
        model = wavenet_model.WaveNetModel(**SHAPE, **case["network"], output_length=8)
        spread(model)
        folder = DATA / name
        folder.mkdir(parents=True, exist_ok=True)
        saved = model if case["whole"] else {f"module.{key}": value for key, value in model.state_dict().items()}
        torch.save(saved, folder / "snapshot", _use_new_zipfile_serialization=not case["legacy"])
        known = {} if case["whole"] else {"layers": SHAPE["layers"], "blocks": SHAPE["blocks"]}
        options = {"from": "vh", "src": "snapshot", "sample_rate": 16_000, "set": known}
        (folder / "options.json").write_text(json.dumps(options, indent=2) + "\n")
        np.savez_compressed(folder / "expected.npz", **expected(model.double(), audio_data))


def enqueue(queue, values):
    queue.data[:, queue.in_pos] = values.reshape(-1)
    queue.in_pos = (queue.in_pos + 1) % queue.max_length


def pad(x, target_size, dimension, pad_start):
    assert dimension == 2 and pad_start
    return torch.nn.functional.pad(x, (target_size - x.shape[2], 0))


def spread(model):
    """Larger weights than those of a new network, whose outputs hardly depend on its input."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.6)


def expected(model, audio_data):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 256, STEPS)
    outputs = run(model, tokens)
    whole = model.wavenet(one_hot(tokens), model.wavenet_dilate)[0].T.detach().numpy()
    settled = model.receptive_field - 1  # the same from its other path, for whole sequences
    assert np.abs(whole[-(STEPS - settled) :] - outputs[settled:]).max() < 1e-9
    samples = np.concatenate([rng.uniform(-1, 1, 200), [0.0, 1.0, -1.0, 0.5, -0.25]])
    heard = rng.integers(0, 256, model.receptive_field).tolist()
    for _ in range(GREEDY):
        heard.append(int(run(model, np.array(heard))[-1].argmax()))
    return {
        "tokens": tokens,
        "outputs": outputs.astype(np.float32),
        "start": np.array(heard[:-GREEDY]),
        "greedy": np.array(heard[-GREEDY:]),
        "samples": samples,
        "classes": audio_data.quantize_data(samples, 256),
        "decoded": audio_data.mu_law_expansion(np.arange(256) / 256 * 2.0 - 1, 256),
    }


def one_hot(tokens):
    return torch.nn.functional.one_hot(torch.as_tensor(tokens), 256).T[None].double()


@torch.no_grad()
def run(model, tokens):
    """Step by step through its queues, from zeros: [T, 256]"""
    for queue in model.dilated_queues:
        queue.dtype = torch.DoubleTensor
        queue.reset()
    steps = [model.wavenet(one_hot(tokens[[step]]), model.queue_dilate)[0, :, 0] for step in range(len(tokens))]
    return torch.stack(steps).numpy()


if __name__ == "__main__":
    main()
