"""Little stories from a grammar of equal chances, whose entropy is known exactly because no story has two readings.

A story first casts its parts (who, which animal, where, which thing), then expands STORY. In a rule, {upper case}
is another rule, one of whose lines is drawn; {lower case} is a part, which stays the same all story long.
"""

from __future__ import annotations

import functools
import math
import re

import numpy as np


def _each(text: str, between: str = " ") -> list[str]:
    return text.split(between)


# name, and how it is spoken of: "she" stands for {they}, and so on
_GIRLS = _each("Anna Clara Emma Ida Julia Lena Maria Nora Rosa Sofia Tilda Vera")
_BOYS = _each("Adam Bruno David Emil Felix Jonas Karl Leo Max Oskar Peter Tom")
PARTS: dict[str, list[dict[str, str]]] = {
    "hero": [
        *({"hero": name, "they": "she", "them": "her", "their": "her", "child": "girl"} for name in _GIRLS),
        *({"hero": name, "they": "he", "them": "him", "their": "his", "child": "boy"} for name in _BOYS),
    ],
    "animal": [
        {"animal": word}
        for word in _each("badger bear crow dog donkey duck fox frog goat goose hare horse mouse owl rabbit squirrel")
    ],
    "place": [
        {"place": phrase}
        for phrase in _each(
            "on a quiet farm,by a wide river,near the harbour,in a narrow valley,under the old bridge,behind the mill,"
            "at the edge of the forest,on a windy hill,in a little town,beside the lake,in a house of stone,"
            "on a small island,next to the bakery,above the market square,by the northern road,in a tall tower",
            ",",
        )
    ],
    "thing": [
        {"thing": word}
        for word in _each(
            "basket bell book boat bottle box candle clock coin cup drum feather flute hat kite key ladder lamp letter"
            " map mirror ring rope spoon"
        )
    ],
}

RULES: dict[str, list[str]] = {
    "STORY": [
        "{OPENING} {EVENT} {EVENT} {EVENT} {ENDING}\n\n",
        "{OPENING} {EVENT} {EVENT} {EVENT} {EVENT} {ENDING}\n\n",
        "{OPENING} {EVENT} {EVENT} {EVENT} {EVENT} {EVENT} {ENDING}\n\n",
        "{OPENING} {EVENT} {EVENT} {EVENT} {EVENT} {EVENT} {EVENT} {ENDING}\n\n",
    ],
    "OPENING": [
        "Once there was a {CHARACTER} {child} called {hero}, who lived {place} with a {LOOK} {animal} and a {thing}.",
        "{hero} was a {CHARACTER} {child}. {place_first}, {they} lived with a {LOOK} {animal} and owned a {thing}.",
        "Long ago, a {child} named {hero} found a {LOOK} {thing} {place}, and gave it to a {CHARACTER} {animal}.",
    ],
    "EVENT": [
        "{WHEN}, {hero} {MOVED} {WHITHER}.",
        "{WHEN}, the {animal} {MOVED} {WHITHER}, and {hero} {FOLLOWED}.",
        "{WHEN}, {they} {TOOK} the {thing} and {MOVED} {WHITHER}.",
        "{hero} {ATE} {AMOUNT} {FOOD} and gave {SHARE} to the {animal}.",
        "The {animal} {SPOKE}: {SPEECH}",
        "{hero} {SPOKE}: {SPEECH}",
        "{WEATHER}, so {they} {WAITED} {UNTIL}.",
        "But the {thing} was {STATE}, and the {animal} {FELT}.",
        "{they_first} {HEARD} {SOUND} {WHERE}, and {FELT}.",
        "The {thing} {SHONE} {WHERE}.",
    ],
    "ENDING": [
        "In the end, {hero} and the {animal} {RETURNED}, and the {thing} was never {LOST} again.",
        "And so the {animal} kept the {thing}, and {hero} was {HAPPY}.",
        "From that day on, {they} and the {animal} shared their {FOOD} every {DAY}.",
        "At last {they} fell asleep with the {thing} in {their} hand, and the {animal} watched over {them}.",
    ],
    "CHARACTER": _each("brave clever curious gentle lazy merry patient proud quick shy stubborn wise"),
    "LOOK": _each("black brown crooked golden grey green heavy plain red round rusty shiny silver tiny white yellow"),
    "WHEN": [
        *(f"{when} {time}" for when in ("One", "That", "Early one", "Late that") for time in ("morning", "evening")),
        "The next day",
        "After breakfast",
        "Before sunset",
        "In the middle of the night",
        "A week later",
        "When the snow had melted",
        "On the first day of spring",
        "As soon as the bells rang",
    ],
    "MOVED": _each("climbed crept danced hurried jumped marched ran rode stumbled swam walked wandered"),
    "WHITHER": [
        f"{direction} the {place}"
        for direction in ("to", "past", "towards", "around")
        for place in _each("barn castle cave church field forest garden mountain orchard pond school shore well")
    ],
    "FOLLOWED": ["followed", "stayed behind", "laughed", "held on tightly", "waved goodbye", "called for help"],
    "TOOK": ["borrowed", "carried", "cleaned", "dropped", "grabbed", "hid", "lifted", "mended", "painted", "wrapped"],
    "ATE": ["ate", "cooked", "bought", "picked", "shared", "stole", "tasted", "wanted"],
    "AMOUNT": ["a little", "all of the", "half of the", "far too much", "enough", "a handful of"],
    "SHARE": ["some", "most of it", "half", "nothing", "too much", "the rest"],
    "FOOD": _each("bread butter cake cheese corn fruit honey jam milk porridge rice salad soup sugar"),
    "SPOKE": ["answered", "asked", "cried", "said", "shouted", "sighed", "sang", "thought", "whispered"],
    "SPEECH": [
        '"{WHOSE} {RELATIVE} {LIVES} {WHERE}."',
        '"Where is the {thing}? I cannot find it {WHERE}."',
        '"Let us {DO} before it gets dark."',
        '"Nobody can {DO} without {FOOD}."',
        '"You are too {CHARACTER} to {DO}."',
        '"I will give you a {LOOK} {GIFT} if you {DO}."',
    ],
    "WHOSE": ["My", "Your", "Our", "The king's", "The miller's", "Nobody's"],
    "RELATIVE": _each("aunt brother cousin daughter father grandmother mother neighbour sister son teacher uncle"),
    "LIVES": ["lives", "sleeps", "works", "waits", "sings", "hides", "plays", "reads"],
    "DO": ["go home", "sing a song", "cross the river", "build a fire", "dig a hole", "fly", "swim", "tell a story"],
    "GIFT": _each("apple pie,blanket,button,coat,flower,hammer,pear,pillow,saddle,shoe,stone,window", ","),
    "WEATHER": [
        "It rained for three days",
        "The wind blew from the north",
        "The sun burned the grass",
        "Thick fog covered the hills",
        "A storm broke two trees",
        "The river was full of ice",
        "Snow fell without a sound",
        "The moon was hidden by clouds",
    ],
    "WAITED": _each("waited rested slept stayed played worked"),
    "UNTIL": [
        *(f"until {time}" for time in ("noon", "dawn", "supper", "Sunday", "midnight", "winter")),
        *(f"inside the {room}" for room in ("kitchen", "stable", "cellar", "attic", "tent", "mill")),
    ],
    "STATE": [
        "broken",
        "empty",
        "gone",
        "too heavy",
        "full of sand",
        "wet",
        "locked",
        "on fire",
        "upside down",
        "asleep",
    ],
    "FELT": ["felt afraid", "grew tired", "began to cry", "could not stop laughing", "was not surprised", "ran away"],
    "HEARD": ["heard", "followed", "remembered", "feared", "loved"],
    "SOUND": [
        *(
            f"the {sound} of a {thing}"
            for sound in ("song", "voice", "cry")
            for thing in ("bird", "ghost", "sailor", "wolf")
        ),
        "a knock",
        "strange music",
        "footsteps",
        "thunder",
    ],
    "WHERE": [
        f"{side} the {thing}"
        for side in ("behind", "under", "beside", "inside")
        for thing in _each("chair cupboard door fence fireplace hedge roof table tree wall")
    ],
    "SHONE": ["shone", "glowed", "rattled", "rolled", "lay forgotten", "vanished", "turned slowly", "was waiting"],
    "RETURNED": ["came home", "became friends", "sailed away", "forgave each other", "opened a shop", "found the way"],
    "LOST": ["lost", "sold", "stolen", "used", "seen", "mentioned"],
    "HAPPY": ["happy", "rich", "famous", "content", "home in time", "never lonely", "the first to laugh", "proud"],
    "DAY": _each("morning evening summer winter Monday Sunday"),
}

_FIELD = re.compile(r"\{(\w+)\}")


def story(rng: np.random.Generator) -> str:
    """One story, its closing blank line included."""
    return expand("STORY", cast(rng), rng)


def cast(rng: np.random.Generator) -> dict[str, str]:
    """Every part with what it is called in this story."""
    called: dict[str, str] = {}
    for choices in PARTS.values():
        called |= choices[int(rng.integers(len(choices)))]
    return with_capitals(called)


def with_capitals(called: dict[str, str]) -> dict[str, str]:
    """The same, and each also as it stands at the start of a sentence: {they_first} is She."""
    return called | {f"{part}_first": text[0].upper() + text[1:] for part, text in called.items()}


def expand(rule: str, called: dict[str, str], rng: np.random.Generator) -> str:
    """One text that `rule` allows."""
    if rule in called:
        return called[rule]
    line = RULES[rule][int(rng.integers(len(RULES[rule])))]
    return _FIELD.sub(lambda field: expand(field[1], called, rng), line)


def bits_per_character() -> float:
    """The entropy of the text, exactly: no model can do better on new text, in the mean over many stories."""
    casting = sum(math.log2(len(choices)) for choices in PARTS.values())
    return (casting + _bits("STORY")) / _length("STORY")


@functools.cache
def _bits(rule: str) -> float:
    """Entropy of the draws below `rule`; parts are drawn once for the whole story and add nothing here."""
    if rule not in RULES:
        return 0.0
    below = (sum(_bits(field) for field in _FIELD.findall(line)) for line in RULES[rule])
    return math.log2(len(RULES[rule])) + sum(below) / len(RULES[rule])


@functools.cache
def _length(rule: str) -> float:
    """Expected characters. Parts are drawn apart from the rules, so the mean length of each is all that counts."""
    if rule not in RULES:
        texts = called_by(rule)
        return sum(map(len, texts)) / len(texts)
    lines = (len(_FIELD.sub("", line)) + sum(_length(field) for field in _FIELD.findall(line)) for line in RULES[rule])
    return sum(lines) / len(RULES[rule])


def called_by(part: str) -> list[str]:
    """All that {part} can stand for, one entry a choice: twelve times "she" and twelve times "he" for {they}."""
    texts = [with_capitals(choice).get(part) for choices in PARTS.values() for choice in choices]
    return [text for text in texts if text is not None]


def vocabulary() -> frozenset[str]:
    """Every word of every story, in lower case."""
    lines = [_FIELD.sub(" ", line) for lines in RULES.values() for line in lines]
    parts = [text for choices in PARTS.values() for choice in choices for text in choice.values()]
    return frozenset(words(" ".join(lines + parts)))


def words(text: str) -> list[str]:
    """In lower case; an apostrophe inside belongs to the word."""
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.lower())


@functools.cache
def sentence_pattern() -> re.Pattern[str]:
    """Matches each opening, event or ending that the grammar can write, whoever its parts are called."""
    return re.compile("|".join(f"(?:{_pattern(rule)})" for rule in ("OPENING", "EVENT", "ENDING")))


@functools.cache
def _pattern(rule: str) -> str:
    if rule not in RULES:
        return "(?:" + "|".join(sorted({re.escape(text) for text in called_by(rule)})) + ")"
    lines = []
    for line in RULES[rule]:
        pieces = _FIELD.split(line)  # text, field, text, field, ..., text
        lines.append("".join(_pattern(piece) if odd % 2 else re.escape(piece) for odd, piece in enumerate(pieces)))
    return "(?:" + "|".join(lines) + ")"
