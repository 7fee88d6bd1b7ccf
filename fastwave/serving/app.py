"""The routes of the server, and what they promise in /openapi.json."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from .. import __version__
from ..errors import FastwaveError, InputError
from .admission import Admission, Busy, Gone
from .catalog import Catalog, Entry, ModelEntry, VoiceEntry
from .encoding import Encoding, encoding_of
from .guard import Guard, error_of
from .metrics import Metrics
from .pages import PAGE, docs_of
from .streams import Stream

LONGEST = 600.0  # seconds of sound that one request may ask for
LONGEST_TEXT = 100_000  # letters of a model of text
MOST_LETTERS = 4096  # of a text to be said: the limit of the OpenAI API
PIECE = 64 * 1024  # bytes of a file that is sent when it is complete
MOST_SEED = 2**53 - 1  # the largest number that every reader of JSON takes as it is
SPEECH_PCM_RATE = 24_000  # what clients of the OpenAI API expect of pcm
# Names that clients of the OpenAI API send, and that stand for whatever is served
USUAL_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
USUAL_VOICES = (
    "alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse", "marin", "cedar",
)  # fmt: skip

Format = Literal["wav", "pcm", "flac", "mp3"]
Name = Annotated[StrictStr, Field(min_length=1, max_length=200)]


class Generate(BaseModel):
    """A piece of sound or text from a model."""

    model_config = ConfigDict(extra="forbid")
    model: Name | None = Field(None, description="one of /v1/models; the first one where it is left out")
    seconds: float | None = Field(None, gt=0, allow_inf_nan=False, description="of sound; 3 where it is left out")
    samples: StrictInt | None = Field(None, gt=0, description="in place of seconds; letters of a model of text")
    seed: StrictInt = Field(0, ge=0, le=MOST_SEED, description="the same seed gives the same samples")
    temperature: float = Field(1.0, ge=0, le=10, allow_inf_nan=False)
    top_k: StrictInt | None = Field(None, ge=1, lt=2**31)
    top_p: float | None = Field(None, gt=0, le=1)
    speaker: StrictInt | Name | None = Field(None, description="of a model of several speakers, by number or name")
    format: Format = Field("wav", description="wav and pcm come as they are made, flac and mp3 at the end")


class Speech(BaseModel):
    """A text to be said, in the shape of the OpenAI API. Fields of that API that are not named here change nothing."""

    model_config = ConfigDict(extra="ignore")
    input: Annotated[StrictStr, Field(min_length=1, max_length=MOST_LETTERS)]
    model: Name = "tts-1"
    voice: Name | None = Field(None, description="a voice of /v1/models; names of OpenAI's voices stand for the first")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    stream_format: Literal["audio", "sse"] = Field("audio", description="sse is refused")
    speed: float = Field(1.0, ge=0.25, le=4.0)
    seed: StrictInt = Field(0, ge=0, le=MOST_SEED)


class ErrorText(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """What went wrong, in a sentence."""

    error: ErrorText


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": text}
    for status, text in {
        400: "the model or the request is not possible",
        404: "there is no such model or voice",
        413: "the body is too large",
        415: "the body is not JSON",
        422: "a field is wrong",
        429: "all places are taken: come again after the seconds of Retry-After",
    }.items()
}


class Server:
    """What the routes share: the catalog, which may be replaced while streams run, the places, the counters."""

    def __init__(self, catalog: Catalog, waiting: int = 16, longest: float = LONGEST) -> None:
        self.catalog, self.longest = catalog, longest
        self.admission, self.metrics = Admission(waiting), Metrics()
        self._replaced: list[Entry] = []  # of catalogs before this one, as long as a stream of theirs runs

    def replace(self, catalog: Catalog) -> None:
        """Serve another catalog from now on. Streams of the one before run to their end."""
        before, self.catalog = self.catalog, catalog
        before.close()
        self._replaced += before
        self.forget_ended()

    def running(self) -> Counter[str]:
        """How many streams there are, by name, with those that a replaced catalog still runs."""
        self.forget_ended()
        count = Counter({entry.name: 0 for entry in self.catalog})
        for entry in (*self.catalog, *self._replaced):
            count[entry.name] += entry.running
        return count

    def forget_ended(self) -> None:
        """Let go of replaced models once nobody hears them: they are as large as those that took their place."""
        self._replaced = [entry for entry in self._replaced if entry.running]

    async def answer(self, request: Request, entry: Entry, stream: Stream, encoding: Encoding) -> Response:
        """Wait for a place, and let the stream run into the response."""
        begun = time.monotonic()
        self.forget_ended()
        try:
            leave = await self.admission.enter(entry.share, request.is_disconnected)
        except Gone:
            return Response(status_code=499)  # nobody reads it
        entry.begin(stream)
        headers = {"x-accel-buffering": "no"}  # nginx shall pass blocks on as they come
        if encoding.sample_rate:
            headers["x-sample-rate"] = str(encoding.sample_rate)
        if encoding.length is not None:
            headers["content-length"] = str(encoding.length)

        def ended() -> None:
            stream.leave()
            leave()
            self.metrics.samples[entry.name] += stream.made

        blocks = _blocks(stream, encoding, lambda: self.metrics.see_first_block(time.monotonic() - begun))
        return _Sound(blocks, ended, media_type=encoding.media_type, headers=headers)


class _Sound(StreamingResponse):
    """A response that says when it is over, however that comes about.

    Where a listener leaves, the traceback of the cancelled task holds this response in a cycle, until Python happens to
    look for cycles. What is large is therefore let go at the end: the stream, and the model that makes it.
    """

    def __init__(self, blocks: AsyncIterator[bytes], ended: Callable[[], None], **options: Any) -> None:
        super().__init__(blocks, **options)
        self._ended: Callable[[], None] | None = ended

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            assert self._ended is not None
            self._ended()
            self._ended = None


async def _blocks(stream: Stream, encoding: Encoding, see_first: Callable[[], None]) -> AsyncIterator[bytes]:
    """The bytes of a stream as it is made."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    try:
        stream.tell_listener = tell
        if header := encoding.begin():
            yield header
        is_first = True
        while True:
            changed.clear()
            samples = stream.take()
            if samples is not None:
                if is_first:
                    see_first()
                    is_first = False
                if data := encoding.block(samples):
                    yield data
            elif stream.is_finished:
                break
            else:
                await changed.wait()
        if stream.failure is not None:
            raise stream.failure
        last = await run_in_threadpool(encoding.end)
        for first in range(0, len(last), PIECE):  # a listener has some time for each, however long the sound is
            yield last[first : first + PIECE]
    finally:
        del stream, encoding  # see _Sound


def make_app(server: Server, token: str | None = None, hosts: Collection[str] = ()) -> Any:
    """The application; `hosts` are the names under which it may be asked for, any where there are none."""
    app = FastAPI(title="fastwave", version=__version__, docs_url=None, redoc_url=None, responses=REFUSALS)

    _add_errors(app)
    _add_sounds(app, server)
    _add_views(app, server)
    return Guard(app, server.metrics, token, hosts)


def _add_errors(app: FastAPI) -> None:
    """Every refusal in the shape of the OpenAI API."""

    @app.exception_handler(FastwaveError)
    async def refused(_: Request, error: FastwaveError) -> JSONResponse:
        if isinstance(error, Busy):
            headers = {"retry-after": str(error.retry_after)}
            return JSONResponse(error_of(str(error), "rate_limit_exceeded"), 429, headers)
        return JSONResponse(error_of(str(error)), 400)

    @app.exception_handler(RequestValidationError)
    async def wrong_field(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse(error_of("; ".join(map(_problem, error.errors()))[:500]), 422)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        text = str(error.detail)
        if text == HTTPStatus(error.status_code).phrase:  # no sentence of ours
            text = f"{request.method} {request.url.path[:80]} is nothing that this server does: see /docs."
        return JSONResponse(error_of(text), error.status_code, error.headers)


def _problem(error: Mapping[str, Any]) -> str:
    """What is wrong with a field, or with all of the body."""
    place = ".".join(map(str, error["loc"][1:]))
    if error["type"] == "json_invalid":
        return f"the body is not JSON, from character {place} on: {error['ctx']['error']}"
    return f"{place or 'the body'}: {error['msg']}"


def _add_sounds(app: FastAPI, server: Server) -> None:
    """The routes that make sound or text."""

    @app.post("/v1/generate", response_class=StreamingResponse, responses=_sounds("text/plain"))
    async def generate(body: Generate, request: Request) -> Response:
        """Sound as it is made, the samples of `fastwave generate` with the same options; of a model of text, text."""
        entry = _entry(server.catalog, body.model, ModelEntry)
        assert isinstance(entry, ModelEntry)
        options = body.model_dump(exclude={"model", "seconds", "format"})
        stream = await run_in_threadpool(entry.open, body.seconds, options)
        if not stream.length:
            raise InputError(f"{body.seconds:g} seconds are less than one sample: ask for more.")
        if stream.length > (server.longest * entry.sample_rate or LONGEST_TEXT):
            most = f"{server.longest:g} seconds" if entry.sample_rate else f"{LONGEST_TEXT} letters"
            raise InputError(f"a request may ask for {most}, not more.")
        encoding = Encoding()
        if entry.sample_rate:
            encoding = encoding_of(body.format, entry.sample_rate, stream.length)
        return await server.answer(request, entry, stream, encoding)

    @app.post("/v1/audio/speech", response_class=StreamingResponse, responses=_sounds())
    async def speech(body: Speech, request: Request) -> Response:
        """A text as speech, for clients of the OpenAI API. wav and pcm come as they are made."""
        served = server.catalog.names(VoiceEntry)
        name = None if body.voice in USUAL_VOICES and body.voice not in served else body.voice
        if name is None and body.model not in USUAL_MODELS:
            name = body.model
        entry = _entry(server.catalog, name, VoiceEntry)
        assert isinstance(entry, VoiceEntry)
        if body.response_format in ("opus", "aac"):
            raise InputError(f"response_format {body.response_format!r} is not made here: take mp3, flac, wav or pcm.")
        if body.stream_format == "sse":
            raise InputError("stream_format 'sse' is not made here: take audio, whose bytes come as they are made.")
        stream = await run_in_threadpool(entry.open, body.input, {"speed": body.speed, "seed": body.seed})
        encoding = encoding_of(body.response_format, entry.sample_rate, bare_rate=SPEECH_PCM_RATE)
        return await server.answer(request, entry, stream, encoding)


def _add_views(app: FastAPI, server: Server) -> None:
    """The routes that tell what there is, and the pages."""

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """What is served."""
        return {
            "object": "list",
            "data": [
                {
                    "id": entry.name, "object": "model", "created": 0, "owned_by": "fastwave", "kind": entry.kind,
                    "sample_rate": entry.sample_rate, "streams": entry.streams, "speakers": entry.speakers,
                }
                for entry in server.catalog
            ],
        }  # fmt: skip

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Counters, in the text format of Prometheus."""
        return server.metrics.text(server.running(), server.admission.waiting)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> str:
        """A page to type, choose, listen and download."""
        return PAGE

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> str:
        """The routes, for people."""
        return docs_of(app.openapi())


def _entry(catalog: Catalog, name: str | None, kind: type[Entry]) -> Entry:
    try:
        return catalog.find(name, kind)
    except InputError as error:
        raise HTTPException(404, str(error)) from error


def _sounds(*others: str) -> dict[int | str, dict[str, Any]]:
    """What a successful response may hold."""
    types = ("audio/wav", "audio/pcm", "audio/flac", "audio/mpeg", *others)
    return {200: {"content": {name: {"schema": {"type": "string", "format": "binary"}} for name in types}}}
