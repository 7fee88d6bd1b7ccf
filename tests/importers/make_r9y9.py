"""The cases of tests/importers/data/r9y9-*: networks made, saved and run by r9y9/wavenet_vocoder's own code.

Usage: python tests/importers/make_r9y9.py CHECKOUT NNMNKWII [SPEECHSPLIT]

CHECKOUT is the project at the commit that stands beside the cases below (all other cases of a version are of the same
age); NNMNKWII is r9y9/nnmnkwii at b091069, whose mu-law all use. For 76ff956 and v0.0.1, r9y9/deepvoice3_pytorch at
f90255c must be on PYTHONPATH, whose layers they use. SPEECHSPLIT is auspicious3000/SpeechSplit at c39330d, which
brings r9y9's model of 2018 (v0.1.1) with a synthesis.py and hyper-parameters of its own.
"""

import importlib.util
import inspect
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).resolve().parent / "data"
SHAPE = {
    "layers": 6,
    "stacks": 2,
    "residual_channels": 6,
    "gate_channels": 10,
    "skip_out_channels": 7,
    "kernel_size": 2,
}
STEPS, GREEDY = 40, 24
SCALES = {"upsample_scales": [2, 3]}
MULAW = {"input_type": "mulaw-quantize", "quantize_channels": 256, "out_channels": 256}
RAW = {"input_type": "raw", "quantize_channels": 65_536}
MEL = {"cin_channels": 5, "upsample_conditional_features": True, "hop_size": 6}

MASTER = {
    "r9y9-mulaw": {
        **MULAW, **MEL, "cin_pad": 2, "gin_channels": 3, "n_speakers": 4, "upsample_net": "ConvInUpsampleNetwork",
        "upsample_params": {**SCALES, "freq_axis_kernel_size": 3},
    },
    "r9y9-mixture": {
        **RAW, **MEL, "out_channels": 9, "cin_pad": 0, "output_distribution": "Logistic",
        "upsample_net": "UpsampleNetwork", "postprocess": "inv_preemphasis", "global_gain_scale": 0.55,
        "upsample_params": {
            **SCALES, "upsample_activation": "LeakyReLU", "upsample_activation_params": {"negative_slope": 0.4},
        },
    },
    "r9y9-gaussian": {**RAW, "out_channels": 2, "output_distribution": "Normal"},
    "r9y9-repeated": {
        **RAW, **MEL, "out_channels": 2, "output_distribution": "Normal", "upsample_conditional_features": False,
    },
}  # fmt: skip
EARLY = {
    "r9y9-legacy": {**MULAW, **MEL, **SCALES, "freq_axis_kernel_size": 3, "legacy": True},
    "r9y9-0.1.1": {**RAW, **MEL, **SCALES, "freq_axis_kernel_size": 1, "legacy": False, "out_channels": 6,
                   "weight_normalization": False, "gin_channels": 2, "n_speakers": 3},
}  # fmt: skip
SPLIT = {"r9y9-speechsplit": {**MEL, **SCALES, "freq_axis_kernel_size": 3, "legacy": True, "out_channels": 9}}
# 2092a64 of May 2018, the commit of a published checkpoint: before the flag `legacy`
MAY = {"r9y9-may-2018": {**RAW, **MEL, **SCALES, "freq_axis_kernel_size": 3, "out_channels": 9, "gin_channels": 2,
                         "n_speakers": 3}}  # fmt: skip
# v0.0.1 of January 2018: upsampling without normalisation and rectifiers
FIRST = {
    "r9y9-0.0.1": {**MEL, **SCALES, "freq_axis_kernel_size": 3, "gin_channels": 2, "n_speakers": 3},
    "r9y9-0.0.1-one-scale": {**MEL, "upsample_scales": [6], "freq_axis_kernel_size": 1},
}
# 76ff956, some days older: upsampling over all channels at once
DENSE = {"r9y9-dense": {**MEL, **SCALES}}


def main():
    checkout, nnmnkwii = Path(sys.argv[1]), Path(sys.argv[2])
    sys.path.insert(0, str(checkout))
    sys.modules["wavenet_vocoder.version"] = types.SimpleNamespace(version="", __version__="")
    from wavenet_vocoder import WaveNet

    mu_law = load_mu_law(nnmnkwii)
    cases, settings = cases_of(WaveNet, checkout)
    for name, hparams in cases.items():
        make(name, {**SHAPE, "sample_rate": 16_000, **hparams}, settings, mu_law, lambda each: build(WaveNet, each))
    if len(sys.argv) > 3:
        for name, hparams in SPLIT.items():
            options = {"sample_rate": 16_000, "set": {"input_type": "raw"}}
            make(name, {**SHAPE, **hparams}, options, mu_law, build_split(Path(sys.argv[3])))


def cases_of(wavenet, checkout):
    """The cases of this version, and what an import of theirs must be told."""
    parameters = inspect.signature(wavenet).parameters
    if (checkout / "wavenet_vocoder" / "upsample.py").exists():
        return MASTER, {}
    if "legacy" in parameters:
        return EARLY, {}
    if "scalar_input" in parameters:
        return MAY, {"set": {"legacy": True}}
    return (FIRST if "freq_axis_kernel_size" in parameters else DENSE), {}


def make(name, hparams, options, mu_law, build):
    torch.manual_seed(len(name))
    model = build(hparams)
    spread(model)
    folder = DATA / name
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": model.state_dict(), "global_step": 7}, folder / "checkpoint_step000000007_ema.pth")
    (folder / "hparams.json").write_text(json.dumps(hparams, indent=2) + "\n")
    (folder / "options.json").write_text(json.dumps({"from": "r9y9", **options}, indent=2) + "\n")
    mu = 255 if "output_distribution" in inspect.signature(type(model)).parameters else 256
    np.savez_compressed(folder / "expected.npz", **expected(model.double().eval(), hparams, mu_law, mu))


def build_split(checkout):
    """By SpeechSplit's synthesis.build_model."""
    stand_ins = {"hparams": types.ModuleType("hparams"), "librosa": types.ModuleType("librosa")}
    stand_ins["hparams"].hparams = None
    sys.modules.update(stand_ins)
    sys.path.insert(0, str(checkout))
    synthesis = importlib.import_module("synthesis")

    def build(hparams):
        usual = {"builder": "wavenet", "gin_channels": -1, "n_speakers": -1, "dropout": 0.0}
        synthesis.hparams = types.SimpleNamespace(weight_normalization=True, **usual, **hparams)
        return synthesis.build_model()

    return build


def build(wavenet, hparams):
    """As its train.build_model does."""
    known = inspect.signature(wavenet).parameters
    scalar = hparams.get("input_type") == "raw"
    arguments = {"dropout": 0.0, "scalar_input": scalar, "use_speaker_embedding": "n_speakers" in hparams, **hparams}
    arguments = {key: value for key, value in arguments.items() if key in known}
    if "upsample_params" in arguments:
        filled = {"cin_channels": hparams["cin_channels"], "cin_pad": hparams["cin_pad"]}
        arguments["upsample_params"] = {**arguments["upsample_params"], **filled}
    return wavenet(**arguments)


def load_mu_law(nnmnkwii):
    """Its module of mu-law, without the packages that other functions of it need."""
    sys.modules.setdefault("sklearn.utils.extmath", types.SimpleNamespace(_incremental_mean_and_var=None))
    path = nnmnkwii / "nnmnkwii" / "preprocessing" / "generic.py"
    spec = importlib.util.spec_from_file_location("mu_law", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def spread(model):
    """Other weights than those of a new network, whose outputs hardly depend on its input."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.5)
            if name.endswith("weight_g"):
                parameter.abs_().add_(0.5)


def expected(model, hparams, mu_law, mu):
    rng = np.random.default_rng(0)
    classes = (
        hparams.get("input_type", "mulaw-quantize") == "mulaw-quantize" and hparams.get("out_channels", 256) == 256
    )
    tokens = rng.integers(0, 256, STEPS) if classes else rng.uniform(-1, 1, STEPS)
    values = {"tokens": tokens}
    if "cin_channels" in hparams:
        total = STEPS + model.receptive_field + GREEDY
        values["frames"] = rng.standard_normal((-(-total // hparams["hop_size"]), 5)).astype(np.float32)
    if "n_speakers" in hparams:
        values["speaker"] = np.array(2)
    values["outputs"] = run(model, hparams, values, tokens).astype(np.float32)
    if not classes:
        return values
    heard = rng.integers(0, 256, model.receptive_field).tolist()
    for _ in range(GREEDY):
        heard.append(int(run(model, hparams, values, np.array(heard))[-1].argmax()))
    samples = np.concatenate([rng.uniform(-1, 1, 200), [0.0, 0.999, -1.0, 0.5, -0.25]])
    return {
        **values,
        "start": np.array(heard[:-GREEDY]),
        "greedy": np.array(heard[-GREEDY:]),
        "samples": samples,
        "classes": mu_law.mulaw_quantize(samples, mu),
        # numbers one by one: arrays are expanded in float32
        "decoded": np.array([mu_law.inv_mulaw_quantize(float(q), mu) for q in range(256)]),
    }


@torch.no_grad()
def run(model, hparams, values, tokens):
    """[T, outputs]; what lies behind the tokens cannot be seen by them."""
    x = torch.as_tensor(tokens)
    x = x.double()[None] if x.is_floating_point() else torch.nn.functional.one_hot(x, 256).T.double()
    c = g = None
    if "frames" in values:
        c = torch.from_numpy(values["frames"]).double().T[None]
        hop, pad = hparams["hop_size"], hparams.get("cin_pad", 0)
        x = torch.nn.functional.pad(x, (0, c.shape[2] * hop - x.shape[1]))
        if pad:
            c = torch.nn.functional.pad(c, (pad, pad), mode="replicate")  # as its evaluate.py does
        if not hparams["upsample_conditional_features"]:
            c = c.repeat_interleave(hop, dim=2)
    if "speaker" in values:
        g = torch.as_tensor(values["speaker"])[None]
    return model(x[None], c, g)[0].T[: len(tokens)].numpy()


if __name__ == "__main__":
    main()
