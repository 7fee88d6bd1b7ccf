"""A connection over a real socket: its header comes in time, or it is closed; what is not HTTP gets a sentence."""

import json
import socket
import time

import pytest

import fastwave
from http_server import serving_app
from shapes import make_model

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")
from fastwave.serving import protocol
from fastwave.serving.app import Server
from fastwave.serving.catalog import Catalog, ModelEntry

LIMIT = 0.6  # seconds, in place of ten
MOST = 3  # connections, in place of a thousand
HEALTH = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"


@pytest.fixture
def connect(monkeypatch):
    """A function that opens a connection to a server with a short limit."""
    monkeypatch.setattr(protocol.Protocol, "header_seconds", LIMIT)
    monkeypatch.setattr("fastwave.serving.server.MOST_CONNECTIONS", MOST)
    opened = []
    entry = ModelEntry("tiny", fastwave.Engine(make_model("categorical"), threads=1), 4)
    with serving_app(Server(Catalog([entry]))) as address:
        host, port = address.removeprefix("http://").split(":")

        def connect():
            opened.append(socket.create_connection((host, int(port)), timeout=60))
            return opened[-1]

        yield connect
        for connection in opened:
            connection.close()


def dribble(connection, data, pause=LIMIT / 10):
    """Send a byte now and then, until all are sent or the other side has closed; -> what it answered."""
    answer = b""
    connection.settimeout(pause)
    for byte in data:
        try:
            connection.sendall(bytes([byte]))
            while part := connection.recv(4096):
                answer += part
            return answer
        except TimeoutError:
            continue
        except ConnectionError:
            return answer
    return None  # it was never closed


def rest_of(connection):
    """Everything until the other side closes."""
    connection.settimeout(60)
    parts = b""
    while part := connection.recv(4096):
        parts += part
    return parts


def answer_of(connection):
    """One response with a content-length."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(4096)
        assert part, "the server has closed the connection"
        data += part
    header, _, body = data.partition(b"\r\n\r\n")
    length = int(header.lower().partition(b"content-length: ")[2].split()[0])
    while len(body) < length:
        body += connection.recv(4096)
    return header, body


def test_a_header_that_is_sent_slowly_is_ended(connect):
    answer = dribble(connect(), HEALTH + b"x-slow: " + b"a" * 200)
    header, _, body = answer.partition(b"\r\n\r\n")
    assert header.startswith(b"HTTP/1.1 408 ") and b"connection: close" in header.lower()
    assert f"within {LIMIT:g} s" in json.loads(body)["error"]["message"]


def test_the_second_header_of_a_connection_has_the_same_limit(connect):
    connection = connect()
    for _ in range(2):
        connection.sendall(HEALTH + b"\r\n")
        assert answer_of(connection)[0].startswith(b"HTTP/1.1 200 ")
        time.sleep(1.5 * LIMIT)  # between two requests the clock stands
    assert dribble(connection, HEALTH + b"x-slow: " + b"a" * 200).startswith(b"HTTP/1.1 408 ")


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(connect):
    begun = time.monotonic()
    assert rest_of(connect()) == b"" and time.monotonic() - begun >= 0.9 * LIMIT


def test_a_header_in_pieces_within_the_limit_is_answered(connect):
    connection = connect()
    for piece in (HEALTH[:9], HEALTH[9:], b"\r\n"):
        connection.sendall(piece)
        time.sleep(LIMIT / 10)
    assert answer_of(connection)[0].startswith(b"HTTP/1.1 200 ")


def test_a_sound_may_take_longer_than_a_header(connect):
    body = b'{"model": "tiny", "seconds": 600}'
    connection = connect()
    head = "POST /v1/generate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    end, heard = time.monotonic() + 3 * LIMIT, 0
    while time.monotonic() < end or not heard:
        part = connection.recv(4096)
        assert part, "the server has closed the connection"
        heard += len(part)


@pytest.mark.parametrize("words", [b"NO HTTP AT ALL\r\n\r\n", b"GET / HTTP/1.1\r\nhost : x\r\n\r\n"])
def test_what_is_not_http_is_refused_in_the_shape_of_all_errors(connect, words):
    connection = connect()
    connection.sendall(words)
    header, _, body = rest_of(connection).partition(b"\r\n\r\n")
    assert header.startswith(b"HTTP/1.1 400 ") and json.loads(body)["error"]["message"]


def test_a_request_on_one_connection_too_many_is_refused_in_the_shape_of_all_errors(connect, monkeypatch):
    monkeypatch.setattr(protocol.Protocol, "header_seconds", 60.0)
    idle = [connect() for _ in range(MOST)]
    for connection in idle:
        connection.sendall(HEALTH + b"\r\n")
        assert answer_of(connection)[0].startswith(b"HTTP/1.1 200 ")
    surplus = connect()
    surplus.sendall(HEALTH + b"\r\n")
    header, _, body = rest_of(surplus).partition(b"\r\n\r\n")  # and the connection ends
    assert header.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in header.lower()
    assert "as many connections as it takes" in json.loads(body)["error"]["message"]
    surplus.close()
    idle[0].sendall(HEALTH + b"\r\n")
    assert answer_of(idle[0])[0].startswith(b"HTTP/1.1 200 ")
