"""Many listeners at a time: python bench/serving_load.py [--model NAME] [--listeners 16] [--seconds 10] ...

Starts `fastwave serve`, and then
1. so many listeners at once take sound of so many seconds each. A listener is served in real time if each block came
   before the one before it was played to its end. Every answer is compared with `fastwave.generate`, bit for bit;
2. a crowd of short requests, more than there are places for: each must be right, or refused with a Retry-After;
3. listeners close their connections in the middle, again and again; places and memory must come back.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

import fastwave
from fastwave.sound import audio

RATE = 16_000
PATHS = {}  # of models that are folders, by their names
BUFFER = 0.3  # seconds that a player has before it begins


async def listen(client, body):
    """The answer of one listener: status, seconds to the first block, the longest that playing would have paused."""
    begun = time.monotonic()
    async with client.stream("POST", "/v1/generate", json=body) as answer:
        if answer.status_code != 200:
            await answer.aread()
            return answer.status_code, answer.headers.get("retry-after"), b"", 0.0
        data, first, late = b"", None, 0.0
        async for block in answer.aiter_raw():
            now = time.monotonic()
            if len(data) > 44:
                late = max(late, now - first - BUFFER - (len(data) - 44) / 2 / RATE)
            data += block
            if first is None and len(data) > 44:
                first = now
        return 200, first - begun, data, late


def memory(process):
    """Megabytes that a process has in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


@contextlib.contextmanager
def started(*arguments):
    """A server as a process, on a free port -> (its address, the process). What else it says is shown."""
    command = [sys.executable, "-X", "faulthandler", "-m", "fastwave", "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = next(filter(None, (re.search(r"http://\S+\d", line) for line in process.stderr)))[0]
        threading.Thread(target=lambda: sys.stderr.writelines(process.stderr), daemon=True).start()
        yield address, process
    finally:
        process.terminate()
        print(f"the server ended with status {process.wait(60)}")


async def places_free(client, name):
    """Seconds until no stream of a model or voice runs any more."""
    begun = time.monotonic()
    while f'fastwave_streams{{model="{name}"}} 0' not in (await client.get("/metrics")).text:
        assert time.monotonic() < begun + 10, "a place was not given back"
    return time.monotonic() - begun


def is_right(data, body, alone, dtype):
    key = json.dumps(body, sort_keys=True)
    if key not in alone:
        options = {name: body[name] for name in ("seconds", "seed", "temperature") if name in body}
        wave = fastwave.generate(PATHS.get(body["model"], body["model"]), dtype=dtype, **options).samples[0].numpy()
        alone[key] = audio.sixteen_bits(wave).tobytes()
    return data[44:] == alone[key]


async def together(address, options):
    bodies = [
        {"model": options.model, "seconds": options.seconds, "seed": number % 4} for number in range(options.listeners)
    ]
    async with httpx.AsyncClient(base_url=address, timeout=600, limits=httpx.Limits(max_connections=1000)) as client:
        begun = time.monotonic()
        answers = await asyncio.gather(*(listen(client, body) for body in bodies))
        elapsed = time.monotonic() - begun
    alone = {}
    right = sum(is_right(answer[2], body, alone, options.dtype) for answer, body in zip(answers, bodies, strict=True))
    firsts, lates = sorted(answer[1] for answer in answers), [answer[3] for answer in answers]
    return {
        "listeners": options.listeners,
        "right": right,
        "times real time, together": round(options.listeners * options.seconds / elapsed, 2),
        "first block, median ms": round(1000 * statistics.median(firsts)),
        "first block, 95% ms": round(1000 * firsts[int(0.95 * (len(firsts) - 1))]),
        "in real time": sum(late <= 0 for late in lates),
        "longest pause ms": round(1000 * max(0.0, *lates)),
    }


async def crowd(address, options):
    body = {"model": options.model, "seconds": 0.5, "seed": 1}
    async with httpx.AsyncClient(base_url=address, timeout=600, limits=httpx.Limits(max_connections=1000)) as client:
        answers = await asyncio.gather(*(listen(client, body) for _ in range(options.crowd)))
    alone = {}
    served = [answer for answer in answers if answer[0] == 200]
    return {
        "clients": len(answers),
        "served": len(served),
        "right": sum(is_right(answer[2], body, alone, options.dtype) for answer in served),
        "refused with Retry-After": sum(answer[0] == 429 and int(answer[1]) >= 1 for answer in answers),
    }


async def leaving(address, process, options):
    body = {"model": options.model, "seconds": 600}
    before, most, rounds, end = memory(process), 0.0, 0, time.monotonic() + options.minutes * 60
    async with httpx.AsyncClient(base_url=address, timeout=600) as client:
        while rounds == 0 or time.monotonic() < end:
            for _ in range(5):
                async with client.stream("POST", "/v1/generate", json=body) as answer:
                    await anext(answer.aiter_raw())
            rounds += 1
            if rounds == 10:
                before = memory(process)  # what the first ones leave in caches is no leak
            most = max(most, memory(process))
        freed = await places_free(client, options.model)
    return {
        "left": 5 * rounds,
        "places free after ms": round(1000 * freed),
        "memory before MB": round(before),
        "after": round(memory(process)),
        "most": round(most),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pluck")
    parser.add_argument("--listeners", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--crowd", type=int, default=200)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--minutes", type=float, default=0.2, help="of leaving in the middle")
    options = parser.parse_args()
    path = options.model
    if Path(path).is_dir():
        options.model = Path(path).name
        PATHS[options.model] = path
    with started(path, "--streams", options.listeners, "--dtype", options.dtype) as (address, process):
        print(json.dumps(asyncio.run(together(address, options))))
        print(json.dumps(asyncio.run(crowd(address, options))))
        print(json.dumps(asyncio.run(leaving(address, process, options))))


if __name__ == "__main__":
    main()
