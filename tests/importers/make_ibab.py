"""The cases of tests/importers/data/ibab-*: networks made, saved and run by ibab/tensorflow-wavenet's own code.

Usage: python tests/importers/make_ibab.py CHECKOUT    (of the project, at 3c973c0; needs tensorflow)

That code is for TensorFlow 1. It runs here on the part of TensorFlow 2 that is left of that, with the names that are
gone put back. The checkpoint is float32; what it computes is run in float64, by making "float32" mean float64.
"""

import importlib
import json
import sys
import types
from pathlib import Path

import numpy as np
import tensorflow

DATA = Path(__file__).resolve().parent / "data"
STEPS, GREEDY = 48, 40
SHAPE = {"residual_channels": 5, "dilation_channels": 6, "skip_channels": 7, "quantization_channels": 256}
CASES = {
    "ibab-biases": {"dilations": [1, 2, 4, 1, 2, 4], "filter_width": 2, "use_biases": True},
    "ibab-wide": {"dilations": [1, 3, 2], "filter_width": 3, "use_biases": False},
    "ibab-scalar": {"dilations": [1, 2, 4], "filter_width": 2, "use_biases": True, "scalar_input": True,
                    "initial_filter_width": 4},
}  # fmt: skip
SPEAKERS = {"ibab-speakers": {"dilations": [1, 2, 4], "filter_width": 2, "use_biases": True}}
SPEAKER_SHAPE = {"global_condition_channels": 3, "global_condition_cardinality": 4}
ONE = tensorflow.compat.v1


def main():
    ONE.disable_v2_behavior()
    sys.path.insert(0, sys.argv[1])
    for name, network in {**CASES, **SPEAKERS}.items():
        more = SPEAKER_SHAPE if name in SPEAKERS else {}
        arguments = {"batch_size": 1, **SHAPE, **network, **more}
        folder = DATA / name
        folder.mkdir(parents=True, exist_ok=True)
        values = save(arguments, folder)
        parameters = {"sample_rate": 16_000, **SHAPE, **network, "initial_filter_width": 32, "scalar_input": False}
        parameters |= {key: network[key] for key in ("initial_filter_width", "scalar_input") if key in network}
        (folder / "wavenet_params.json").write_text(json.dumps(parameters) + "\n")
        (folder / "options.json").write_text(json.dumps({"from": "ibab"}, indent=2) + "\n")
        np.savez_compressed(folder / "expected.npz", **Run(arguments, values).expected())


def project(dtype):
    """The project's module, for which float32 is `dtype`."""
    stand_in = types.ModuleType("tensorflow")
    stand_in.__dict__.update({name: getattr(ONE, name) for name in dir(ONE)})

    def initialiser():
        return lambda shape: ONE.random_normal(shape, stddev=0.5, dtype=dtype, seed=sum(shape))

    layers = types.SimpleNamespace(xavier_initializer_conv2d=initialiser)
    stand_in.__dict__.update(
        float32=dtype,
        zeros=lambda shape: ONE.zeros(shape, dtype),
        to_float=lambda value: ONE.cast(value, dtype),
        to_int32=lambda value: ONE.cast(value, ONE.int32),
        div=lambda a, b: a // b,
        contrib=types.SimpleNamespace(layers=layers),
    )
    usual = sys.modules["tensorflow"]
    sys.modules["tensorflow"] = stand_in
    try:
        for name in [each for each in sys.modules if each.split(".")[0] == "wavenet"]:
            del sys.modules[name]
        package = types.ModuleType("wavenet")  # whose own __init__ also imports what reads sound files
        package.__path__ = [str(Path(sys.argv[1]) / "wavenet")]
        sys.modules["wavenet"] = package
        return importlib.import_module("wavenet.model"), importlib.import_module("wavenet.ops")
    finally:
        sys.modules["tensorflow"] = usual


def save(arguments, folder):
    """Make a network with random weights and an optimiser, and save it as the project does. -> the values by name"""
    rng = np.random.default_rng(len(folder.name))
    with ONE.Graph().as_default(), ONE.Session() as session:
        model, _ = project(ONE.float32)
        model.WaveNetModel(**arguments)
        trainable = ONE.trainable_variables()
        ONE.Variable(0, trainable=False, name="global_step")
        loss = sum(ONE.reduce_sum(each) for each in trainable)
        ONE.train.AdamOptimizer().minimize(loss, var_list=trainable[:1])  # slots, as a training leaves them
        session.run(ONE.global_variables_initializer())
        for each in trainable:
            each.load(rng.normal(0, 0.5, each.shape).astype(np.float32), session)
        ONE.train.Saver(var_list=ONE.global_variables()).save(
            session, str(folder / "model.ckpt"), global_step=100, write_meta_graph=False
        )
        (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-100"\n')
        return {each.op.name: session.run(each) for each in trainable}


class Run:
    """The project's network in float64."""

    def __init__(self, arguments, values):
        self.arguments, self.values = arguments, values
        self.scalar = arguments.get("scalar_input", False)
        self.speaker = 2 if "global_condition_channels" in arguments else None

    def expected(self):
        rng = np.random.default_rng(0)
        tokens = rng.integers(0, 256, STEPS)
        with ONE.Graph().as_default(), ONE.Session() as session:
            self.session = session
            model, ops = project(ONE.float64)
            self.network = model.WaveNetModel(**self.arguments)
            for each in ONE.trainable_variables():
                session.run(each.initializer)
                each.load(self.values[each.op.name].astype(np.float64), session)
            self.build()
            samples = np.concatenate([rng.uniform(-1, 1, 200), [0.0, 1.0, -1.0, 0.5, -0.25]])
            classes, decoded = session.run(
                [ops.mu_law_encode(ONE.constant(samples), 256), ops.mu_law_decode(ONE.range(256), 256)]
            )
            self.decoded = decoded
            field = self.network.receptive_field
            outputs = self.whole(tokens)
            first = field - 1
            if self.arguments["filter_width"] == 2 and not self.scalar:
                settled, outputs, first = outputs, self.steps(tokens), 0
                assert np.abs(outputs[field - 1 :] - settled).max() < 1e-9  # its two ways of computing agree
            heard = rng.integers(0, 256, field).tolist()
            for _ in range(GREEDY):
                heard.append(int(self.whole(np.array(heard[-field:]))[-1].argmax()))
        speaker = {} if self.speaker is None else {"speaker": np.array(self.speaker)}
        return {
            "tokens": tokens,
            "outputs": outputs.astype(np.float32),
            "first": np.array(first),
            "start": np.array(heard[:-GREEDY]),
            "greedy": np.array(heard[-GREEDY:]),
            "samples": samples,
            "classes": classes,
            "decoded": decoded,
            **speaker,
        }

    def build(self):
        condition = self.network._embed_gc(self.speaker)
        if self.scalar:
            self.input = ONE.placeholder(ONE.float64, [None])
            encoded = ONE.reshape(self.input, [1, -1, 1])
        else:
            self.input = ONE.placeholder(ONE.int32, [None])
            encoded = self.network._one_hot(self.input)
        self.sequence = self.network._create_network(encoded, condition)
        if self.arguments["filter_width"] == 2 and not self.scalar:
            self.step = self.network._create_generator(ONE.reshape(encoded, [-1, 256]), condition)

    def whole(self, tokens):
        """Every output that sees no padding: [T - receptive field + 1, 256]"""
        values = self.decoded[tokens] if self.scalar else tokens
        return self.session.run(self.sequence, {self.input: values})[0]

    def steps(self, tokens):
        """Step by step through its queues, from zeros: [T, 256]"""
        self.session.run(self.network.init_ops)
        run = [self.session.run([self.step, *self.network.push_ops], {self.input: [token]})[0] for token in tokens]
        return np.concatenate(run)


if __name__ == "__main__":
    main()
