"""`fastwave serve`: models and voices over HTTP."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..locate import bundled, locate
from ..speech.locate import VOICE_FILE, locate_voice, voices
from .options import BACKENDS, DEFAULT_MODEL, Verbs, add_dtype, add_verb, check_file, note
from .parser import number_above_zero, whole_number

if TYPE_CHECKING:
    from ..serving.catalog import Catalog, Entry

EXAMPLES = """\
examples:
  fastwave serve                              the bundled model and voice, at http://127.0.0.1:8000/
  fastwave serve RUN VOICE pluck --port 9000  your own, by the names of their folders
  curl 127.0.0.1:8000/v1/audio/speech --json '{"input": "Hello.", "response_format": "wav"}' -o hello.wav
"""


def add(verbs: Verbs) -> None:
    """Add the verb to the command."""
    verb = add_verb(verbs, "serve", serve, check)
    verb.formatter_class = argparse.RawDescriptionHelpFormatter
    verb.epilog = EXAMPLES
    verb.add_argument(
        "models", nargs="*", metavar="MODEL",
        help="checkpoint folders, folders of voices, or names of bundled ones (default: what is bundled)",
    )  # fmt: skip
    verb.add_argument("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1, this machine alone)")
    verb.add_argument("--port", type=whole_number(0), default=8000, help="0 takes a free one (default: 8000)")
    verb.add_argument("--token-file", metavar="FILE", help="a file with a token, which requests then must bring")
    verb.add_argument("--backend", choices=BACKENDS, default="auto", metavar="BACKEND", help=", ".join(BACKENDS))
    add_dtype(verb, "the smallest that costs a model next to nothing, and what a voice was made for")
    verb.add_argument("--threads", type=whole_number(1), help="threads of the engine (default: all cores)")
    verb.add_argument("--streams", type=whole_number(1), help="listeners at a time, for each name (default: measured)")
    verb.add_argument(
        "--waiting", type=whole_number(0), default=16, help="requests that may wait for a place (default: 16)"
    )
    verb.add_argument(
        "--longest",
        type=number_above_zero,
        default=600.0,
        metavar="SECONDS",
        help="of sound from a model (default: 600)",
    )


def check(options: argparse.Namespace) -> None:
    """Refuse what needs no model to be refused."""
    check_file("--token-file", options.token_file)
    if options.port > 65535:
        raise InputError(f"--port must lie in 0..65535, got {options.port}.")
    options.models = options.models or [DEFAULT_MODEL, *voices()]
    for model in options.models:
        (locate_voice if _is_voice(model) else locate)(model)


def serve(options: argparse.Namespace) -> int:
    """Serve models and voices over HTTP, to many listeners at once, and to clients of the OpenAI speech API."""
    from ..serving import server

    place = server.bound(options.host, options.port)
    token = None if options.token_file is None else _token(options.token_file)
    if token is None and options.host not in server.LOCAL:
        note(f"everybody who reaches {options.host} can use this server: --token-file FILE asks for a token.")

    def ready(catalog: Catalog, port: int) -> None:
        for entry in catalog:
            note(f"{entry.kind} {entry.name}: {entry.streams} listener{'s' * (entry.streams > 1)} at a time.")
        host = f"[{options.host}]" if ":" in options.host else options.host
        note(f"serving at http://{host}:{port}/")

    server.serve(
        place,
        lambda before: _catalog(options, before),
        token=token,
        waiting=options.waiting,
        longest=options.longest,
        ready=ready,
    )
    return 0


def _catalog(options: argparse.Namespace, before: Catalog | None) -> Catalog:
    from ..serving.catalog import Catalog

    entries: list[Entry] = []
    try:
        for model in options.models:
            name = Path(model).resolve().name if Path(model).exists() else model
            measured = before.streams_of(name) if before is not None else None
            entries.append(_entry(name, model, options.streams or measured, options))
        return Catalog(entries)
    except BaseException:
        for entry in entries:
            entry.close()
        raise


def _entry(name: str, model: str, streams: int | None, options: argparse.Namespace) -> Entry:
    from ..generation.loading import generator_of, load
    from ..runtime import machine
    from ..serving.catalog import ModelEntry, VoiceEntry
    from ..speech.voice import Voice

    if _is_voice(model):
        count = options.threads or machine.cores()
        copies = [Voice.load(model, backend=options.backend, threads=1) for _ in range(count)]
        return VoiceEntry(name, copies, streams)
    return ModelEntry(name, generator_of(load(model), options.backend, options.dtype, options.threads), streams)


def _is_voice(model: str) -> bool:
    """Whether a name or a folder is that of a voice."""
    if Path(model).exists():
        return (Path(model) / VOICE_FILE).is_file()
    return model in voices() and model not in bundled()


def _token(path: str) -> str:
    """The token in a file, on a line of its own."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read --token-file {path}: {error}.") from error
    if not re.fullmatch(r"[!-~]{8,1000}", text):
        raise InputError(f"--token-file {path} must hold one word of at least 8 letters, digits or signs.")
    return text
