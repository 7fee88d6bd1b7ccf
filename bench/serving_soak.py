"""A server under requests of every kind for long: python bench/serving_soak.py [--minutes 60] [--reloads 9]

Rounds of sounds in every format and a spoken sentence, listeners who leave in the middle, refused requests, and
headers that are never finished; now and then SIGHUP loads the models again. Prints the memory, threads and
open files of the server every few seconds and, at the end, by how much memory grew in the last two thirds of the time
(least squares), and the largest difference from that line. Places must come back, and open files must not add up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from pathlib import Path

import httpx
import numpy as np

from serving_load import memory, places_free, started

MODEL, VOICE = "pluck", "hazel"
REFUSED = [
    ({"model": "nobody"}, 404),
    ({"seconds": -1}, 422),
    ({"seconds": 1e6}, 400),
    ({"speaker": "x" * 300_000}, 413),
]


async def listen(client, path, body):
    answer = await client.post(path, json=body)
    assert answer.status_code in (200, 429), answer.text
    return answer.status_code == 200


async def leave(client, body):
    async with client.stream("POST", "/v1/generate", json=body) as answer:
        async for _ in answer.aiter_raw():
            return


async def refuse(client, body, status):
    answer = await client.post("/v1/generate", json=body)
    assert answer.status_code == status, answer.text


async def dribble(address):
    """Half a header, and then nothing: the server must close the connection."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /health HTTP/1.1\r\nhost: ")
    assert b" 408 " in await asyncio.wait_for(reader.read(), 60)
    writer.close()


async def one_round(client, number):
    formats = ["wav", "pcm", "flac", "mp3"]
    sounds = [
        {"model": MODEL, "seconds": 0.5, "seed": number + row, "format": name} for row, name in enumerate(formats)
    ]
    speech = {"input": f"Number {number}.", "response_format": formats[number % 4]}
    await asyncio.gather(
        *(listen(client, "/v1/generate", body) for body in sounds),
        listen(client, "/v1/audio/speech", speech),
        *(leave(client, {"model": MODEL, "seconds": 600, "seed": number}) for _ in range(2)),
        *(refuse(client, *each) for each in REFUSED),
    )
    return len(sounds) + 3 + len(REFUSED)


async def soak(address, process, options):
    begun, requests, rounds, rows, dribbles = time.monotonic(), 0, 0, [], set()
    reloads = 0
    # the server closes what was idle for 5 s: a request must not meet that moment
    limits = httpx.Limits(keepalive_expiry=2)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        while (passed := time.monotonic() - begun) < 60 * options.minutes:
            dribbles.add(asyncio.ensure_future(dribble(address)))
            for done in [each for each in dribbles if each.done()]:
                done.result()
                dribbles.remove(done)
            requests += await one_round(client, rounds)
            rounds += 1
            if reloads < options.reloads and passed > 60 * options.minutes * (reloads + 1) / (options.reloads + 1):
                process.send_signal(signal.SIGHUP)
                reloads += 1
            if len(rows) * options.every <= passed:
                folder = Path(f"/proc/{process.pid}")
                threads, files = (len(list((folder / name).iterdir())) for name in ("task", "fd"))
                rows.append((passed / 3600, memory(process)))
                row = {
                    "minutes": round(passed / 60, 2),
                    "MB": round(rows[-1][1], 1),
                    "threads": threads,
                    "files": files,
                }
                print(json.dumps({**row, "requests": requests, "reloads": reloads}), flush=True)
        await asyncio.gather(*dribbles)
        for name in (MODEL, VOICE):
            await places_free(client, name)
    hours, megabytes = np.array(rows[len(rows) // 3 :]).T
    line = np.polyfit(hours, megabytes, 1)
    return {
        "requests": requests,
        "reloads": reloads,
        "memory grew MB": round(float(line[0] * (hours[-1] - hours[0])), 1),
        "in minutes": round(60 * float(hours[-1] - hours[0]), 1),
        "largest difference from the line MB": round(float(abs(megabytes - np.polyval(line, hours)).max()), 1),
        "places": "all free",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=10, help="seconds between two lines")
    parser.add_argument("--reloads", type=int, default=9, help="SIGHUPs, at equal distances")
    options = parser.parse_args()
    with started(MODEL, VOICE, "--streams", 8) as (address, process):
        print(json.dumps(asyncio.run(soak(address, process, options))))


if __name__ == "__main__":
    main()
