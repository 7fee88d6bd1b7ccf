"""The cases of tests/importers/data/clarinet-*: teachers made, saved and run by ksw0306/ClariNet's own code.

Usage: python tests/importers/make_clarinet.py CHECKOUT    (of the project, at df31b4c)
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).resolve().parent / "data"
SHAPE = {"residual_channels": 6, "gate_channels": 5, "skip_channels": 7, "cin_channels": 5}
CASES = {
    "clarinet-three-taps": {"num_blocks": 2, "num_layers": 3, "kernel_size": 3, "upsample_scales": [4, 2]},
    "clarinet-two-taps": {"num_blocks": 1, "num_layers": 4, "kernel_size": 2, "upsample_scales": [6]},
}
STEPS, MEANS = 120, 24


def main():
    sys.path.insert(0, sys.argv[1])
    from wavenet import Wavenet

    for name, case in CASES.items():
        torch.manual_seed(len(name))
        model = Wavenet(out_channels=2, **SHAPE, **case)
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                parameter.normal_(0, 0.5)
                if parameter_name.endswith("weight_g"):
                    parameter.abs_().add_(0.5)
        folder = DATA / name
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"state_dict": model.state_dict(), "global_step": 7}, folder / "checkpoint_step000000007_ema.pth")
        options = {"from": "clarinet", "sample_rate": 22_050, "set": {"num_blocks": case["num_blocks"]}}
        (folder / "options.json").write_text(json.dumps(options, indent=2) + "\n")
        np.savez_compressed(folder / "expected.npz", **expected(model.double().eval(), case["upsample_scales"]))


@torch.no_grad()
def expected(model, scales):
    rng = np.random.default_rng(0)
    total = STEPS + MEANS
    frames = rng.standard_normal((-(-total // int(np.prod(scales))), 5)).astype(np.float32)
    c = model.upsample(torch.from_numpy(frames).double().T[None])
    tokens = rng.uniform(-1, 1, STEPS)
    heard = torch.from_numpy(tokens)
    for _ in range(MEANS):  # each sample is the mean of its Gaussian
        mean = model.wavenet(heard[None, None], c[:, :, : len(heard)])[0, 0, -1]
        heard = torch.cat([heard, mean.clamp(-1, 1)[None]])
    outputs = model.wavenet(torch.from_numpy(tokens)[None, None], c[:, :, :STEPS])[0].T
    return {
        "tokens": tokens,
        "frames": frames,
        "outputs": outputs.numpy().astype(np.float32),
        "means": heard[STEPS:].numpy(),
    }


if __name__ == "__main__":
    main()
