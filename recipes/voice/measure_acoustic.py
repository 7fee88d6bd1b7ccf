"""How near an acoustic model comes to the speech it was trained on, on sentences that were held out.

    python recipes/voice/measure_acoustic.py data/voice runs/acoustic

Each figure stands beside that of a blind guess, which knows the phone and nothing of its sentence: its mean duration
(of ln frames), F0, voicing and spectrum. `predicted` is a spectrum after predicted F0 and voicing, `recorded` after
those of the recording; both have the recording's durations, so that frames can be compared.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fastwave.speech.acoustic import Acoustic
from fastwave.speech.acoustic.data import Utterance, Utterances
from fastwave.speech.acoustic.training import load
from fastwave.speech.analysis import LOG_F0, VOICING

MILLISECONDS, DECIBELS = 12.5, 50.0  # of a frame; of a mel value of 1
VOICED = 0.7  # periodicity from which on sound/pitch.py calls a frame voiced


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path, help="the folder of acoustic.json and acoustic.safetensors")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = Utterances.read(arguments.data)
    model = load(arguments.model)
    blind = Blind(data.training)
    heard = [each for each in data.held_out if len(each.units) > 3]
    print(f"{len(heard)} held-out sentences; {sum(v.numel() for v in model.tensors().values()):,} parameters")
    report("durations", durations, heard, {"model": model_durations(model), "blind": blind.durations})
    guesses = {
        "predicted": lambda each: model.frames(each.sentence, each.durations),
        "recorded": lambda each: model.frames(each.sentence, each.durations, track=each.frames[:, LOG_F0:]),
        "blind": blind.frames,
    }
    report("frames", frames, heard, guesses)
    begun = time.process_time()
    for each in heard:
        model.frames(each.sentence, model.durations(each.sentence))
    print(f"{1000 * (time.process_time() - begun) / len(heard):.1f} ms of one core a sentence")


def report(
    title: str,
    compare: Callable[[Sequence[tuple[Utterance, Tensor]]], str],
    heard: Sequence[Utterance],
    guesses: dict[str, Callable[[Utterance], Tensor]],
) -> None:
    """A line for every guess."""
    for name, guess in guesses.items():
        print(f"{title:10} {name:10} {compare([(each, guess(each)) for each in heard])}")


def durations(pairs: Sequence[tuple[Utterance, Tensor]]) -> str:
    """Over all units between the silences at both ends."""
    guess = torch.cat([value[1:-1] for _, value in pairs]).double() * MILLISECONDS
    real = torch.cat([each.durations[1:-1] for each, _ in pairs]).double() * MILLISECONDS
    pause = torch.cat([torch.tensor([unit.symbol == "," for unit in each.units[1:-1]]) for each, _ in pairs])
    lengths = torch.stack([torch.stack([v[1:-1].sum(), e.durations[1:-1].sum()]).double() for e, v in pairs])
    error = (guess - real)[~pause].square().mean().sqrt()
    correlation = torch.corrcoef(torch.stack([guess[~pause], real[~pause]]))[0, 1]
    pauses = (guess - real)[pause].square().mean().sqrt()
    whole = float(lengths[:, 0].sum() / lengths[:, 1].sum())
    return f"RMSE {error:.1f} ms, correlation {correlation:.3f}, pauses {pauses:.0f} ms, total length {whole:.3f}"


def frames(pairs: Sequence[tuple[Utterance, Tensor]]) -> str:
    """F0 where both are voiced, voicing as yes or no, and mel between the silences at both ends."""
    inner = [slice(int(each.durations[0]), -int(each.durations[-1])) for each, _ in pairs]
    guess = torch.cat([value[part] for (_, value), part in zip(pairs, inner, strict=True)]).double()
    real = torch.cat([each.frames[part] for (each, _), part in zip(pairs, inner, strict=True)]).double()
    voiced = real[:, VOICING] > VOICED
    cents = (guess - real)[voiced, LOG_F0] * 1200 / torch.log(torch.tensor(2.0))
    shares = [float((side[:, VOICING] > VOICED).double().mean()) for side in (guess, real)]
    wrong = ((guess[:, VOICING] > VOICED) != voiced).double().mean()
    mel = DECIBELS * (guess - real)[:, :LOG_F0].abs().mean()
    return (
        f"F0 RMSE {cents.square().mean().sqrt():.0f} cents, voicing wrong {100 * wrong:.1f}% "
        f"(voiced {100 * shares[0]:.1f}% of {100 * shares[1]:.1f}%), mel {mel:.2f} dB"
    )


class Blind:
    """The mean of every symbol."""

    def __init__(self, utterances: Sequence[Utterance]) -> None:
        lengths: dict[str, list[Tensor]] = defaultdict(list)
        sums: dict[str, list[Tensor]] = defaultdict(list)
        for each in utterances:
            parts = each.frames.split(each.durations.tolist())
            for unit, length, part in zip(each.units, each.exact, parts, strict=True):
                lengths[unit.symbol].append(length.log())
                sums[unit.symbol].append(part)
        self._lengths = {symbol: torch.stack(values).mean().exp() for symbol, values in lengths.items()}
        self._frames = {symbol: torch.cat(values).mean(0) for symbol, values in sums.items()}

    def durations(self, each: Utterance) -> Tensor:
        return torch.stack([self._lengths[unit.symbol] for unit in each.units])

    def frames(self, each: Utterance) -> Tensor:
        return torch.stack([self._frames[unit.symbol] for unit in each.units])[each.index]


def model_durations(model: Acoustic) -> Callable[[Utterance], Tensor]:
    """At the speed of the recording."""
    return lambda each: model.durations(each.sentence, each.speed)


if __name__ == "__main__":
    main()
