"""A folder of sound or text -> memory-mapped shards of tokens, once, over all cores.

One process makes a shard: `shard-00000.tokens` holds the tokens of its files one after the other, `shard-00000.frames`
their local features, and `shard-00000.json`, written last, says that it is whole and from which files. After a run that
was killed, the next one makes only the shards that are missing. `prepared.json` lists every file of every shard;
`shards.py` reads it.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from ..codec import remembers
from ..errors import AudioError, FastwaveError, InputError
from ..files import replacing
from ..runtime import machine
from ..sound.loudness import HIGHEST_PEAK, TARGET_LUFS, decibels
from .preparation import Preparation
from .reading import features_path, level_of, read_frames, text_blocks, wave_blocks
from .shards import FORMAT, INDEX
from .sources import Source, find, name_speakers, status_of

SHARD_FILES, SHARD_BYTES = 64, 1 << 26  # a shard is full at either: some seconds of work
SILENT = 1e-3  # -60 dB: a file whose peak is lower is skipped, whatever level files are brought to

Array = npt.NDArray[Any]


def prepare(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    preparation: Preparation,
    workers: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Make the shards of `folder` that are missing in `target`, and return the index."""
    sound, text = find(folder)
    is_audio = preparation.codec_object.is_audio
    sources, speakers, skipped = name_speakers(sound if is_audio else text, preparation.speakers)
    if not sources:
        raise InputError(
            f"{folder} holds no {'sound' if is_audio else 'text'} files, and codec {preparation.codec} needs them."
        )
    place = Path(target)
    groups = _group(sources)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for pattern in (".shard-*.tmp*", ".prepared.*.tmp*"):  # of a run that was killed while it wrote
            for leftover in place.glob(pattern):
                leftover.unlink()
        shards = _make_all(place, groups, preparation, workers or machine.cores(), progress)
        files = [file for shard in shards for file in shard["files"]]
        skipped += [tuple(each) for shard in shards for each in shard["skipped"]]
        if not files:
            shown = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3])
            raise InputError(f"none of the {len(sources)} files of {folder} can be used. {shown}")
        index = {
            "format": FORMAT,
            "source": str(Path(folder).resolve()),
            "preparation": preparation.to_dict(),
            "speakers": speakers,
            "files": files,
            "skipped": skipped,
            "order0_bits": _entropy(_sum_counts(shards)),
            "white_noise_bits": math.log2(preparation.classes or 65_536),
        }
        _mark_held_out(files, preparation.held_out)
        _write_json(place / INDEX, index)
    except OSError as error:
        raise InputError(f"cannot prepare data in {place}: {error.strerror or error}.") from error
    return index


def levels_in_words(index: dict[str, Any]) -> str:
    """The levels of the prepared files, in one sentence."""
    normalize = index["preparation"].get("normalize", "off")
    if normalize == "off":
        return "levels: as recorded"
    low, high = (choose(file["loudness"] for file in index["files"]) for choose in (min, max))
    peaks = [file["peak_db"] + file["gain_db"] for file in index["files"]]
    target = f"{TARGET_LUFS} LUFS" if normalize == "loudness" else f"a peak of {HIGHEST_PEAK} dB"
    quieter = sum(file["loudness"] + file["gain_db"] < TARGET_LUFS - 0.1 for file in index["files"])
    rest = f"; {quieter} of {len(peaks)} stay quieter" if normalize == "loudness" and quieter else ""
    most = f"peaks at most {max(peaks):.1f} dB"
    return f"levels: loudness {low:.1f} to {high:.1f} LUFS, brought to {target}; {most}{rest}"


def _group(sources: Sequence[Source]) -> list[list[Source]]:
    """The sources of each shard. Where a group ends depends only on the sources before it."""
    groups: list[list[Source]] = [[]]
    for source in sources:
        if len(groups[-1]) >= SHARD_FILES or sum(each.size for each in groups[-1]) >= SHARD_BYTES:
            groups.append([])
        groups[-1].append(source)
    return groups


def _make_all(
    place: Path, groups: Sequence[Sequence[Source]], preparation: Preparation, workers: int, progress: bool
) -> list[dict[str, Any]]:
    """Every shard's description, in order: read from disk where the shard is finished, else made now."""
    from tqdm import tqdm

    shards: dict[int, dict[str, Any]] = {}
    missing = []
    for number, group in enumerate(groups):
        finished = _finished_shard(place, number, _key(group, preparation))
        if finished is None:
            missing.append(number)
        else:
            shards[number] = finished
    if missing:  # an index must never describe shards that are being replaced
        (place / INDEX).unlink(missing_ok=True)
    total = sum(len(groups[number]) for number in missing)
    with tqdm(total=total, unit="file", desc="preparing", disable=None if progress else True) as bar:
        for number, shard in _work(place, {n: groups[n] for n in missing}, preparation, min(workers, len(missing))):
            shards[number] = shard
            bar.update(len(groups[number]))
    return [shards[number] for number in range(len(groups))]


def _work(
    place: Path, groups: dict[int, Sequence[Source]], preparation: Preparation, workers: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, description) of the shards that are missing, as they are finished; over several processes if asked."""
    if workers <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a worker process
        try:
            for number, group in groups.items():
                yield number, make_shard(place, number, group, preparation)
        finally:
            torch.set_num_threads(threads)  # for the training that may follow
        return
    # spawned, not forked: torch's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
        try:
            waiting = {
                pool.submit(make_shard, place, number, group, preparation): number for number, group in groups.items()
            }
            for done in concurrent.futures.as_completed(waiting):
                yield waiting[done], done.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise InputError(
                "a process that prepared data was killed, perhaps for want of memory: run again, with fewer workers."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Give this worker one thread, and end it when its parent ends, even if the parent is killed."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


# One shard


def make_shard(place: Path, number: int, sources: Sequence[Source], preparation: Preparation) -> dict[str, Any]:
    """Decode the sources one after the other. A file that cannot be used is named in `skipped` and leaves no bytes."""
    files: list[dict[str, Any]] = []
    skipped: list[tuple[str, str]] = []
    counts = np.zeros(preparation.classes or 65_536, dtype=np.int64)
    stem = f"shard-{number:05}"
    (place / f"{stem}.json").unlink(missing_ok=True)  # it describes the old tokens
    with (
        replacing(place / f"{stem}.tokens") as tokens_path,
        replacing(place / f"{stem}.frames") as frames_path,
        open(tokens_path, "wb") as tokens,
        open(frames_path, "wb") as frames,
    ):
        for source in sources:
            starts = tokens.tell(), frames.tell()
            try:
                file_counts, frame_count, level = _write_file(source, preparation, tokens, frames)
            except FastwaveError as error:
                skipped.append((source.name, str(error).removeprefix(f"{source.path}: ")))
                for file, start in zip((tokens, frames), starts, strict=True):
                    file.seek(start)
                    file.truncate()
                continue
            counts += file_counts
            entry = {"name": source.name, "shard": number, "speaker": source.speaker}
            entry |= {"at": starts[0] // preparation.dtype.itemsize, "samples": int(file_counts.sum())}
            entry |= {"first_frame": starts[1] // (4 * max(1, preparation.feature_channels)), "frames": frame_count}
            files.append(entry | level)
        sizes = [tokens.tell(), frames.tell()]
    nonzero = {str(level): int(counts[level]) for level in np.flatnonzero(counts)}
    shard = {"key": _key(sources, preparation), "files": files, "skipped": skipped, "counts": nonzero, "sizes": sizes}
    _write_json(place / f"{stem}.json", shard)
    return shard


def _measured(source: Source, preparation: Preparation) -> dict[str, float]:
    """Peak and loudness of a file and the gain that brings it to the common level; nothing where levels are kept."""
    if preparation.normalize == "off":
        return {}
    level = level_of(source, preparation)
    _refuse_silence(level.peak)
    shown = {"peak_db": round(decibels(level.peak), 2), "loudness": round(level.loudness, 2)}
    return {**shown, "gain_db": level.gain_db(preparation.normalize)}


def _refuse_silence(peak: float) -> None:
    if peak < SILENT:
        raise AudioError(f"it is silent: nothing above {20 * math.log10(SILENT):.0f} dB")


def _write_file(
    source: Source, preparation: Preparation, tokens: BinaryIO, frames: BinaryIO
) -> tuple[Array, int, dict[str, float]]:
    """Append one file -> (how often each class or level occurs, the number of frames, what `_measured` says of it)."""
    codec, features = preparation.codec_object, preparation.feature_kind
    levels = preparation.classes or 65_536
    counts = np.zeros(levels, dtype=np.int64)
    if not codec.is_audio:
        for block in text_blocks(source):
            counts += np.bincount(block, minlength=levels)
            tokens.write(block.tobytes())
        return counts, 0, {}
    measured = _measured(source, preparation)
    loudest, past = 0.0, None  # past: the sample before, of which a codec with pre-emphasis takes a part away

    def written() -> Iterator[Array]:
        """Yield the waves of the file; the tokens of each are written before it is yielded."""
        nonlocal loudest, past
        for wave in wave_blocks(source, preparation, measured.get("gain_db", 0.0)):
            loudest = max(loudest, float(np.abs(wave).max(initial=0)))
            sound = torch.from_numpy(wave)
            values = (codec.encode(sound, past) if remembers(codec) else codec.encode(sound)).numpy()
            past = wave[-1] if len(wave) else past
            if codec.scalar:
                values = np.clip(np.round(values * 32768), -32768, 32767)
            stored = values.astype(preparation.dtype)
            tokens.write(stored.tobytes())
            counts[:] += np.bincount(stored.astype(np.int64) + (32768 if codec.scalar else 0), minlength=levels)
            yield wave

    frame_count = 0
    if features is not None and features.hears_sound:
        for rows in features.from_sound(written(), preparation.sample_rate, preparation.hop):
            frames.write(rows.numpy().astype(np.float32).tobytes())
            frame_count += len(rows)
    else:
        for _ in written():
            pass
    _refuse_silence(loudest)
    if features is not None and not features.hears_sound:
        frames_read = read_frames(source, preparation, int(counts.sum()))
        frames.write(frames_read.tobytes())
        frame_count = len(frames_read)
    return counts, frame_count, measured


# The index and what decides it


def _key(sources: Sequence[Source], preparation: Preparation) -> str:
    """A digest of all that a shard is made from: a shard with another key is made anew."""
    settings = preparation.to_dict()
    del settings["held_out"]  # it decides about the index, not about a shard
    inputs = [FORMAT, settings, [dataclasses.astuple(source) for source in sources]]
    features = preparation.feature_kind
    if features is not None and not features.hears_sound:
        inputs.append([status_of(features_path(source, preparation)) for source in sources])
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:32]


def _finished_shard(place: Path, number: int, key: str) -> dict[str, Any] | None:
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
    """Hold out about this share of the files. The hash of its name decides, so a file stays on its side when others are
    added. At least one file is held out, but never all; of a single file, the end is."""
    if share == 0:
        return
    if len(files) == 1:
        (only,) = files
        kept = max(1, round(only["samples"] * share))
        only["held_out_samples"] = kept if kept < only["samples"] else 0
        return
    hashes = [_hashed(file["name"]) for file in files]
    chosen = {i for i, at in enumerate(hashes) if at < share} or {hashes.index(min(hashes))}
    if len(chosen) == len(files):
        chosen.remove(hashes.index(max(hashes)))
    for i, file in enumerate(files):
        file["held_out_samples"] = file["samples"] if i in chosen else 0


def _hashed(name: str) -> float:
    """A hash spread evenly over [0, 1). A name that is not UTF-8 holds surrogates."""
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
