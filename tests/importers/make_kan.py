"""The cases of tests/importers/data/kan-*: made, saved and run by kan-bayashi/PytorchWaveNetVocoder's own code.

Usage: python tests/importers/make_kan.py CHECKOUT    (of the project, at d071ed3)
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).resolve().parent / "data"
SHAPE = {"n_quantize": 256, "n_aux": 5, "n_resch": 6, "n_skipch": 7, "dilation_depth": 3, "dilation_repeat": 2}
CASES = {
    "kan-upsampled": {"kernel_size": 2, "upsampling_factor": 5, "use_upsampling_layer": True},
    "kan-repeated": {"kernel_size": 3, "upsampling_factor": 4, "use_upsampling_layer": False},
}
STEPS, GREEDY = 44, 24


def main():
    sys.path.insert(0, sys.argv[1])
    from wavenet_vocoder.nets import wavenet

    for name, case in CASES.items():
        torch.manual_seed(len(name))
        options = {**SHAPE, **case, "feature_type": "melspc"}
        passed = {key: options[key] for key in (*SHAPE, "kernel_size")}
        factor = options["upsampling_factor"] if options["use_upsampling_layer"] else 0
        model = wavenet.WaveNet(**passed, upsampling_factor=factor)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.5)
        folder = DATA / name
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"model": model.state_dict()}, folder / "checkpoint-final.pkl")
        torch.save(argparse.Namespace(**options), folder / "model.conf")
        (folder / "options.json").write_text(json.dumps({"from": "kan", "sample_rate": 16_000}, indent=2) + "\n")
        model.onehot.register_forward_hook(lambda module, inputs, output: output.double())  # it makes float32
        np.savez_compressed(folder / "expected.npz", **expected(wavenet, model.double(), options))


def expected(wavenet, model, options):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 256, STEPS)
    total = STEPS + model.receptive_field + GREEDY
    frames = rng.standard_normal((-(-total // options["upsampling_factor"]), 5)).astype(np.float32)
    start = rng.integers(0, 256, model.receptive_field)
    samples = np.concatenate([rng.uniform(-1, 1, 200), [0.0, 1.0, -1.0, 0.5, -0.25]])
    h = torch.from_numpy(frames).double().T[None]
    if not options["use_upsampling_layer"]:
        h = h.repeat_interleave(options["upsampling_factor"], dim=2)
    greedy = model.fast_generate(torch.from_numpy(start)[None], h, GREEDY, mode="argmax")
    return {
        "tokens": tokens,
        "frames": frames,
        "outputs": run(model, options, tokens, h).astype(np.float32),
        "start": start,
        "greedy": greedy,
        "samples": samples,
        "classes": wavenet.encode_mu_law(samples),
        "decoded": np.clip(
            wavenet.decode_mu_law(np.arange(256)), -1, 1
        ),  # class 0 lies outside, which a file cannot hold
    }


@torch.no_grad()
def run(model, options, tokens, h):
    """[T, 256]; what lies behind the tokens cannot be seen by them."""
    samples = h.shape[2] * (options["upsampling_factor"] if options["use_upsampling_layer"] else 1)
    x = torch.nn.functional.pad(torch.from_numpy(tokens), (0, samples - len(tokens)))
    return model(x[None], h)[0, : len(tokens)].numpy()


if __name__ == "__main__":
    main()
