"""The cases of tests/importers/data/nv-*: networks made, saved and run by the PyTorch module of NVIDIA/nv-wavenet.

Usage: python tests/importers/make_nv.py CHECKOUT    (of the project, at 03f6957)

Three names of torch that this code uses are gone from today's PyTorch; they are given back here.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).resolve().parent / "data"
STEPS, GREEDY = 48, 40
SHAPE = {
    "n_in_channels": 256,
    "n_layers": 5,
    "max_dilation": 4,
    "n_residual_channels": 5,
    "n_skip_channels": 7,
    "n_out_channels": 256,
    "n_cond_channels": 4,
    "upsamp_window": 9,
    "upsamp_stride": 4,
}
CASES = {
    "nv-checkpoint": {},
    "nv-state": {"n_in_channels": 32, "n_out_channels": 32, "max_dilation": 5, "upsamp_window": 4},
}


def main():
    sys.path.insert(0, str(Path(sys.argv[1]) / "pytorch"))
    torch.nn.init.xavier_uniform = torch.nn.init.xavier_uniform_
    torch.nn.functional.tanh, torch.nn.functional.sigmoid = torch.tanh, torch.sigmoid
    import utils
    from wavenet import WaveNet

    for name, changes in CASES.items():
        torch.manual_seed(len(name))
        shape = {**SHAPE, **changes}
        model = WaveNet(**shape)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.5)
        folder = DATA / name
        folder.mkdir(parents=True, exist_ok=True)
        if name == "nv-checkpoint":  # as its train.py saves it
            optimiser = torch.optim.Adam(model.parameters())
            saved = {"model": model, "iteration": 7, "optimizer": optimiser.state_dict(), "learning_rate": 1e-3}
            data = {"mu_quantization": 256, "filter_length": 800, "hop_length": 4, "sampling_rate": 16_000}
            text = json.dumps({"data_config": data, "wavenet_config": shape}, indent=2)
            (folder / "config.json").write_text(text + "\n")
            options = {"from": "nv", "src": "wavenet_7"}
        else:
            saved = model.state_dict()
            known = {key: shape[key] for key in ("max_dilation", "upsamp_stride")}
            options = {"from": "nv", "src": "wavenet_7", "sample_rate": 16_000, "set": known}
        torch.save(saved, folder / "wavenet_7")
        (folder / "options.json").write_text(json.dumps(options, indent=2) + "\n")
        np.savez_compressed(folder / "expected.npz", **expected(model.double(), shape, utils))


@torch.no_grad()
def expected(model, shape, utils):
    rng = np.random.default_rng(0)
    classes = shape["n_in_channels"]
    tokens = rng.integers(0, classes, STEPS)
    field = 1 + sum(2 ** (layer % shape["max_dilation"].bit_length()) for layer in range(shape["n_layers"]))
    length = field + GREEDY + STEPS
    frames = rng.normal(size=(-(-length // shape["upsamp_stride"]) + 1, shape["n_cond_channels"]))
    heard = rng.integers(0, classes, field).tolist()
    for _ in range(GREEDY):
        heard.append(int(run(model, np.array(heard), frames)[-1].argmax()))
    samples = rng.uniform(-1, 1, 200).astype(np.float32)
    return {
        "tokens": tokens,
        "frames": frames,
        "outputs": run(model, tokens, frames).astype(np.float32),
        "start": np.array(heard[:-GREEDY]),
        "greedy": np.array(heard[-GREEDY:]),
        "samples": samples,
        "classes": utils.mu_law_encode(torch.from_numpy(samples), classes).numpy(),
        "decoded": utils.mu_law_decode_numpy(np.arange(classes), classes),
    }


def run(model, tokens, frames):
    """What the module predicts behind each token: it shifts its outputs by one, and leaves out the last one."""
    more = np.append(tokens, 0)
    outputs = model((torch.from_numpy(frames.T[None]), torch.from_numpy(more)[None]))
    return outputs[0].T[1:].numpy()


if __name__ == "__main__":
    main()
