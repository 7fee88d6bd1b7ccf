"""Generation beside the code of other projects: networks of published shapes, theirs and imported, in turn.

Usage: python bench/peers.py r9y9 CHECKOUT    (of r9y9/wavenet_vocoder, at v0.1.1 or at a35fff7)
       python bench/peers.py kan CHECKOUT     (of kan-bayashi/PytorchWaveNetVocoder, at d071ed3)

The clock is that of the processor, one thread, because machines that run this may be busy. A row is printed after the
imported model has given the project's own outputs for the same input.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import types
from pathlib import Path

import torch

from fastwave import Engine, generate, import_model

OURS = 2560  # samples that we generate a round
ROUNDS = {"r9y9": 5, "kan": 3}  # kan's own begin with a parallel pass over a receptive field: a minute
THEIRS = {"r9y9": 256, "kan": 96}  # samples of theirs a round
LARGEST = 2e-5  # of the largest output, both in float32
SHAPES = {
    "r9y9 of 2018 (LJSpeech, mixture of logistics)": {
        "layers": 24, "stacks": 4, "residual_channels": 512, "gate_channels": 512, "skip_out_channels": 256,
        "kernel_size": 3, "cin_channels": 80, "upsample_conditional_features": True, "upsample_scales": [4, 4, 4, 4],
        "freq_axis_kernel_size": 3, "legacy": True, "out_channels": 30,
    },
    "r9y9 master (LJSpeech, mixture of logistics)": {
        "layers": 24, "stacks": 4, "residual_channels": 128, "gate_channels": 256, "skip_out_channels": 128,
        "kernel_size": 3, "cin_channels": 80, "upsample_conditional_features": True, "cin_pad": 2, "out_channels": 30,
        "upsample_net": "ConvInUpsampleNetwork",
        "upsample_params": {"upsample_scales": [4, 4, 4, 4], "cin_channels": 80, "cin_pad": 2},
    },
    "kan-bayashi (LJSpeech, mel)": {
        "n_quantize": 256, "n_aux": 80, "n_resch": 512, "n_skipch": 256, "dilation_depth": 10, "dilation_repeat": 3,
        "kernel_size": 3, "upsampling_factor": 256,
    },
}  # fmt: skip


def r9y9(checkout):
    """(name, files of a checkpoint, import options, frames, tokens, outputs(tokens), rate(samples), prepare())"""
    sys.modules["wavenet_vocoder.version"] = types.SimpleNamespace(version="", __version__="")
    from wavenet_vocoder import WaveNet

    master = (checkout / "wavenet_vocoder" / "upsample.py").exists()
    name = [name for name in SHAPES if name.startswith("r9y9")][master]
    shape, pad = SHAPES[name], SHAPES[name].get("cin_pad", 0)
    model = WaveNet(**shape, dropout=0.0, scalar_input=True).eval()
    hparams = {**shape, "input_type": "raw", "sample_rate": 22_050, "hop_size": 256, "output_distribution": "Logistic"}
    frames = torch.rand(OURS // 256, 80)

    def padded(count):
        c = frames[:count].T[None]
        return torch.nn.functional.pad(c, (pad, pad), mode="replicate") if pad else c

    state = {"state_dict": {name: tensor.clone() for name, tensor in model.state_dict().items()}}

    def outputs(tokens):
        return model(tokens[None, None], padded(len(tokens) // 256))[0].T

    def rate(samples):
        return samples / seconds(lambda: model.incremental_forward(None, c=padded(samples // 256), T=samples))

    files = {"checkpoint.pth": state, "hparams.json": hparams}
    return name, files, {}, frames, torch.rand(256) * 2 - 1, outputs, rate, model.make_generation_fast_


def kan(checkout):
    """The same."""
    from wavenet_vocoder.nets.wavenet import WaveNet, initialize

    (name,) = [name for name in SHAPES if name.startswith("kan")]
    model = WaveNet(**SHAPES[name]).eval()
    model.apply(initialize)
    frames = torch.randn(OURS // 256 + 64, 80)
    options = argparse.Namespace(**SHAPES[name], use_upsampling_layer=True, feature_type="melspc")
    files = {"checkpoint-final.pkl": {"model": model.state_dict()}, "model.conf": options}

    def outputs(tokens):
        return model(tokens[None], frames[: len(tokens) // 256].T[None])[0]

    def rate(samples):
        """Without the pass over the receptive field that comes first: from the first sample to the last."""
        ends, postprocess = [], model._postprocess

        def stamped(x):
            ends.append(time.process_time())
            return postprocess(x)

        model._postprocess = stamped
        model.fast_generate(torch.zeros(1, 1, dtype=torch.long), frames.T[None], samples)
        model._postprocess = postprocess
        return (samples - 1) / (ends[-1] - ends[0])

    settings = {"sample_rate": 22_050}
    return name, files, settings, frames[: OURS // 256], torch.randint(256, (256,)), outputs, rate, lambda: None


def main(project, checkout):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sys.path.insert(0, str(checkout))
    name, files, settings, frames, tokens, outputs, rate, prepare = {"r9y9": r9y9, "kan": kan}[project](checkout)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for file, content in files.items():
            path = Path(folder, file)
            path.write_text(json.dumps(content)) if file.endswith("json") else torch.save(content, path)
        model, report = import_model(folder, **settings)
        expected = outputs(tokens)
        ours = model(tokens[None], frames[None, : len(tokens) // model.config.hop])[0]
        difference = float((ours - expected).abs().max() / expected.abs().max())
        print(f"{name}: import {report.difference:.1e} (float64), outputs {difference:.1e} (float32)", flush=True)
        assert difference < LARGEST, "the imported model gives other outputs: no speed is measured"
        prepare()
        engines = {dtype: Engine(model, "cpu", dtype, threads=1) for dtype in ("float32", "int8")}
        rates = {"theirs": [], **{dtype: [] for dtype in engines}}
        for _ in range(ROUNDS[project]):
            rates["theirs"].append(rate(THEIRS[project]))
            for dtype, engine in engines.items():
                rates[dtype].append(OURS / seconds(lambda e=engine: generate(e, samples=OURS, condition=frames)))
            print({key: [round(value) for value in values] for key, values in rates.items()}, flush=True)
    median = {key: statistics.median(values) for key, values in rates.items()}
    for key, values in rates.items():
        spread = f"{min(values):.0f} to {max(values):.0f}"
        print(
            f"{name}: {key}: {median[key]:.0f} samples/s ({spread}), {median[key] / median['theirs']:.1f} times theirs"
        )


def seconds(function, *arguments):
    """Of processor time."""
    begun = time.process_time()
    function(*arguments)
    return time.process_time() - begun


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
