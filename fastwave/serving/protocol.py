"""HTTP/1.1 on one connection: uvicorn's protocol, with a limit for how long the header of a request may take.

Every refusal has the shape of all others.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .guard import error_of, refuse

HEADER_SECONDS = 10.0  # from the first byte that a connection could send, to the end of the header


class Protocol(H11Protocol):
    """Closes a connection whose next header is late, and refuses a request where there are too many connections."""

    header_seconds = HEADER_SECONDS
    _limit: asyncio.TimerHandle | None = None

    def __init__(self, *options: Any, **named_options: Any) -> None:
        super().__init__(*options, **named_options)
        self._most_connections, self.limit_concurrency = self.limit_concurrency, None  # uvicorn would answer plain text
        self._app = self.app

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_header()

    def data_received(self, data: bytes) -> None:
        is_full = self._most_connections is not None and len(self.connections) > self._most_connections
        self.app = _refuse_for_now if is_full else self._app
        super().data_received(data)
        self._watch_header()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._watch_header()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, msg)

    @property
    def _awaits_header(self) -> bool:
        """Whether the client is to send a header, or the rest of one, before anything else can happen."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        return not is_answering and not self.transport.is_closing()

    def _watch_header(self) -> None:
        """Start the clock where a header is awaited, and stop it where none is.

        Between two requests it starts with the first byte: until then uvicorn's limit of idle connections holds.
        """
        if not self._awaits_header:
            if self._limit is not None:
                self._limit.cancel()
                self._limit = None
        elif self._limit is None:
            self._limit = self.loop.call_later(self.header_seconds, self._end_wait)

    def _end_wait(self) -> None:
        self._limit = None
        if not self._awaits_header:
            return
        if self.conn.trailing_data[0]:
            self._refuse(408, f"the header of the request has not arrived within {self.header_seconds:g} s.")
        else:
            self.transport.close()  # nothing was asked, so nobody waits for an answer

    def _refuse(self, status: int, text: str) -> None:
        """Answer with an error, where no answer has begun, and close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(error_of(text)).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            answer = (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in answer))
        self.transport.close()


async def _refuse_for_now(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request of a connection that is one too many, and end that."""
    text = "this server has as many connections as it takes: try again in a moment."
    await refuse(send, 503, text, headers=((b"retry-after", b"1"), (b"connection", b"close")))
