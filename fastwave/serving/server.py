"""The server as a process: a socket, the application, and what it does on signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..runtime import library
from .catalog import Catalog

if TYPE_CHECKING:
    import uvicorn

GRACE_SECONDS = 30  # in which streams may end after the server was asked to stop
TIDY_SECONDS = 30.0  # between two times that memory is returned, which takes 10 ms at most
MOST_CONNECTIONS = 1000  # at a time; beyond it the answer is 503
LOCAL = ("127.0.0.1", "localhost", "[::1]", "::1")

log = logging.getLogger("uvicorn.error")


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 takes a free one."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen at {host}, port {port}: {error}. Choose another --port or --host.") from error


def config_of(app: Any) -> uvicorn.Config:
    """How uvicorn runs the application."""
    import uvicorn

    from .protocol import Protocol

    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",  # a connection that becomes a WebSocket would leave the limits behind
        lifespan="off",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=MOST_CONNECTIONS,
    )


def serve(
    place: socket.socket,
    load: Callable[[Catalog | None], Catalog],
    *,
    token: str | None = None,
    waiting: int = 16,
    longest: float = 600.0,
    ready: Callable[[Catalog, int], None] = lambda catalog, port: None,
) -> None:
    """Serve until SIGINT or SIGTERM; streams then have GRACE_SECONDS to end. SIGHUP loads everything again.

    `load` is given the catalog before, if there is one, whose measurements still hold.
    """
    try:
        import uvicorn

        from .app import Server, make_app
    except ModuleNotFoundError as error:
        raise InputError(
            f"serving needs the package {error.name}, which is not here: pip install 'fastwave[serve]'."
        ) from error

    server = Server(load(None), waiting, longest)
    address, port = place.getsockname()[:2]
    config = config_of(make_app(server, token, LOCAL if address in LOCAL else ()))

    async def reload(one_at_a_time: asyncio.Lock) -> None:
        async with one_at_a_time:
            try:
                server.replace(await asyncio.to_thread(load, server.catalog))
                log.warning("everything was loaded again: %s", ", ".join(entry.name for entry in server.catalog))
            except Exception as error:  # whatever it is, what runs must go on
                log.error("the models stay as they were: %s", error)

    async def tidy() -> None:
        """Replaced models, and whole sounds in a compressed file, leave much memory behind that nobody uses."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            server.forget_ended()
            await asyncio.to_thread(library.give_back_memory)

    async def run() -> None:
        one_at_a_time = asyncio.Lock()
        tidying = asyncio.ensure_future(tidy())  # a task that nobody holds may vanish
        reloads: set[asyncio.Task[None]] = set()

        def start_reload() -> None:
            task = asyncio.ensure_future(reload(one_at_a_time))
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, start_reload)
        ready(server.catalog, port)
        await uvicorn.Server(config).serve(sockets=[place])
        tidying.cancel()

    # uvicorn raises the signal that stopped it once more: here that is the usual end
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run())
    finally:
        signal.signal(signal.SIGTERM, before)
        server.catalog.close()
