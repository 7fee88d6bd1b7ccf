"""The `fastwave` command: one small function a verb. Results go to standard output, all else to standard error."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import FastwaveError, InputError
from .train import add_verbs

if TYPE_CHECKING:
    from ..config import WaveNetConfig
    from ..model import WaveNet

DEFAULT_MODEL = "pluck"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the returned exit status is 0 only on success."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except FastwaveError as error:
        print(f"fastwave {options.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"fastwave {options.verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `fastwave info ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def generate(options: argparse.Namespace) -> int:
    """Make sound or text and save it."""
    from ..generation.generate import generate as run

    model, config = _model(options)
    text = not config.codec_object.is_audio
    if options.output is None and not text:
        raise InputError("this model makes sound: give -o FILE.wav (or .flac, .ogg, .mp3) to save it in.")
    begun = time.perf_counter()
    result = run(
        model,
        options.seconds,
        samples=options.samples,
        seed=options.seed,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        prime=_prime(options, config),
        condition=_array(options.condition),
        speaker=options.speaker,
        batch=options.batch,
        backend=options.backend,
        dtype=options.dtype,
        threads=options.threads,
        progress=True,
        output=options.output,
        save_every=_save_every(options, config),
    )
    elapsed = time.perf_counter() - begun
    if options.output is None:
        print("\n\n".join(result.text))
    if sys.stderr.isatty():
        made = sum(result.lengths)
        real = f", {made / elapsed / result.sample_rate:.2f} times real time" if result.sample_rate else ""
        print(f"{made} samples in {elapsed:.1f} s: {made / elapsed:,.0f} samples/s{real}", file=sys.stderr)
    return 0


def score(options: argparse.Namespace) -> int:
    """Bits a sample for each file."""
    from ..generation.score import score as run

    model, config = _model(options)
    for path in options.files:
        bits = run(
            model,
            _read(path, config),
            condition=_array(options.condition),
            speaker=options.speaker,
            backend=options.backend,
            dtype=options.dtype,
            threads=options.threads,
        )
        print(f"{bits:.4f}\t{path}")
    return 0


def info(options: argparse.Namespace) -> int:
    """What a model is and what it costs."""
    from ..runtime import library
    from ..runtime.dispatch import choose
    from ..tools import measure

    model, config = _model(options)
    generation = choose("generation")
    field = f"{config.receptive_field:,} samples"
    if config.receptive_field_ms is not None:
        field += f" = {config.receptive_field_ms:,.1f} ms at {config.sample_rate} Hz"
    state = sum(config.history_slots) * config.residual_channels
    training = choose("training", model.backend)
    memory = f"{_training_bytes(config, training.name) / 1e6:.1f} MB"
    if training.name != "reference":
        memory += f" ({_training_bytes(config, training.name, recompute=True) / 1e6:.1f} MB with --recompute)"
    rows = [
        ("layers", f"{config.layers}, kernel size {config.kernel_size}, dilations {_shorten(config.dilations)}"),
        ("channels", f"residual {config.residual_channels}, gate {config.gate_channels}, skip {config.skip_channels}, "
                     f"head {config.head_channels}, condition {config.condition_channels}"),
        ("codec", f"{config.codec}, {config.classes} classes" if config.classes else config.codec),
        ("output", f"{config.output}, {config.output_channels} values a sample"),
        ("receptive field", field),
        ("parameters", f"{config.parameter_count:,}"),
        ("read a sample", f"{config.weights_read_per_sample:,} weights, {config.flop_per_sample / 1e6:.2f} MFLOP"),
        ("memory", f"{config.parameter_count * 4 / 1e6:.2f} MB of float32 weights, {state * 4 / 1e6:.2f} MB a stream"),
        ("training memory", f"about {memory} of float32 activations per 1,000 samples"),
        ("training backend", f"{training.name} ({training.why})"),
        ("generation backend", f"{generation.name} ({generation.why})"),
    ]  # fmt: skip
    for dtype in ("float32", "bfloat16"):
        rows.append((f"{dtype} CUDA kernel", _cuda_kernel(model, dtype)))
    for dtype in ("float32", "bfloat16"):
        limit = measure.ceiling(config, dtype)
        floor = f"not measured: {library.missing('cpu')}"
        if limit is not None:
            rate = limit.samples_per_second()
            floor = f"{1e6 / rate:.1f} us a sample = {rate:,.0f} samples/s on one core ({limit.explain()})"
        rows.append((f"{dtype} floor here", floor))
    _print_rows(rows)
    return 0


def _cuda_kernel(model: WaveNet, dtype: str) -> str:
    """Which kernel generates with this model on the GPU here, and why."""
    from ..engine.engine import Engine
    from ..runtime.dispatch import backends

    reason = next(each.reason for each in backends() if (each.role, each.name) == ("generation", "cuda"))
    if reason:
        return f"none here: {reason}"
    plan = Engine(model, "cuda", dtype).plan(1)
    size = f"{plan.blocks_per_cluster} blocks of " if plan.blocks_per_cluster else ""
    return f"{plan.kernel} ({plan.reason}), {size}{plan.shared / 1024:.0f} KB for {plan.streams_per_block} streams"


def doctor(options: argparse.Namespace) -> int:
    """What runs here and why something does not; with a model, whether it is sound."""
    from ..runtime import library
    from ..runtime.dispatch import backends
    from ..tools import measure
    from ..tools.doctor import examine

    environment = measure.environment()
    rows = [(key, value) for key, value in environment.items()]
    for name in ("cpu", "cuda"):
        reason = library.missing(name)
        rows.append((f"lib {name}", reason or _describe(library.build_info(name))))
    for status in backends():
        rows.append((f"{status.role} {status.name}", status.reason or "available"))
    _print_rows(rows)
    if options.model is None and options.untrained is None:
        return 0
    findings = examine(_model(options)[0])
    print()
    for finding in findings:
        print(f"{'ok  ' if finding.healthy else 'BAD '} {finding.question}: {finding.detail}")
    return 0 if all(finding.healthy for finding in findings) else 1


def bench(options: argparse.Namespace) -> int:
    """How fast a model generates here, beside the limit of this machine."""
    from ..engine.engine import Engine
    from ..tools import measure
    from ..tools.doctor import examine, example

    model, config = _model(options)
    findings = examine(model)
    failed = [finding.question for finding in findings if not finding.healthy]
    if failed:
        raise InputError(f"this model is not worth timing, it fails: {'; '.join(failed)}. See fastwave doctor.")
    threads = options.threads or 1
    engine = Engine(model, options.backend, options.dtype, threads)
    limit = measure.ceiling(config, options.dtype)
    _, given = example(config, options.samples, options.batch)
    start = engine.start(options.batch, **given)
    engine.run(start.copy(), options.samples, **given)  # warm-up
    seconds = []
    for _ in range(options.repeats):
        state = start.copy()
        begun = time.perf_counter()
        engine.run(state, options.samples, **given)
        seconds.append(time.perf_counter() - begun)
    row = measure.make_row(
        f"generate {options.model or options.untrained} {engine.backend}",
        options.samples * options.batch,
        seconds,
        findings[-1].detail,
        limit,
        dtype=options.dtype,
        batch=options.batch,
        threads=threads,
    )
    print(measure.table([row]))
    print(f"limit: {row.limit_reason}; proof: {row.proof}; {row.device}; fastwave {__version__}")
    return 0


# Arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastwave", description="WaveNet at the speed of the machine.")
    parser.add_argument(
        "--version", action="version", version=f"fastwave {__version__}, Python {platform.python_version()}"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    numbers = argparse.ArgumentParser(add_help=False)
    numbers.add_argument("--backend", default="auto", help="auto, reference, cpu or cuda (default: auto)")
    numbers.add_argument("--dtype", default="float32", help="float32, bfloat16, int8 or float64 (default: float32)")
    numbers.add_argument("--threads", type=int, help="threads of the engine (default: all cores; 1 for bench)")
    guided = argparse.ArgumentParser(add_help=False)
    guided.add_argument("--condition", metavar="FILE.npy", help="local features, [frames, channels]")
    guided.add_argument("--speaker", type=int, metavar="ID", help="for a model that knows several")

    verb = _verb(verbs, "generate", generate, numbers, guided)
    verb.add_argument("-o", "--output", help="where to save: .wav, .flac, .ogg, .mp3, or any name for text")
    length = verb.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, help="how long (default: the conditioning's length, or 3)")
    length.add_argument("--samples", type=int, help="how many samples, or characters of text")
    verb.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (default: 0)")
    verb.add_argument(
        "--temperature", type=float, default=1.0, help="below 1 safer, 0 always the likeliest (default: 1)"
    )
    verb.add_argument("--top-k", type=int, help="draw among the k likeliest classes only")
    verb.add_argument("--top-p", type=float, help="draw among the likeliest classes that hold this probability")
    verb.add_argument("--prime", metavar="FILE", help="continue this sound or text file")
    verb.add_argument("--prime-text", metavar="TEXT", help="continue this text")
    verb.add_argument("--batch", type=int, default=1, help="how many streams (default: 1); files get -0, -1, ...")
    verb.add_argument(
        "--save-every", type=float, metavar="SECONDS", help="also save what there is so far; for text, characters"
    )

    add_verbs(verbs)
    verb = _verb(verbs, "score", score, numbers, guided, untrained=False)
    verb.add_argument("files", nargs="+", metavar="FILE", help="sound or text files")
    _verb(verbs, "info", info)
    _verb(verbs, "doctor", doctor)
    verb = _verb(verbs, "bench", bench, numbers)
    verb.add_argument("--batch", type=int, default=1, help="streams generated together (default: 1)")
    verb.add_argument("--samples", type=int, default=4000, help="samples a stream in one timed run (default: 4000)")
    verb.add_argument("--repeats", type=int, default=7, help="timed runs (default: 7)")
    return parser


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    *parents: argparse.ArgumentParser,
    untrained: bool = True,
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=run.__doc__, description=run.__doc__, parents=list(parents))
    verb.set_defaults(run=run, untrained=None)
    if not untrained:
        verb.add_argument("model", metavar="MODEL", help="a checkpoint folder, or the name of a bundled model")
        return verb
    verb.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help=f"a checkpoint folder, or the name of a bundled model (default: {DEFAULT_MODEL})",
    )
    verb.add_argument("--untrained", metavar="PRESET", help="random weights of a preset shape instead: ref, small, ...")
    return verb


def _model(options: argparse.Namespace) -> tuple[WaveNet, WaveNetConfig]:
    import torch

    from ..config import WaveNetConfig
    from ..model import WaveNet

    if options.model is not None and options.untrained is not None:
        raise InputError("give MODEL or --untrained PRESET, not both.")
    if options.model is None and options.untrained is None:
        options.model = DEFAULT_MODEL
    if options.model is not None:
        model = WaveNet.from_pretrained(options.model)
        return model, model.config
    torch.manual_seed(0)
    model = WaveNet(WaveNetConfig.preset(options.untrained))
    if options.verb == "generate":
        print("fastwave: the weights are random (--untrained): expect noise.", file=sys.stderr)
    return model, model.config


def _prime(options: argparse.Namespace, config: WaveNetConfig) -> object:
    if options.prime is not None and options.prime_text is not None:
        raise InputError("give --prime or --prime-text, not both.")
    if options.prime_text is not None:
        return options.prime_text
    return None if options.prime is None else _read(options.prime, config)


def _read(path: str, config: WaveNetConfig) -> object:
    """A sound file at the model's rate, or the bytes of a text file."""
    if config.codec_object.is_audio:
        from ..sound import audio

        return audio.load(path, sample_rate=config.sample_rate)[0]
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error


def _array(path: str | None) -> object:
    if path is None:
        return None
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)  # no pickled code, no size the file lacks
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read {path} as a .npy array: {error}.") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        raise InputError(f"{path} must hold one array of floats.")
    return np.array(values)  # a copy: the mapping is read-only and follows the file


def _save_every(options: argparse.Namespace, config: WaveNetConfig) -> int | None:
    every: float | None = options.save_every
    if every is None:
        return None
    if options.output is None or not every > 0:
        raise InputError("--save-every needs -o and a length above 0.")
    return max(1, round(every * (config.sample_rate or 1)))


def _training_bytes(config: WaveNetConfig, backend: str, recompute: bool = False) -> int:
    """float32 activations kept for the way back, for 1,000 samples: of a layer x, and tanh, sigmoid and z by autograd,
    tanh and sigmoid by the kernels on the CPU, z by those of Triton, nothing with recompute; then the gradient of the
    skip sum.
    """
    kept = 3 if backend == "reference" else 0 if recompute else 2 if backend == "cpu" else 1
    layer = config.residual_channels + kept * config.gate_channels
    return 4 * 1000 * (config.layers * layer + config.skip_channels)


def _describe(values: dict[str, Any]) -> str:
    words = ((key.replace("_", " "), " ".join(v) if isinstance(v, list) else v) for key, v in values.items())
    return ", ".join(f"{key} {value}" for key, value in words if value)


def _shorten(dilations: Sequence[int]) -> str:
    shown = ", ".join(map(str, dilations[:12]))
    return shown if len(dilations) <= 12 else f"{shown}, ... (sum {sum(dilations)})"


def _print_rows(rows: Sequence[tuple[str, str]]) -> None:
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        print(f"{key.ljust(width)}  {value}")
