"""SSML, the speech synthesis markup language, as sentences. Elements without meaning here leave a note.

Spoken: speak, p, s, break, prosody, emphasis, say-as, phoneme, sub. There is no document type and no entity but those
of XML itself; size and depth are bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from xml.parsers import expat

from fastwave.errors import InputError
from fastwave.speech.phones import Sentence
from fastwave.speech.text.front import spoken
from fastwave.speech.text.ipa import from_ipa
from fastwave.speech.text.normalise import tokens
from fastwave.speech.text.phonemes import parse_word
from fastwave.speech.text.prosody import PLAIN, Prosody, emphasis, pause, prosody
from fastwave.speech.text.say_as import say_as
from fastwave.speech.text.tokens import Token
from fastwave.speech.text.weak import strong

LONGEST = 1_000_000  # characters
DEEPEST = 64  # elements within each other
SENTENCES = frozenset({"p", "s", "speak"})
SILENT = frozenset({"metadata", "meta", "desc", "lexicon"})
ROOT = b"<speak>"


def from_ssml(text: str, notes: list[str] | None = None) -> list[Sentence]:
    """The sentences of a document, or of a piece of one without its `speak`. What was passed over goes into `notes`."""
    if len(text) > LONGEST:
        raise InputError(f"The SSML has {len(text)} characters; at most {LONGEST} are read. Split it into documents.")
    reader = _Reader(text, [] if notes is None else notes)
    return spoken(reader.read(), text)


@dataclass
class _Element:
    name: str
    attributes: dict[str, str]
    prosody: Prosody
    emphasised: bool
    first: int  # of its tokens


class _Reader:
    def __init__(self, text: str, notes: list[str]):
        self.data = text.encode("utf-8", "surrogatepass")
        self.wrapped = not text.lstrip().startswith(("<speak", "<?", "<!"))
        self.skipped = len(ROOT) if self.wrapped else 0
        widths = None if text.isascii() else [len(character.encode("utf-8", "surrogatepass")) for character in text]
        self.byte_places: dict[int, int] | None = None
        if widths:
            self.byte_places = {byte: place for place, byte in enumerate(accumulate(widths, initial=0))}
        self.notes = notes
        self.tokens: list[Token] = []
        self.elements: list[_Element] = []
        self.characters: list[str] = []
        self.places: list[int] = []
        self.parser = expat.ParserCreate("utf-8")
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text
        self.parser.StartDoctypeDeclHandler = self.doctype

    def read(self) -> list[Token]:
        try:
            if self.wrapped:
                self.parser.Parse(ROOT, False)
            self.parser.Parse(self.data, not self.wrapped)
            if self.wrapped:
                self.parser.Parse(b"</speak>", True)
        except expat.ExpatError as error:
            column = error.offset - (self.skipped if error.lineno == 1 else 0)
            raise InputError(
                f"The SSML is not well-formed XML at line {error.lineno}, column {column + 1}: "
                f"{expat.ErrorString(error.code)}. Close every element, and write & as &amp; and < as &lt;."
            ) from None
        return self.tokens

    def doctype(self, *_: object) -> None:
        raise InputError("The SSML has a document type (<!DOCTYPE ...>), which is not read. Leave it out.")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.split(":")[-1].lower()
        if len(self.elements) >= DEEPEST:
            raise InputError(f"The SSML has more than {DEEPEST} elements within each other. Write it flatter.")
        self.flush()
        outer = self.elements[-1] if self.elements else _Element("", {}, PLAIN, False, 0)
        element = _Element(name, attributes, outer.prosody, outer.emphasised, len(self.tokens))
        if name == "prosody":
            element.prosody = outer.prosody.within(prosody(attributes, self.note))
        elif name == "emphasis":
            element.prosody = outer.prosody.within(emphasis(attributes, self.note))
            element.emphasised = attributes.get("level", "moderate") in ("moderate", "strong")
        elif name == "break":
            self.rest(attributes)
        elif name in SENTENCES:
            self.mark(".")
        elif name not in ("say-as", "phoneme", "sub") and name not in SILENT:
            self.note(f"<{name}> has no effect: " + ("it is passed over" if name == "mark" else "its text is spoken"))
        self.elements.append(element)

    def end(self, _: str) -> None:
        self.flush()
        element = self.elements.pop()
        if element.name in SENTENCES:
            self.mark(".")

    def text(self, data: str) -> None:
        byte = self.parser.CurrentByteIndex - self.skipped
        start = byte if self.byte_places is None else self.byte_places.get(byte, 0)
        self.characters.append(data)
        self.places += range(start, start + len(data))

    def mark(self, word: str, seconds: float | None = None) -> None:
        byte = max(0, self.parser.CurrentByteIndex - self.skipped)
        place = byte if self.byte_places is None else self.byte_places.get(byte, len(self.byte_places) - 1)
        self.tokens.append(Token(word, place, place, seconds=seconds))

    def rest(self, attributes: dict[str, str]) -> None:
        mark, seconds = pause(attributes, self.note)
        if mark:
            self.mark(mark, seconds)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def flush(self) -> None:
        """The text since the last tag becomes tokens, as the element around it wants them."""
        text, places = "".join(self.characters), self.places
        self.characters, self.places = [], []
        if not self.elements or not text.strip() or any(element.name in SILENT for element in self.elements):
            return
        element = self.elements[-1]
        make: Callable[[str], list[Token] | None] | None = {
            "sub": self.alias,
            "say-as": lambda content: say_as(content, element.attributes, self.note),
            "phoneme": self.phoneme,
        }.get(element.name)
        made = make(text) if make else None
        if made is None:
            made = tokens(text, places)
        else:
            inner = [place for place, character in zip(places, text, strict=True) if not character.isspace()]
            made = [replace(token, start=inner[0], end=inner[-1] + 1) for token in made]
        self.tokens += [self.coloured(token, element) for token in made]

    def alias(self, _: str) -> list[Token]:
        return tokens(self.elements[-1].attributes.get("alias", ""))

    def phoneme(self, text: str) -> list[Token] | None:
        attributes = self.elements[-1].attributes
        alphabet, written = attributes.get("alphabet", "ipa").lower(), attributes.get("ph", "")
        try:
            phones = from_ipa(written) if alphabet == "ipa" else parse_word(written)
        except InputError as error:
            self.note(f'<phoneme ph="{written}"> is not understood, so that its text is spoken: {error}')
            return None
        return [Token(" ".join(text.lower().split()), 0, 0, phones=phones)] if phones else None

    @staticmethod
    def coloured(token: Token, element: _Element) -> Token:
        if token.pause:
            return token
        wanted = element.prosody
        phones = strong(token.word) if element.emphasised and token.phones is None else token.phones
        return replace(token, phones=phones, rate=wanted.rate, pitch=wanted.pitch, volume=wanted.volume)
