"""A server of fastwave in a thread of the test, on a free port of this machine."""

import asyncio
import contextlib
import threading

import uvicorn

from fastwave.serving import server as serving
from fastwave.serving.app import make_app


@contextlib.contextmanager
def serving_app(server, token=None):
    """The address of a running server; it ends with the block."""
    place = serving.bound("127.0.0.1", 0)
    app = make_app(server, token, serving.LOCAL)
    running = uvicorn.Server(serving.config_of(app))
    running.install_signal_handlers = lambda: None
    thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets=[place])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(60)
        server.catalog.close()
        assert not thread.is_alive()
