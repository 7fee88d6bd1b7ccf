"""Pickles as inert data: a small machine for their instructions that never imports, calls or builds what they name.

A name of a class or function becomes a `Name`. What a pickle would build by calling one becomes a `Stub`, unless the
caller of `read_pickle` has an interpretation of that very name, which is a function of ours over inert values. Sizes
are bounded: the values of a pickle may take about MOST_MEMORY bytes in all, whatever its instructions ask for.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import CheckpointError
from .reading import Reader

MOST_MEMORY = 24 << 20  # bytes that the values of one pickle may take, estimated from above
_LONGEST_INTEGER = 255  # bytes
_LONGEST_LINE = 4096  # of the instructions of protocol 0 that hold text
_LONGEST_KEY = 8  # values in a tuple that is a key: hashing nested tuples would recurse without bound


@dataclasses.dataclass(frozen=True)
class Name:
    """A class or function that a pickle names. It is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(eq=False)
class Stub:
    """What a pickle would build by calling `name` with `arguments`, and what it would put into it."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = dataclasses.field(default_factory=dict)
    elements: list[Any] = dataclasses.field(default_factory=list)

    def __repr__(self) -> str:  # the fields may contain the stub itself
        return f"Stub({self.name!r})"


Interpretation = Callable[[tuple[Any, ...]], Any]


def read_pickle(
    reader: Reader,
    interpretations: Mapping[str, Interpretation],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """The value of the pickle at a reader's place, which moves behind it. `persistent` interprets persistent ids."""
    return _Machine(reader, interpretations, persistent).run()


class _Machine:
    def __init__(
        self, reader: Reader, interpretations: Mapping[str, Interpretation], persistent: Callable[[Any], Any] | None
    ) -> None:
        self._reader, self._interpretations, self._persistent = reader, interpretations, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []  # heights of the stack at which a mark stands
        self._memo: dict[int, Any] = {}
        self._memory = MOST_MEMORY

    def run(self) -> Any:
        while True:
            code = self._reader.unsigned(1)
            if code == _STOP:
                return self._pop()
            step = _STEPS.get(code)
            if step is None:
                raise self._reader.refused(f"a pickle instruction 0x{code:02x} that no torch file has")
            self._charge(64)  # a place on the stack or in the memo, with what lists keep in reserve
            step(self)

    # The stack

    def _charge(self, size: int) -> None:
        self._memory -= size
        if self._memory < 0:
            raise CheckpointError(
                f"{self._reader.name}: its pickle would take over {MOST_MEMORY >> 20} MB of memory without its "
                "tensors, which no WaveNet's does: it is not read."
            )

    def _push(self, value: Any, size: int = 0) -> None:
        self._charge(size)
        self._stack.append(value)

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise self._reader.refused("a pickle takes a value that it did not make")
        return self._stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _pop_mark(self) -> list[Any]:
        """The values above the last mark, which goes too."""
        if not self._marks:
            raise self._reader.refused("a pickle closes a list that it did not open")
        height = self._marks.pop()
        values = self._stack[height:]
        del self._stack[height:]
        return values

    def _pairs(self, values: list[Any]) -> list[tuple[Any, Any]]:
        if len(values) % 2:
            raise self._reader.refused("a key of a pickle lacks its value")
        return [(self._key(key), value) for key, value in zip(values[::2], values[1::2], strict=True)]

    def _key(self, key: Any) -> Any:
        """A value that may be hashed: hashing it takes bounded time and depth."""
        plain = key is None or isinstance(key, (str, bytes, float, Name, Stub))
        if plain or (isinstance(key, int) and abs(key) < 2**64):
            return key
        if isinstance(key, tuple) and len(key) <= _LONGEST_KEY and not any(isinstance(part, tuple) for part in key):
            return tuple(self._key(part) for part in key)
        raise self._reader.refused(f"a key of a pickle is a {type(key).__name__}")

    # Instructions

    def _protocol(self) -> None:
        if self._reader.unsigned(1) > 5:
            raise self._reader.refused("a pickle of an unknown protocol")

    def _frame(self) -> None:
        size = self._reader.unsigned(8)
        if size > self._reader.left:
            raise self._reader.refused("a frame of a pickle reaches beyond the file")

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _drop(self) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    def _drop_mark(self) -> None:
        self._pop_mark()

    def _duplicate(self) -> None:
        self._push(self._top())

    def _integer(self, size: int, signed: bool = False) -> None:
        self._push(int.from_bytes(self._reader.take(size), "little", signed=signed))

    def _long(self, size: int) -> None:
        count = self._reader.unsigned(size)
        if count > _LONGEST_INTEGER:
            raise self._reader.refused(f"an integer of {count} bytes")
        self._charge(count)
        self._integer(count, signed=True)

    def _decimal(self) -> None:
        """Protocol 0: an integer in decimal; 00 and 01 are booleans."""
        text = self._reader.line(_LONGEST_INTEGER).rstrip(b"L")
        try:
            self._push({b"00": False, b"01": True}.get(text, int(text)))
        except ValueError:
            raise self._reader.refused("an integer that is none") from None

    def _decimal_float(self) -> None:
        try:
            self._push(float(self._reader.line(_LONGEST_INTEGER)))
        except ValueError:
            raise self._reader.refused("a number that is none") from None

    def _float(self) -> None:
        self._push(struct.unpack(">d", self._reader.take(8))[0])

    def _text(self, size: int) -> None:
        count = self._reader.unsigned(size)
        self._charge(4 * min(count, self._reader.left))  # four bytes a sign, where one is outside of all planes but one
        self._push(self._decode(bytes(self._reader.take(count))))

    def _decode(self, content: bytes) -> str:
        try:
            return content.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise self._reader.refused("text that is not UTF-8") from None

    def _bytes(self, size: int) -> None:
        count = self._reader.unsigned(size)
        self._charge(min(count, self._reader.left))
        self._push(bytes(self._reader.take(count)))

    def _string(self, size: int) -> None:
        """The str of Python 2: text where it is text."""
        self._bytes(size)
        content = self._stack.pop()
        self._charge(4 * len(content))
        try:
            self._push(content.decode("utf-8"))
        except UnicodeDecodeError:
            self._push(content)

    def _raw_text(self) -> None:
        try:
            self._push(self._reader.line(_LONGEST_LINE).decode("raw-unicode-escape"), 4 * _LONGEST_LINE)
        except UnicodeDecodeError:
            raise self._reader.refused("text that is not Unicode") from None

    def _tuple(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(values)))

    def _marked_tuple(self) -> None:
        self._push(tuple(self._pop_mark()))

    def _marked_list(self) -> None:
        self._push(self._pop_mark(), 64)

    def _marked_dict(self) -> None:
        pairs = self._pairs(self._pop_mark())
        self._push(dict(pairs), 64 + 128 * len(pairs))

    def _append(self, values: list[Any]) -> None:
        target = self._top()
        elements = target.elements if isinstance(target, Stub) else target
        if not isinstance(elements, list):
            raise self._reader.refused(f"a pickle appends to a {type(target).__name__}")
        elements.extend(values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        items = target.items if isinstance(target, Stub) else target
        if not isinstance(items, dict):
            raise self._reader.refused(f"a pickle sets an item of a {type(target).__name__}")
        self._charge(128 * len(values))
        items.update(self._pairs(values))

    def _add(self) -> None:
        values = [self._key(value) for value in self._pop_mark()]
        target = self._top()
        if not isinstance(target, set):
            raise self._reader.refused(f"a pickle adds to a {type(target).__name__}")
        self._charge(128 * len(values))
        target.update(values)

    def _frozen_set(self) -> None:
        values = [self._key(value) for value in self._pop_mark()]
        self._push(frozenset(values), 256 + 128 * len(values))

    def _global(self) -> None:
        module, name = (self._reader.line(_LONGEST_LINE) for _ in range(2))
        self._push(Name(self._decode(module), self._decode(name)), 512 + 4 * len(module + name))

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise self._reader.refused("a name in a pickle is no text")
        if len(module) + len(name) > _LONGEST_LINE:
            raise self._reader.refused("a name of thousands of letters")
        self._push(Name(module, name), 512)

    def _reduce(self) -> None:
        arguments, called = self._pop(), self._pop()
        self._call(called, arguments)

    def _new_object(self) -> None:
        self._reduce()

    def _new_object_with_names(self) -> None:
        names, arguments, called = self._pop(), self._pop(), self._pop()
        self._call(called, arguments)
        if isinstance(self._top(), Stub) and isinstance(names, dict):
            self._top().items.update(names)

    def _call(self, called: Any, arguments: Any) -> None:
        if not isinstance(arguments, tuple) or not isinstance(called, (Name, Stub)):
            raise self._reader.refused("a pickle calls what is no name of a class or function")
        interpretation = self._interpretations.get(str(called)) if isinstance(called, Name) else None
        if interpretation is None:
            name = str(called) if isinstance(called, Name) else called.name
            self._push(Stub(name, arguments), 512 + 4 * len(name))
        else:
            self._push(interpretation(arguments), 512)

    def _build(self) -> None:
        """The state of an object. Only a stub keeps it: values that were interpreted are complete without."""
        state = self._pop()
        target = self._top()
        if isinstance(target, Stub):
            target.state = state

    def _persistent_id(self) -> None:
        if self._persistent is None:
            raise self._reader.refused("a pickle refers to something outside of it")
        self._push(self._persistent(self._pop()), 256)

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()
        self._charge(128)

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise self._reader.refused("a pickle recalls what it did not keep")
        self._push(self._memo[index])

    def _index_line(self) -> int:
        text = self._reader.line(20)
        if not text.isdigit():
            raise self._reader.refused("an index that is no number")
        return int(text)


_Step = Callable[[_Machine], None]
_STOP = ord(".")
_STEPS: dict[int, _Step] = {
    0x80: _Machine._protocol,
    0x95: _Machine._frame,
    ord("("): _Machine._mark,
    ord("0"): _Machine._drop,
    ord("1"): _Machine._drop_mark,
    ord("2"): _Machine._duplicate,
    ord("N"): lambda machine: machine._push(None),
    0x88: lambda machine: machine._push(True),
    0x89: lambda machine: machine._push(False),
    ord("I"): _Machine._decimal,
    ord("L"): _Machine._decimal,
    ord("J"): lambda machine: machine._integer(4, signed=True),
    ord("K"): lambda machine: machine._integer(1),
    ord("M"): lambda machine: machine._integer(2),
    0x8A: lambda machine: machine._long(1),
    0x8B: lambda machine: machine._long(4),
    ord("F"): _Machine._decimal_float,
    ord("G"): _Machine._float,
    ord("X"): lambda machine: machine._text(4),
    0x8C: lambda machine: machine._text(1),
    0x8D: lambda machine: machine._text(8),
    ord("V"): _Machine._raw_text,
    ord("B"): lambda machine: machine._bytes(4),
    ord("C"): lambda machine: machine._bytes(1),
    0x8E: lambda machine: machine._bytes(8),
    0x96: lambda machine: machine._bytes(8),  # a bytearray
    ord("T"): lambda machine: machine._string(4),
    ord("U"): lambda machine: machine._string(1),
    ord(")"): lambda machine: machine._push(()),
    0x85: lambda machine: machine._tuple(1),
    0x86: lambda machine: machine._tuple(2),
    0x87: lambda machine: machine._tuple(3),
    ord("t"): _Machine._marked_tuple,
    ord("]"): lambda machine: machine._push([], 64),
    ord("l"): _Machine._marked_list,
    ord("}"): lambda machine: machine._push({}, 256),
    ord("d"): _Machine._marked_dict,
    0x8F: lambda machine: machine._push(set(), 256),
    0x90: _Machine._add,
    0x91: _Machine._frozen_set,
    ord("a"): lambda machine: machine._append([machine._pop()]),
    ord("e"): lambda machine: machine._append(machine._pop_mark()),
    ord("s"): lambda machine: machine._set_items([machine._pop(), machine._pop()][::-1]),
    ord("u"): lambda machine: machine._set_items(machine._pop_mark()),
    ord("c"): _Machine._global,
    0x93: _Machine._stack_global,
    ord("R"): _Machine._reduce,
    0x81: _Machine._new_object,
    0x92: _Machine._new_object_with_names,
    ord("b"): _Machine._build,
    ord("Q"): _Machine._persistent_id,
    ord("p"): lambda machine: machine._put(machine._index_line()),
    ord("q"): lambda machine: machine._put(machine._reader.unsigned(1)),
    ord("r"): lambda machine: machine._put(machine._reader.unsigned(4)),
    0x94: lambda machine: machine._put(len(machine._memo)),
    ord("g"): lambda machine: machine._get(machine._index_line()),
    ord("h"): lambda machine: machine._get(machine._reader.unsigned(1)),
    ord("j"): lambda machine: machine._get(machine._reader.unsigned(4)),
}
