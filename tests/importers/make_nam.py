"""The cases of tests/importers/data/nam-*: models made, exported and run by sdatkinson/neural-amp-modeler's own code.

Usage: python tests/importers/make_nam.py CHECKOUT

CHECKOUT is the project at v0.9.0 for the files of the first architecture as most of them are, and at 0.13.0 (or the
package's folder) for those that newer versions write.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).resolve().parent / "data"
DILATIONS = [1, 2, 4, 8, 1]
CASES = {"plain": {"activation": "Tanh"}, "gated": {"activation": "ReLU", "gated": True}}


def main():
    sys.path.insert(0, sys.argv[1])
    from nam.models.wavenet import WaveNet

    old = (Path(sys.argv[1]) / "nam" / "models" / "wavenet.py").exists()
    for name, case in CASES.items():
        torch.manual_seed(len(name))
        model = WaveNet.init_from_config(config(case, old))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.4)
        folder = DATA / f"nam-{name}{'' if old else '-new'}"
        folder.mkdir(parents=True, exist_ok=True)
        model.export(folder, basename="amp")
        rng = np.random.default_rng(0)
        wave = np.concatenate([rng.uniform(-1, 1, 5000), np.zeros(100)]).astype(np.float32)
        with torch.no_grad():
            sound = model.double().eval()(torch.from_numpy(wave).double(), pad_start=True).numpy()
        assert sound.shape == wave.shape and json.loads((folder / "amp.nam").read_text())["architecture"] == "WaveNet"
        np.savez_compressed(folder / "sound.npz", wave=wave, sound=sound.astype(np.float32))


def config(case, old):
    """Two arrays, as its standard model has them, with fewer channels."""
    arrays = []
    for inputs, channels, out, bias in ((1, 6, 4, False), (6, 4, 1, True)):
        array = {"input_size": inputs, "condition_size": 1, "channels": channels, "kernel_size": 3}
        array["dilations"] = DILATIONS
        if old:
            array |= {"head_size": out, "head_bias": bias, "activation": case["activation"]}
            array["gated"] = case.get("gated", False)
        else:
            array["head"] = {"out_channels": out, "kernel_size": 1, "bias": bias}
            array["activation"] = case["activation"]
            if case.get("gated"):
                pair = {"name": "PairMultiply", "primary": case["activation"], "secondary": "Sigmoid"}
                array["activation"] = pair
        arrays.append(array)
    return {"layers_configs": arrays, "head_config": None, "head_scale": 0.02, "sample_rate": 48_000}


if __name__ == "__main__":
    main()
