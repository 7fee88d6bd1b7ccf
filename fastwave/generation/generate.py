"""generate() and stream(): a model, a length and a seed, from model to sound or text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..engine.protocol import Generator
from ..errors import InputError
from ..model import WaveNet
from .options import Options, lists_options
from .request import Request
from .result import Result, joined
from .saving import check_output, save_or_rescue

if TYPE_CHECKING:
    from typing_extensions import Unpack  # of typing from Python 3.11 on


@lists_options
def generate(
    model: WaveNet | Generator | str | os.PathLike[str],
    seconds: float | Sequence[float] | None = None,
    *,
    progress: bool = False,
    output: str | os.PathLike[str] | None = None,
    save_every: int | None = None,
    include_prime: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Generate sound or text from a model, from the path of a checkpoint, or from a generator such as an `Engine`.

    The length is `seconds` or `samples`, one for all streams or one each; without either it is that of the
    conditioning or the excitation, else 3 seconds or 1000 characters. `prime` (a waveform, a text, tokens or the path
    of a file) comes before the result, and is part of it only with `include_prime`. The same seed gives the same
    samples whatever the batch, the chunks or the number of threads. On another backend, dtype or instruction set they
    are the same up to rounding, which can change a draw, and with it the rest of a stream.
    With `output` the result is also saved to that path: at the end, after every `save_every` samples, and when
    generation is interrupted or fails. A path that cannot be written is refused before anything is generated; where
    writing fails all the same, the result is saved in the system's temporary folder. `progress` shows a bar on a
    terminal.
    """
    if save_every is not None and (output is None or save_every < 1):
        raise InputError(f"save_every={save_every!r} needs output=, and must be at least 1 sample.")
    request = Request(model, seconds, options)
    if output is not None:
        check_output(output, request.sample_rate)
    parts = [request.beginning(include_prime)]
    unsaved = 0
    try:
        with _progress_bar(sum(request.lengths), progress) as bar:
            for part in request.parts(chunk=1024):
                parts.append(part)
                bar.update(sum(part.lengths))
                unsaved += part.tokens.shape[1]
                if save_every is not None and output is not None and unsaved >= save_every:
                    joined(parts).save(output)
                    unsaved = 0
    except BaseException:
        if output is not None and len(parts) > 1:
            save_or_rescue(joined(parts), output)
        raise
    result = joined(parts)
    if output is not None:
        save_or_rescue(result, output)
    return result


@lists_options
def stream(
    model: WaveNet | Generator | str | os.PathLike[str],
    seconds: float | Sequence[float] | None = None,
    *,
    chunk: int = 1024,
    **options: Unpack[Options],
) -> Iterator[Result]:
    """The same samples as `generate`, bit for bit, in parts of at most `chunk` as soon as they exist."""
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise InputError(f"chunk must be an integer >= 1, got {chunk!r}.")
    return Request(model, seconds, options).parts(chunk)


def _progress_bar(total: int, wanted: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="sample", unit_scale=True, disable=None if wanted else True)
