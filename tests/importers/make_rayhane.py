"""The cases of tests/importers/data/rayhane-*: made, saved and run by Rayhane-mamah/Tacotron-2's own code.

Usage: python tests/importers/make_rayhane.py CHECKOUT    (of the project, at ab5cb08; needs tensorflow 2.15)

That code is for TensorFlow 1. It runs here on the part of TensorFlow 2.15 that is left of that, in training mode
without dropout, with convolutions in the order of channels that a CPU has (`cpu_layout_conversion`). The checkpoint is
float32; what it computes is run in float64, by making "float32" mean float64.
"""

import importlib
import json
import os
import sys
import types
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow

DATA = Path(__file__).resolve().parent / "data"
ONE = tensorflow.compat.v1
STEPS, GREEDY = 40, 24
SHAPE = {"layers": 6, "stacks": 2, "residual_channels": 6, "gate_channels": 10, "skip_out_channels": 7,
         "kernel_size": 3, "sample_rate": 16_000, "use_bias": True, "legacy": True, "residual_legacy": True,
         "cin_channels": -1, "gin_channels": -1}  # fmt: skip
MULAW = {"input_type": "mulaw-quantize", "quantize_channels": 256, "out_channels": 256}
RAW = {"input_type": "raw", "quantize_channels": 65_536}
MEL = {"cin_channels": 5, "num_mels": 5, "hop_size": 6, "upsample_scales": [2, 3], "freq_axis_kernel_size": 3,
       "upsample_activation": "Relu", "leaky_alpha": 0.4, "NN_init": True}  # fmt: skip
CASES = {
    "rayhane-sub-pixel": {**MULAW, **MEL, "upsample_type": "SubPixel", "gin_channels": 3, "n_speakers": 4},
    "rayhane-sub-pixel-equal": {
        **RAW, **MEL, "out_channels": 2, "upsample_type": "SubPixel", "NN_init": False, "upsample_activation": None,
    },
    "rayhane-2d": {**RAW, **MEL, "out_channels": 9, "upsample_type": "2D", "legacy": False, "residual_legacy": False},
    "rayhane-1d": {
        **RAW, **MEL, "input_type": "mulaw", "out_channels": 2, "upsample_type": "1D",
        "upsample_activation": "LeakyRelu", "use_bias": False,
    },
    "rayhane-resize": {**MULAW, **MEL, "upsample_type": "Resize", "kernel_size": 2, "residual_legacy": False},
    "rayhane-nearest": {**MULAW, **MEL, "upsample_type": "NearestNeighbor"},
    "rayhane-alone": {**MULAW, "legacy": False},
}  # fmt: skip


def main():
    ONE.disable_v2_behavior()
    np.int = int  # a name of older numpy
    for name, case in CASES.items():
        hparams = {**SHAPE, **case}
        folder = DATA / name
        folder.mkdir(parents=True, exist_ok=True)
        values = save(hparams, folder)
        (folder / "hparams.json").write_text(json.dumps(hparams, indent=2) + "\n")
        (folder / "options.json").write_text(json.dumps({"from": "rayhane"}, indent=2) + "\n")
        np.savez_compressed(folder / "expected.npz", **Run(hparams, values).expected())


def project(dtype):
    """The project's modules, for which float32 is `dtype`, and which lack what draws, plots and reads sound."""
    stand_in = types.ModuleType("tensorflow")
    stand_in.__dict__.update({name: getattr(ONE, name) for name in dir(ONE)})
    stand_in.float32 = dtype
    layers = {name: of_type(getattr(ONE.layers, name), dtype) for name in ("Conv1D", "Conv2D", "Conv2DTranspose")}
    stand_in.layers = types.SimpleNamespace(
        **layers, Layer=ONE.layers.Layer, InputSpec=ONE.layers.InputSpec, dropout=ONE.layers.dropout
    )
    ONE.keras.backend.set_floatx(dtype.name)
    ONE.keras.layers.Wrapper._track_checkpointable = lambda self, *_, **__: None  # a name of TensorFlow 1
    absent = "librosa librosa.display matplotlib matplotlib.pyplot infolog datasets".split()
    stand_ins = {"tensorflow": stand_in, **{name: types.ModuleType(name) for name in absent}}
    stand_ins["matplotlib"].use = lambda *_: None
    stand_ins["infolog"].log = lambda *_, **__: None
    one_hot = types.SimpleNamespace(to_categorical=lambda labels, num_classes: np.eye(num_classes)[labels])
    importlib.import_module("keras.utils").np_utils = one_hot
    stand_ins["datasets"].audio = types.SimpleNamespace(get_hop_size=lambda hparams: hparams.hop_size)
    usual = {name: sys.modules.get(name) for name in stand_ins}
    for name in [each for each in sys.modules if each.split(".")[0] == "wavenet_vocoder"]:
        del sys.modules[name]
    sys.modules.update(stand_ins)
    if sys.argv[1] not in sys.path:
        sys.path.insert(0, sys.argv[1])
    try:
        modules = importlib.import_module("wavenet_vocoder.models.modules")
        # with today's numpy its first weights have too few dimensions; they are replaced below
        modules.SubPixelConvolution._init_kernel = lambda self, size, _, count: np.zeros((*size, 1, count))
        util = importlib.import_module("wavenet_vocoder.util")
        return importlib.import_module("wavenet_vocoder.models.wavenet").WaveNet, util
    finally:
        sys.modules.update({name: module for name, module in usual.items() if module is not None})


def of_type(layer, dtype):
    """A class of layers whose weights are of `dtype`; the project builds them before they see an input."""

    class Layer(layer):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, dtype=dtype, **options)

    return Layer


def build(wavenet, hparams, dtype):
    """The network as its train.py makes it -> (input [1, channels, T], frames [1, bands, F], speaker, outputs)"""
    defaults = {"wavenet_weight_normalization": False, "wavenet_init_scale": 1.0, "wavenet_dropout": 0.0,
                "NN_scaler": 0.3, "use_speaker_embedding": True, "num_mels": -1}  # fmt: skip
    options = types.SimpleNamespace(**{**defaults, **hparams})
    classes = 256 if hparams["input_type"] == "mulaw-quantize" else 1
    with ONE.variable_scope("WaveNet_model"):
        network = wavenet(options, False)
        network.set_mode(True)
        x = ONE.placeholder(dtype, [1, classes, None])
        c = ONE.placeholder(dtype, [1, options.cin_channels, None]) if options.cin_channels > 0 else None
        g = ONE.placeholder(ONE.int32, [1, 1]) if options.gin_channels > 0 else None
        with ONE.variable_scope("inference"):
            outputs = network.step(x, c, g)
    return x, c, g, outputs


def save(hparams, folder):
    """Random weights, saved as its train.py does: under the names of averages. -> the values by name"""
    rng = np.random.default_rng(len(folder.name))
    with ONE.Graph().as_default(), ONE.Session() as session:
        wavenet, _ = project(ONE.float32)
        build(wavenet, hparams, ONE.float32)
        trainable = ONE.trainable_variables()
        step = ONE.Variable(0, trainable=False, name="global_step")
        with ONE.variable_scope("WaveNet_model"):
            average = ONE.train.ExponentialMovingAverage(0.9999)
            average.apply(trainable)
            names = {average.average_name(each): each for each in trainable}
        session.run(ONE.global_variables_initializer())
        for each in trainable:
            each.load(rng.normal(0, 0.5, each.shape).astype(np.float32), session)
        saver = ONE.train.Saver({**names, "global_step": step})
        saver.save(session, str(folder / "wavenet_model.ckpt"), global_step=7, write_meta_graph=False)
        (folder / "checkpoint").write_text('model_checkpoint_path: "wavenet_model.ckpt-7"\n')
        return {each.op.name: session.run(each) for each in trainable}


class Run:
    """The project's network in float64."""

    def __init__(self, hparams, values):
        self.hparams, self.values = hparams, values
        self.classes = hparams["input_type"] == "mulaw-quantize"

    def expected(self):
        rng = np.random.default_rng(0)
        tokens = rng.integers(0, 256, STEPS) if self.classes else rng.uniform(-1, 1, STEPS)
        values = {"tokens": tokens}
        field = 2 * 7 * (self.hparams["kernel_size"] - 1) + 1
        if self.hparams["cin_channels"] > 0:
            total = STEPS + field + GREEDY
            values["frames"] = rng.standard_normal((-(-total // self.hparams["hop_size"]), 5)).astype(np.float32)
        if self.hparams["gin_channels"] > 0:
            values["speaker"] = np.array(2)
        config = ONE.ConfigProto()
        config.graph_options.rewrite_options.cpu_layout_conversion = 1  # NCHW_TO_NHWC
        with ONE.Graph().as_default(), ONE.Session(config=config) as session:
            wavenet, util = project(ONE.float64)
            placeholders = build(wavenet, self.hparams, ONE.float64)
            for each in ONE.trainable_variables():
                assert each.dtype.base_dtype == ONE.float64
                session.run(each.initializer)
                each.load(self.values[each.op.name].astype(np.float64), session)
            values["outputs"] = self.run(session, placeholders, values, tokens).astype(np.float32)
            if not self.classes:
                return values
            heard = rng.integers(0, 256, field).tolist()
            for _ in range(GREEDY):
                heard.append(int(self.run(session, placeholders, values, np.array(heard))[-1].argmax()))
        samples = np.concatenate([rng.uniform(-1, 1, 200), [0.0, 0.999, -1.0, 0.5, -0.25]])
        return {
            **values,
            "start": np.array(heard[:-GREEDY]),
            "greedy": np.array(heard[-GREEDY:]),
            "samples": samples,
            "classes": util.mulaw_quantize(samples, 256),
            "decoded": np.array([util.inv_mulaw_quantize(float(q), 256) for q in range(256)]),
        }

    def run(self, session, placeholders, values, tokens):
        """[T, outputs]; what lies behind the tokens cannot be seen by them."""
        x, c, g, outputs = placeholders
        inputs = np.eye(256)[tokens].T if self.classes else tokens[None]
        feed = {}
        if c is not None:
            feed[c] = values["frames"].T[None]
            length = len(values["frames"]) * self.hparams["hop_size"]
            inputs = np.pad(inputs, ((0, 0), (0, length - inputs.shape[1])))
        if g is not None:
            feed[g] = values["speaker"].reshape(1, 1)
        return session.run(outputs, {**feed, x: inputs[None]})[0].T[: len(tokens)]


if __name__ == "__main__":
    main()
