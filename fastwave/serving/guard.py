"""What stands before every request: a host, a token, a limit of its body, and an end to listeners who hear nothing."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Collection, Iterable
from typing import Any

from .metrics import Metrics

MOST_BYTES = 256 * 1024  # of a body
BODY_SECONDS = 20.0  # for it to arrive
STALL_SECONDS = 60.0  # in which a listener must take something
OPEN_PATHS = ("/", "/docs", "/openapi.json", "/health")  # without a token: a browser cannot bring one

Message = dict[str, Any]
Channel = Callable[..., Any]


class Guard:
    """An ASGI application around another one."""

    def __init__(
        self,
        app: Any,
        metrics: Metrics,
        token: str | None,
        hosts: Collection[str] = (),
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self.app, self.metrics = app, metrics
        self._token, self._hosts, self._stall = token, hosts, stall_seconds

    async def __call__(self, scope: Message, receive: Channel, send: Channel) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # every GET can be asked for its header; uvicorn leaves the body out
            scope = {**scope, "method": "GET"}

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")  # a path that no route has is not kept: anybody can invent them
                self.metrics.requests[getattr(route, "path", "other"), message["status"]] += 1
            await asyncio.wait_for(send(message), self._stall)

        if self._hosts and _host_of(scope) not in self._hosts:  # what a browser sends for a page from elsewhere
            await refuse(counted, 400, f"this server answers to {', '.join(self._hosts)}: ask for one of these hosts.")
            return
        if not self._is_allowed(scope):
            text = "give the token of this server: Authorization: Bearer TOKEN."
            await refuse(counted, 401, text, "invalid_api_key", [(b"www-authenticate", b"Bearer")])
            return
        if scope["method"] == "POST" and not _is_json(scope):
            # so no page of another site can ask: a browser sends this type only where it is allowed to
            await refuse(counted, 415, "the body of a request is JSON: send content-type: application/json.")
            return
        try:
            body = await asyncio.wait_for(_whole_body(receive), BODY_SECONDS)
        except TimeoutError:
            await refuse(counted, 408, f"the body of the request has not arrived within {BODY_SECONDS:g} s.")
            return
        if body is None:
            await refuse(counted, 413, f"the body of the request is larger than {MOST_BYTES} bytes.")
            return
        first = {"type": "http.request", "body": body, "more_body": False}

        async def replayed() -> Message:
            nonlocal first
            if first:
                message, first = first, {}
                return message
            later: Message = await receive()
            return later

        await self.app(scope, replayed, counted)

    def _is_allowed(self, scope: Message) -> bool:
        if self._token is None or scope["path"] in OPEN_PATHS:
            return True
        sent = dict(scope["headers"]).get(b"authorization", b"")
        return secrets.compare_digest(sent, f"Bearer {self._token}".encode())


def _host_of(scope: Message) -> str:
    """The host that a request asks for, without its port."""
    host = str(dict(scope["headers"]).get(b"host", b"").decode("latin-1")).lower()
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _is_json(scope: Message) -> bool:
    sent = dict(scope["headers"]).get(b"content-type", b"")
    return bool(sent.partition(b";")[0].strip().lower() == b"application/json")


async def _whole_body(receive: Channel) -> bytes | None:
    """All of it, or None where it is too large; nothing of a client that has left."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def error_of(text: str, code: str | None = None) -> Message:
    """An error in the shape of the OpenAI API, which its clients show."""
    return {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": code}}


async def refuse(
    send: Channel,
    status: int,
    text: str,
    code: str | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Answer with an error."""
    body = json.dumps(error_of(text, code)).encode()
    usual = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*usual, *headers]})
    await send({"type": "http.response.body", "body": body})
