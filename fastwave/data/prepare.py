"""A folder of sound or text -> memory-mapped shards of tokens, once, over all cores.

A shard is the work of one process: `shard-00000.tokens` holds its files one after the other, `shard-00000.frames`
their local features, and `shard-00000.json`, written last, says that it is whole and from which files. A run that was
killed makes only what is missing. `prepared.json` lists every file of every shard; `shards.py` reads it.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from .. import codec
from ..errors import AudioError, FastwaveError, InputError
from ..files import replacing
from ..runtime import machine
from ..sound import audio
from ..sound.features import mel_blocks
from .preparation import Preparation
from .shards import FORMAT, INDEX
from .sources import Source, find, name_speakers, status_of

SHARD_FILES, SHARD_BYTES = 64, 1 << 26  # of one shard's sources: some seconds of work
SILENT = 1e-3  # -60 dB: a file that never passes it holds nothing to learn
TRIM_MARGIN_SECONDS = 0.02
TEXT_BLOCK = 1 << 20

Array = npt.NDArray[Any]


def prepare(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    how: Preparation,
    workers: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Make, or complete, the shards of a folder in `target`, and return the index."""
    sound, text = find(folder)
    is_audio = codec.by_name(how.codec, how.classes).is_audio
    sources, speakers, skipped = name_speakers(sound if is_audio else text, how.speakers)
    if not sources:
        raise InputError(
            f"{folder} holds no {'sound' if is_audio else 'text'} files, and codec {how.codec} needs them."
        )
    place = Path(target)
    groups = _group(sources)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for pattern in (".shard-*.tmp*", ".prepared.*.tmp*"):  # of a run that was killed while it wrote
            for leftover in place.glob(pattern):
                leftover.unlink()
        shards = _make_all(place, groups, how, workers or machine.cores(), progress)
        files = [file for shard in shards for file in shard["files"]]
        skipped += [tuple(each) for shard in shards for each in shard["skipped"]]
        if not files:
            shown = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3])
            raise InputError(f"none of the {len(sources)} files of {folder} can be used. {shown}")
        index = {
            "format": FORMAT,
            "source": str(Path(folder).resolve()),
            "preparation": dataclasses.asdict(how),
            "speakers": speakers,
            "files": files,
            "skipped": skipped,
            "order0_bits": _entropy(_sum_counts(shards)),
            "white_noise_bits": math.log2(how.classes or 65_536),
        }
        _mark_held_out(files, how.held_out)
        _write_json(place / INDEX, index)
    except OSError as error:
        raise InputError(f"cannot prepare data in {place}: {error.strerror or error}.") from error
    return index


def _group(sources: Sequence[Source]) -> list[list[Source]]:
    """Sources of one shard each; where a group ends depends on what stands before it alone."""
    groups: list[list[Source]] = [[]]
    for source in sources:
        if len(groups[-1]) >= SHARD_FILES or sum(each.size for each in groups[-1]) >= SHARD_BYTES:
            groups.append([])
        groups[-1].append(source)
    return groups


def _make_all(
    place: Path, groups: Sequence[Sequence[Source]], how: Preparation, workers: int, progress: bool
) -> list[dict[str, Any]]:
    from tqdm import tqdm

    shards: dict[int, dict[str, Any]] = {}
    missing = []
    for number, group in enumerate(groups):
        made = _made(place, number, _key(group, how))
        if made is None:
            missing.append(number)
        else:
            shards[number] = made
    if missing:  # an index must never speak of shards that are being replaced
        (place / INDEX).unlink(missing_ok=True)
    total = sum(len(groups[number]) for number in missing)
    with tqdm(total=total, unit="file", desc="preparing", disable=None if progress else True) as bar:
        for number, shard in _work(place, {n: groups[n] for n in missing}, how, min(workers, len(missing))):
            shards[number] = shard
            bar.update(len(groups[number]))
    return [shards[number] for number in range(len(groups))]


def _work(
    place: Path, groups: dict[int, Sequence[Source]], how: Preparation, workers: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    if workers <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in each of many processes
        try:
            for number, group in groups.items():
                yield number, make_shard(place, number, group, how)
        finally:
            torch.set_num_threads(threads)  # training comes next
        return
    # spawned, not forked: torch's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
        try:
            waiting = {pool.submit(make_shard, place, number, group, how): number for number, group in groups.items()}
            for done in concurrent.futures.as_completed(waiting):
                yield waiting[done], done.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise InputError(
                "a process that prepared data was killed, perhaps for want of memory: run again, with fewer workers."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Each process has its core; and none outlives the one that started it, as they would after a kill."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


# One shard


def make_shard(place: Path, number: int, sources: Sequence[Source], how: Preparation) -> dict[str, Any]:
    """Decode the sources one after the other. What cannot be used is named in `skipped` and leaves no trace."""
    files: list[dict[str, Any]] = []
    skipped: list[tuple[str, str]] = []
    counts = np.zeros(how.classes or 65_536, dtype=np.int64)
    stem = f"shard-{number:05}"
    (place / f"{stem}.json").unlink(missing_ok=True)  # what it says of the old tokens is wrong for the new ones
    with (
        replacing(place / f"{stem}.tokens") as tokens_path,
        replacing(place / f"{stem}.frames") as frames_path,
        open(tokens_path, "wb") as tokens,
        open(frames_path, "wb") as frames,
    ):
        for source in sources:
            starts = tokens.tell(), frames.tell()
            try:
                seen, frame_count = _write_file(source, how, tokens, frames)
            except FastwaveError as error:
                skipped.append((source.name, str(error).removeprefix(f"{source.path}: ")))
                for file, start in zip((tokens, frames), starts, strict=True):
                    file.seek(start)
                    file.truncate()
                continue
            counts += seen
            entry = {"name": source.name, "shard": number, "speaker": source.speaker}
            entry |= {"at": starts[0] // how.dtype.itemsize, "samples": int(seen.sum())}
            entry |= {"first_frame": starts[1] // (4 * max(1, how.feature_channels)), "frames": frame_count}
            files.append(entry)
        sizes = [tokens.tell(), frames.tell()]
    used = {str(level): int(counts[level]) for level in np.flatnonzero(counts)}
    shard = {"key": _key(sources, how), "files": files, "skipped": skipped, "counts": used, "sizes": sizes}
    _write_json(place / f"{stem}.json", shard)
    return shard


def _write_file(source: Source, how: Preparation, tokens: BinaryIO, frames: BinaryIO) -> tuple[Array, int]:
    """Append one file -> (how often each class or level occurs, the number of frames)."""
    kind = codec.by_name(how.codec, how.classes)
    levels = how.classes or 65_536
    counts = np.zeros(levels, dtype=np.int64)
    if not kind.is_audio:
        for block in _text_blocks(source):
            counts += np.bincount(block, minlength=levels)
            tokens.write(block.tobytes())
        return counts, 0
    loudest = 0.0

    def written() -> Iterator[Array]:
        nonlocal loudest
        for wave in _wave_blocks(source, how):
            loudest = max(loudest, float(np.abs(wave).max(initial=0)))
            values = kind.encode(torch.from_numpy(wave)).numpy()
            if kind.scalar:
                values = np.clip(np.round(values * 32768), -32768, 32767)
            stored = values.astype(how.dtype)
            tokens.write(stored.tobytes())
            counts[:] += np.bincount(stored.astype(np.int64) + (32768 if kind.scalar else 0), minlength=levels)
            yield wave

    frame_count = 0
    if (mel := how.mel) is not None:
        for rows in mel_blocks(written(), mel):
            frames.write(rows.numpy().astype(np.float32).tobytes())
            frame_count += len(rows)
    else:
        for _ in written():
            pass
    if loudest < SILENT:
        raise AudioError(f"it is silent: nothing above {20 * math.log10(SILENT):.0f} dB")
    if how.features is not None and how.mel is None:
        frame_count = _copy_frames(source, how, int(counts.sum()), frames)
    return counts, frame_count


def _text_blocks(source: Source) -> Iterator[Array]:
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")()
    if not os.path.isfile(source.path):  # opening a pipe would wait for ever
        raise InputError("cannot read it: it is missing, or not an ordinary file")
    try:
        with open(source.path, "rb") as file:
            while block := file.read(TEXT_BLOCK):
                decoder.decode(block)
                yield np.frombuffer(block, dtype=np.uint8)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise InputError(f"it is not UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror}") from error
    if not source.size:
        raise InputError("it is empty")


def _wave_blocks(source: Source, how: Preparation) -> Iterator[Array]:
    channel = how.channel if how.channel == "mix" else int(how.channel)

    def blocks() -> Iterator[Array]:
        return audio.blocks(source.path, how.sample_rate, channel)

    return blocks() if how.trim is None else _trimmed(blocks, 10 ** (how.trim / 20), how.sample_rate)


def _trimmed(blocks: Callable[[], Iterable[Array]], level: float, sample_rate: int) -> Iterator[Array]:
    """From a little before the first sample above `level` to a little after the last: decoded twice, never held."""
    first, last, position = None, -1, 0
    for wave in blocks():
        loud = np.flatnonzero(np.abs(wave) > level)
        if len(loud):
            first = position + int(loud[0]) if first is None else first
            last = position + int(loud[-1])
        position += len(wave)
    if first is None:
        raise AudioError("nothing is left of it after trimming")
    margin = round(TRIM_MARGIN_SECONDS * sample_rate)
    begin, end, position = max(0, first - margin), last + 1 + margin, 0
    for wave in blocks():
        kept = wave[max(0, begin - position) : max(0, end - position)]
        position += len(wave)
        if len(kept):
            yield kept


def _copy_frames(source: Source, how: Preparation, samples: int, frames: BinaryIO) -> int:
    """The array that the user brings for a file: FEATURES/name.npy, [frames, channels]."""
    path = _features_path(source, how)
    try:
        rows: Array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"cannot read its features {path}: {error}") from error
    needed = -(-samples // how.hop)
    if rows.dtype.kind not in "fiu" or rows.ndim != 2 or rows.shape[1] != how.feature_channels:
        raise InputError(
            f"its features must be numbers [frames, {how.feature_channels}], got {rows.dtype} {list(rows.shape)}"
        )
    if not needed <= len(rows) <= needed + 2:
        raise InputError(f"its features have {len(rows)} frames, but {samples} samples at hop {how.hop} need {needed}")
    values = np.asarray(rows[:needed], dtype=np.float32)
    if not np.isfinite(values).all():
        raise InputError("its features hold NaN or infinity")
    frames.write(values.tobytes())
    return needed


def _features_path(source: Source, how: Preparation) -> Path:
    return Path(how.features or "") / Path(source.name).with_suffix(".npy")


# Books


def _key(sources: Sequence[Source], how: Preparation) -> str:
    """What a shard was made from; another key means another shard."""
    settings = dataclasses.asdict(how)
    del settings["held_out"]  # the index alone knows it
    told = [FORMAT, settings, [dataclasses.astuple(source) for source in sources]]
    if how.features is not None and how.mel is None:
        told.append([status_of(_features_path(source, how)) for source in sources])
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _made(place: Path, number: int, key: str) -> dict[str, Any] | None:
    """A shard that is already there, whole, and from the same files."""
    path = place / f"shard-{number:05}.json"
    try:
        shard = json.loads(path.read_bytes())
        sizes = [path.with_suffix(suffix).stat().st_size for suffix in (".tokens", ".frames")]
        whole = shard["key"] == key and shard["sizes"] == sizes
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return shard if whole else None


def _mark_held_out(files: list[dict[str, Any]], share: float) -> None:
    """By the hash of its name alone a file is held out, and so keeps its side when others come; but at least one
    is, and never all. A single file gives its end."""
    if share == 0:
        return
    if len(files) == 1:
        (only,) = files
        kept = max(1, round(only["samples"] * share))
        only["held_out_samples"] = kept if kept < only["samples"] else 0
        return
    places = [_hashed(file["name"]) for file in files]
    chosen = {i for i, at in enumerate(places) if at < share} or {places.index(min(places))}
    if len(chosen) == len(files):
        chosen.remove(places.index(max(places)))
    for i, file in enumerate(files):
        file["held_out_samples"] = file["samples"] if i in chosen else 0


def _hashed(name: str) -> float:
    """Evenly over [0, 1). Names that are no UTF-8 come as surrogates."""
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[8:14], "little") / 2**48


def _sum_counts(shards: Sequence[dict[str, Any]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for shard in shards:
        for level, count in shard["counts"].items():
            total[level] = total.get(level, 0) + count
    return total


def _entropy(counts: dict[str, int]) -> float:
    """Bits a sample of a model that knows only how often each value occurs."""
    values = np.array(list(counts.values()), dtype=np.float64)
    shares = values / values.sum()
    return float(-(shares * np.log2(shares)).sum())


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values))
