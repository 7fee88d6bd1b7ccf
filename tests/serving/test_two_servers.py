"""Two servers behind nginx, by the configuration in examples/: they share the listeners, and lose none."""

import shutil
import socket
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

import fastwave
from fastwave.serving.catalog import Catalog, ModelEntry
from fastwave.sound import audio
from http_server import serving_app
from listening import until
from shapes import make_model

httpx = pytest.importorskip("httpx")
app = pytest.importorskip("fastwave.serving.app")
CONFIGURATION = Path(__file__).parents[2] / "examples" / "two_servers.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="no nginx here"),
    pytest.mark.skipif(not CONFIGURATION.exists(), reason="no examples/ around these tests"),
]


def make_server():
    engine = fastwave.Engine(make_model("categorical"), threads=1)
    return app.Server(Catalog([ModelEntry("tiny", engine, 2)]), waiting=0)


@pytest.fixture
def balancer(tmp_path):
    """The address of nginx in front of two servers with two places each and no queue, and the servers."""
    servers = [make_server(), make_server()]
    with serving_app(servers[0]) as first, serving_app(servers[1]) as second:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        text = CONFIGURATION.read_text()
        for written, address in (("127.0.0.1:8001", first), ("127.0.0.1:8002", second)):
            text = text.replace(f"server {written};", f"server {address.removeprefix('http://')};")
        text = text.replace("listen 127.0.0.1:8080;", f"listen 127.0.0.1:{port};")
        (tmp_path / "nginx.conf").write_text(text)
        command = [NGINX, "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr"]
        process = subprocess.Popen([*command, "-g", "daemon off; pid nginx.pid;"], stderr=subprocess.PIPE)
        address = f"http://127.0.0.1:{port}"
        try:
            until(lambda: answers(address) or process.poll() is not None)
            assert process.poll() is None, process.stderr.read()
            yield address, servers
        finally:
            process.terminate()
            process.wait(60)


def answers(address):
    try:
        return httpx.get(f"{address}/health").status_code == 200
    except httpx.TransportError:
        return False


def test_they_share_the_listeners_and_lose_none(balancer):
    address, servers = balancer
    sounds = {}

    def listen(seed):
        body = {"model": "tiny", "samples": 60_000, "seed": seed}
        sounds[seed] = httpx.post(f"{address}/v1/generate", json=body, timeout=120)

    threads = [threading.Thread(target=listen, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, answer in sounds.items():
        alone = fastwave.generate(make_model("categorical"), samples=60_000, seed=seed).samples[0].numpy()
        assert answer.status_code == 200
        assert np.array_equal(np.frombuffer(answer.content[44:], "<i2"), audio.sixteen_bits(alone))
    assert all(server.metrics.samples["tiny"] for server in servers)


def test_a_sound_arrives_as_it_is_made(balancer):
    address, servers = balancer
    with httpx.stream("POST", f"{address}/v1/generate", json={"model": "tiny", "seconds": 500}, timeout=120) as answer:
        assert answer.status_code == 200
        blocks = answer.iter_bytes()
        next(blocks)
        assert sum(server.admission.inside for server in servers) == 1  # it is still being made
    until(lambda: sum(server.admission.inside for server in servers) == 0)
