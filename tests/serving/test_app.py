"""The routes, asked over a real connection: the same samples as at home, places, refusals, nothing left behind."""

import asyncio
import functools
import gc
import io
import json
import re
import socket
import threading
import weakref

import numpy as np
import pytest
import soundfile
import torch

import fastwave
from fastwave.serving import batch as batches
from fastwave.serving.catalog import Catalog, ModelEntry, VoiceEntry
from fastwave.sound import audio
from http_server import serving_app
from listening import until
from shapes import BASE, make_model
from small_voice import make_voice

httpx = pytest.importorskip("httpx")
app = pytest.importorskip("fastwave.serving.app")
from fastwave.serving import guard  # noqa: E402


def text_model():
    torch.manual_seed(0)
    return fastwave.WaveNet(fastwave.WaveNetConfig(**{**BASE, "codec": "bytes", "sample_rate": 0}))


def speakers_model():
    torch.manual_seed(0)
    named = {"condition_channels": 3, "speaker_channels": 3, "speakers": 2, "speaker_names": ("anna", "bert")}
    return fastwave.WaveNet(fastwave.WaveNetConfig(**BASE, **named))


MODELS = {"tiny": make_model("categorical"), "people": speakers_model(), "letters": text_model()}


def make_server(streams=16, waiting=4, **options):
    entries = [ModelEntry(name, fastwave.Engine(model, threads=2), streams) for name, model in MODELS.items()]
    return app.Server(
        Catalog([*entries, VoiceEntry("hazel", [make_voice(), make_voice()], streams)]), waiting, **options
    )


@pytest.fixture(scope="module")
def shared():
    server = make_server()
    with serving_app(server) as address, httpx.Client(base_url=address, timeout=120) as client:
        yield server, client


@pytest.fixture
def client(shared):
    return shared[1]


def samples_of(wav):
    return soundfile.read(io.BytesIO(wav), dtype="int16")[0]


def at_home(name, **options):
    return audio.sixteen_bits(fastwave.generate(MODELS[name], **options).samples[0].numpy())


def test_sound_is_that_of_generate_bit_for_bit(client):
    body = {"model": "tiny", "seconds": 0.05, "seed": 3, "temperature": 0.9, "top_k": 4}
    answer = client.post("/v1/generate", json=body)
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    assert answer.headers["x-sample-rate"] == "16000" and int(answer.headers["content-length"]) == len(answer.content)
    assert np.array_equal(samples_of(answer.content), at_home("tiny", seconds=0.05, seed=3, temperature=0.9, top_k=4))


def test_a_speaker_is_named_or_numbered(client):
    for speaker in ("bert", 1):
        answer = client.post("/v1/generate", json={"model": "people", "samples": 300, "speaker": speaker})
        assert np.array_equal(samples_of(answer.content), at_home("people", samples=300, speaker=1))
    other = client.post("/v1/generate", json={"model": "people", "samples": 300, "speaker": "anna"})
    assert other.content != answer.content


def test_a_model_of_text_answers_with_text(client):
    answer = client.post("/v1/generate", json={"model": "letters", "samples": 80, "seed": 2})
    assert answer.headers["content-type"].startswith("text/plain")
    alone = fastwave.generate(MODELS["letters"], samples=80, seed=2)
    assert answer.content == bytes(alone.tokens[0].tolist())


@pytest.mark.parametrize("name", ["wav", "pcm", "flac"])
def test_speech_is_that_of_the_voice(client, name):
    body = {"input": "Good morning. Is it?", "voice": "hazel", "response_format": name, "seed": 5, "speed": 1.25}
    answer = client.post("/v1/audio/speech", json=body)
    assert answer.status_code == 200
    said = make_voice()("Good morning. Is it?", seed=5, speed=1.25).samples[0].numpy()
    assert answer.headers["x-sample-rate"] == ("24000" if name == "pcm" else "16000")
    if name == "pcm":  # at the rate that clients of the OpenAI API expect
        assert len(answer.content) == 2 * -(-len(said) * 3 // 2)
    else:
        heard = samples_of(answer.content) if name == "flac" else np.frombuffer(answer.content[44:], "<i2")
        assert np.array_equal(heard, audio.sixteen_bits(said))


def test_what_clients_of_the_openai_api_send_is_understood(client):
    body = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "Hello.", "instructions": "Be kind."}
    answer = client.post("/v1/audio/speech", json=body)
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/mpeg"
    assert soundfile.info(io.BytesIO(answer.content)).format == "MP3"


def test_what_is_served_is_listed_without_a_path(client):
    listed = client.get("/v1/models").json()["data"]
    assert [(each["id"], each["kind"]) for each in listed] == [
        ("tiny", "model"), ("people", "model"), ("letters", "model"), ("hazel", "voice"),
    ]  # fmt: skip
    assert [each["speakers"] for each in listed] == [[], ["anna", "bert"], [], []]
    assert client.get("/health").json() == {"status": "ok"}


def test_every_copy_of_a_voice_is_used():
    entry = VoiceEntry("hazel", [make_voice(), make_voice()], 4)
    streams = [entry.open("Good morning. " * 40, {"speed": 1.0, "seed": 0}) for _ in range(4)]
    for stream in streams:  # nobody listens: each is made for a second of sound, and waits
        entry.begin(stream)
    assert [talk.running for talk in entry._talks] == [2, 2]
    for stream in streams:
        stream.leave()
    entry.close()
    until(lambda: entry.running == 0)


def test_a_voice_under_the_name_of_one_of_openais_is_itself():
    class Says:
        sample_rate = 16_000

        def __init__(self, seconds):
            self.voice, self.text = make_voice(), "Yes. " * seconds

        def stream(self, text, **_):
            return self.voice.stream(self.text)

    entries = [VoiceEntry("first", [Says(1)], 1), VoiceEntry("nova", [Says(3)], 1)]
    with serving_app(app.Server(Catalog(entries))) as address:
        lengths = {}
        for name in ("first", "nova", "alloy"):
            body = {"input": "Hi.", "voice": name, "response_format": "pcm"}
            lengths[name] = len(httpx.post(f"{address}/v1/audio/speech", json=body, timeout=60).content)
    assert lengths["first"] == lengths["alloy"] < lengths["nova"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/generate", {"model": "tyni"}, 404, "served are: tiny, people, letters"),
        ("/v1/generate", {"model": "hazel"}, 404, "no model 'hazel'"),
        ("/v1/generate", {"seconds": -1}, 422, "seconds"),
        ("/v1/generate", {"seconds": 1, "samples": 5}, 400, "not both"),
        ("/v1/generate", {"second": 1}, 422, "second"),
        ("/v1/generate", {"seconds": 1e9}, 400, "600 seconds"),
        ("/v1/generate", {"seconds": 1e-9, "format": "flac"}, 400, "less than one sample"),
        ("/v1/generate", {"seed": -1}, 422, "seed"),
        ("/v1/generate", {"seed": 2**53}, 422, "seed"),
        ("/v1/generate", {"top_p": 0}, 422, "top_p"),
        ("/v1/generate", {"model": "people"}, 400, "speaker"),
        ("/v1/generate", {"model": "people", "speaker": "carl"}, 400, "carl"),
        ("/v1/generate", {"model": "letters", "seconds": 1}, 400, "samples"),
        ("/v1/generate", [], 422, ""),
        ("/v1/audio/speech", {"input": ""}, 422, "input"),
        ("/v1/audio/speech", {"input": "a" * 4097}, 422, "4096"),
        ("/v1/audio/speech", {"input": "...", "voice": "hazel"}, 400, "nothing"),
        ("/v1/audio/speech", {"input": "Hi.", "voice": "anna"}, 404, "served are: hazel"),
        ("/v1/audio/speech", {"input": "Hi.", "response_format": "opus"}, 400, "mp3"),
        ("/v1/audio/speech", {"input": "Hi.", "stream_format": "sse"}, 400, "take audio"),
        ("/v1/audio/speech", {"input": "Hi.", "speed": 9}, 422, "speed"),
    ],
)
def test_a_request_that_cannot_be_is_refused_with_a_sentence(client, path, body, status, words):
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"] and "/" not in answer.json()["error"]["message"]


def test_a_text_model_has_a_limit_too(client):
    assert client.post("/v1/generate", json={"model": "letters", "samples": 10**9}).status_code == 400


def test_a_body_that_is_too_large_or_no_json_is_refused(client):
    json_type = {"content-type": "application/json; charset=utf-8"}
    assert client.post("/v1/generate", content=b"x" * 300_000, headers=json_type).status_code == 413
    assert client.post("/v1/generate", content=b"{", headers=json_type).status_code == 422
    for other in ({"content-type": "text/plain"}, {}):  # what a page of another site can send without being allowed to
        assert client.post("/v1/generate", content=b'{"seconds": 1}', headers=other).status_code == 415


@pytest.mark.parametrize("path", ["/v1/generate", "/v1/models"])
def test_a_body_that_is_too_large_is_refused_also_in_pieces(client, path):
    """Without a content-length nothing says beforehand how much comes; with one, the server need not wait for it."""
    sent = 0

    def pieces():
        nonlocal sent
        for _ in range(400):
            sent += 1024
            yield b" " * 1024

    headers = {"content-type": "application/json"}
    answer = client.request("POST", path, content=pieces(), headers=headers)
    assert answer.status_code == 413 and "262144 bytes" in answer.json()["error"]["message"] and sent > 262_144
    fitting = (piece for piece in (b'{"model": "tiny", ', b" " * 200_000, b'"samples": 50}'))
    assert client.post("/v1/generate", content=fitting, headers=headers).status_code == 200


def test_the_pieces_of_a_body_are_put_together_however_they_come():
    """A network may join or split them, so here they come from a program."""
    pieces = [b'{"model": "tiny", ', b"", b" " * 200_000, b'"samples": 50}']

    async def body_of(pieces):
        messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        messages[-1]["more_body"] = False

        async def receive():
            return messages.pop(0)

        return await guard._whole_body(receive), len(messages)

    assert asyncio.run(body_of(pieces)) == (b"".join(pieces), 0)
    most = guard.MOST_BYTES
    assert asyncio.run(body_of([b"a" * (most - 1), b"a"])) == (b"a" * most, 0)
    assert asyncio.run(body_of([b"a" * most, b"a", b"a"])) == (None, 1)  # nothing more is read


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "[::2]:80", ""])
def test_another_name_of_the_host_is_refused(client, host):
    answer = client.get("/health", headers={"host": host})
    assert answer.status_code == 400 and "answers to 127.0.0.1" in answer.json()["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8000", "127.0.0.1", "[::1]", "[::1]:8000"])
def test_the_names_of_this_machine_are_answered(client, host):
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/health", "/metrics", "/v1/models"])
def test_every_page_can_be_asked_for_its_header_alone(client, path):
    whole, header = client.get(path), client.head(path)
    assert header.status_code == 200 and header.content == b""
    assert header.headers["content-type"] == whole.headers["content-type"]
    if path != "/metrics":  # which counts this very request
        assert header.headers["content-length"] == str(len(whole.content))
    assert client.get(path).status_code == 200  # the connection is still in step


def test_what_cannot_be_got_has_no_header_either(client):
    assert client.head("/v1/generate").status_code == 405 and client.head("/nothing").status_code == 404


def test_errors_of_routing_have_the_same_shape(client):
    for answer, status in ((client.get("/nothing"), 404), (client.get("/v1/generate"), 405)):
        message = answer.json()["error"]["message"]
        assert answer.status_code == status and answer.url.path in message and "/docs" in message


def test_a_body_that_is_no_json_is_answered_by_a_sentence(client):
    answer = client.post("/v1/generate", content=b"{seconds: 1}", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert "the body is not JSON, from character 1 on: Expecting" in answer.json()["error"]["message"]


def test_counters_tell_what_happened(shared):
    server, client = shared
    before = server.metrics.samples["tiny"]
    client.post("/v1/generate", json={"model": "tiny", "samples": 123})
    until(lambda: server.metrics.samples["tiny"] == before + 123)
    text = client.get("/metrics").text
    assert f'fastwave_samples_total{{model="tiny"}} {before + 123}' in text
    assert 'fastwave_requests_total{path="/v1/generate",status="200"}' in text
    assert 'fastwave_streams{model="hazel"} 0' in text and "fastwave_waiting 0" in text
    assert "/nothing" not in text  # what nobody serves makes no counter


def test_the_page_of_the_routes_names_each(client):
    page = client.get("/docs").text
    assert all(path in page for path in ("/v1/generate", "/v1/audio/speech", "/v1/models", "/metrics", "temperature"))
    assert "http" not in page.replace("http-equiv", "")


def test_a_token_opens_the_server():
    with serving_app(make_server(), token="a-long-secret") as address, httpx.Client(base_url=address) as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers={"authorization": "Bearer a-long-secreT"}).status_code == 401
        assert client.get("/v1/models", headers={"authorization": "Bearer a-long-secret"}).status_code == 200
        assert [client.get(path).status_code for path in ("/health", "/", "/docs")] == [200] * 3


def test_sixteen_listeners_at_a_time_hear_what_they_hear_alone():
    wanted = [{"model": "tiny", "samples": 4_000 + 37 * number, "seed": number % 5} for number in range(16)]
    with serving_app(make_server()) as address:
        heard = {}

        def listen(number):
            heard[number] = httpx.post(f"{address}/v1/generate", json=wanted[number], timeout=120)

        threads = [threading.Thread(target=listen, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, body in enumerate(wanted):
        alone = at_home("tiny", samples=body["samples"], seed=body["seed"])
        assert np.array_equal(samples_of(heard[number].content), alone)


def test_the_surplus_is_asked_to_come_again_and_nobody_is_forgotten():
    server = make_server(streams=2, waiting=3)
    with serving_app(server) as address:
        answers, lock = [], threading.Lock()

        def ask():
            answer = httpx.post(f"{address}/v1/generate", json={"model": "tiny", "samples": 8_000}, timeout=120)
            with lock:
                answers.append(answer)

        threads = [threading.Thread(target=ask) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statuses = sorted(answer.status_code for answer in answers)
        assert set(statuses) == {200, 429} and statuses.count(200) >= 5
        alone = at_home("tiny", samples=8_000)
        for answer in answers:
            if answer.status_code == 200:
                assert np.array_equal(samples_of(answer.content), alone)
            else:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        until(lambda: server.admission.inside == server.admission.waiting == 0)


def ask_and_leave(address, body, bytes_read):
    """Read so much of an answer, and close the connection without a word."""
    host, port = address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/generate HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
    )
    connection.sendall(f"{head}\r\n\r\n".encode() + data)
    read = 0
    while read < bytes_read:
        read += len(connection.recv(4_096))
    connection.close()


def test_listeners_who_leave_in_the_middle_free_their_places():
    server = make_server(streams=4, waiting=4)
    with serving_app(server) as address:
        for number in range(12):
            ask_and_leave(address, {"model": "tiny", "seconds": 500, "seed": number}, 1 + 700 * (number % 4))
        until(lambda: server.admission.inside == 0 and all(entry.running == 0 for entry in server.catalog))
        assert (
            httpx.post(f"{address}/v1/generate", json={"model": "tiny", "samples": 50}, timeout=60).status_code == 200
        )


def test_one_who_reads_slowly_holds_up_nobody():
    server = make_server(streams=4)
    with (
        serving_app(server) as address,
        httpx.stream("POST", f"{address}/v1/generate", json={"model": "tiny", "seconds": 500}, timeout=120) as slow,
    ):
        blocks = slow.iter_bytes()
        next(blocks)
        for seed in range(3):
            body = {"model": "tiny", "samples": 3_000, "seed": seed}
            answer = httpx.post(f"{address}/v1/generate", json=body, timeout=60)
            assert np.array_equal(samples_of(answer.content), at_home("tiny", samples=3_000, seed=seed))


def test_one_who_reads_nothing_for_long_loses_the_place(monkeypatch):
    monkeypatch.setattr(app, "Guard", functools.partial(guard.Guard, stall_seconds=0.3))
    server = make_server(streams=1)
    body = {"model": "tiny", "seconds": 600}
    with (
        serving_app(server) as address,
        httpx.stream("POST", f"{address}/v1/generate", json=body, timeout=120) as answer,
    ):
        blocks = answer.iter_bytes()
        next(blocks)
        until(lambda: server.admission.inside == 0)


def test_a_catalog_is_replaced_while_streams_run():
    server = make_server()
    with serving_app(server) as address:
        with httpx.stream(
            "POST", f"{address}/v1/generate", json={"model": "tiny", "samples": 60_000}, timeout=120
        ) as answer:
            parts = answer.iter_bytes()
            first = next(parts)
            changed = make_model("categorical", seed=5)
            server.replace(Catalog([ModelEntry("tiny", fastwave.Engine(changed, threads=1), 4)]))
            later = httpx.post(f"{address}/v1/generate", json={"model": "tiny", "samples": 400}, timeout=60)
            before = samples_of(first + b"".join(parts))
        assert np.array_equal(before, at_home("tiny", samples=60_000))
        new = fastwave.generate(changed, samples=400).samples[0].numpy()
        assert np.array_equal(samples_of(later.content), audio.sixteen_bits(new))


def test_streams_of_a_replaced_catalog_are_counted_until_they_end():
    server = make_server()
    with serving_app(server) as address:

        def counted(name):
            return re.findall(rf'^fastwave_\w+{{model="{name}"}} (\d+)$', httpx.get(f"{address}/metrics").text, re.M)

        body = {"model": "tiny", "seconds": 600}
        with httpx.stream("POST", f"{address}/v1/generate", json=body, timeout=120) as answer:
            parts = answer.iter_bytes()
            next(parts)
            for name in ("tiny", "else", "else"):  # an heir of the same name, of another, and a second replacement
                engine = fastwave.Engine(make_model("categorical"), threads=1)
                server.replace(Catalog([ModelEntry(name, engine, 4)]))
                assert counted("tiny") == ["0", "1"], name
            assert counted("else") == ["0", "0"]
        until(lambda: counted("tiny")[1:] in ([], ["0"]))
        assert int(counted("tiny")[0]) > 0  # what was made is counted also after the name has gone
        assert server._replaced == []


@pytest.fixture
def no_cycles():
    """What is let go must go at once, and not when Python next looks for cycles."""
    gc.disable()
    yield
    gc.enable()


def test_what_was_replaced_is_let_go_when_nobody_hears_it_any_more(no_cycles):
    """Whether or not anybody asks for the counters."""
    server = make_server()
    with serving_app(server) as address:
        body = {"model": "tiny", "seconds": 600}
        with httpx.stream("POST", f"{address}/v1/generate", json=body, timeout=120) as answer:
            parts = answer.iter_bytes()  # held: without it the client would close the connection
            next(parts)
            heard = weakref.ref(server.catalog.find("tiny", ModelEntry))
            engine = weakref.ref(heard().engine)
            unheard = [weakref.ref(server.catalog.find(name, ModelEntry)) for name in ("people", "letters")]
            server.replace(Catalog([ModelEntry("tiny", fastwave.Engine(make_model("categorical"), threads=1), 4)]))
            until(lambda: all(each() is None for each in unheard))
            assert heard() is not None
        until(lambda: heard() is None or heard().running == 0)
        assert (
            httpx.post(f"{address}/v1/generate", json={"model": "tiny", "samples": 50}, timeout=60).status_code == 200
        )
        until(lambda: heard() is None and engine() is None)


def test_a_failure_in_the_middle_breaks_the_answer_off(monkeypatch):
    """Half a sound must not look like a whole one."""
    server = make_server()
    advance = batches.Batch._advance_together

    def failing(self, key, group, count):
        if group[0].made > 200:
            group[0].end(fastwave.GenerationError("the network has made a NaN."))
        else:
            advance(self, key, group, min(count, 64))

    monkeypatch.setattr(batches.Batch, "_advance_together", failing)
    body = {"model": "tiny", "samples": 5_000}
    with serving_app(server) as address:
        for name in ("wav", "pcm", "flac"):
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.post(f"{address}/v1/generate", json={**body, "format": name}, timeout=60)


def test_a_voice_that_fails_in_the_middle_breaks_the_answer_off():
    class Failing:
        sample_rate = 16_000

        def stream(self, text, **_):
            yield next(make_voice().stream(text))
            raise fastwave.GenerationError("the network has made a NaN.")

    with serving_app(app.Server(Catalog([VoiceEntry("anna", [Failing()], 1)]))) as address:
        body = {"input": "Hello.", "response_format": "wav"}
        for _ in range(2):  # and gives its place back
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.post(f"{address}/v1/audio/speech", json=body, timeout=60)
