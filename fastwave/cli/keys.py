"""Keys that are pressed while something plays, on a terminal that knows them one by one."""

from __future__ import annotations

import os
import select
import sys
from typing import Any

ARROWS = {"\x1b[A": "up", "\x1b[B": "down"}


class Keys:
    """Reads keys without Enter and without showing them. Where standard input is no terminal, none is ever pressed."""

    def __init__(self) -> None:
        self._before: Any = None
        self._unread = ""  # keys that came together with one before them

    def __enter__(self) -> Keys:
        if sys.stdin is not None and sys.stdin.isatty():
            try:
                import termios
                import tty
            except ImportError:  # Windows
                return self
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def pressed(self, patience: float = 0.0) -> str | None:
        """A key, or the name of an arrow; None if none comes within so many seconds."""
        if not self._unread and self._before is not None and select.select([sys.stdin], [], [], patience)[0]:
            self._unread = os.read(sys.stdin.fileno(), 64).decode(errors="replace")
        if not self._unread:
            return None
        length = next((len(arrow) for arrow in ARROWS if self._unread.startswith(arrow)), 1)
        key, self._unread = self._unread[:length], self._unread[length:]
        return ARROWS.get(key, key)
