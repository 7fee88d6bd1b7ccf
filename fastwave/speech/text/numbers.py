"""Numbers as words, the American way: 123 is "one hundred twenty three"."""

from __future__ import annotations

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = "thousand million billion trillion quadrillion quintillion sextillion septillion octillion nonillion".split()
ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
LONGEST = 3 * (len(SCALES) + 1)  # digits that have a name; longer numbers are read digit by digit


def cardinal(text: str) -> str:
    """The digits of a whole number, perhaps with commas; digit by digit where it begins with 0 or is very long."""
    text = text.replace(",", "")
    if len(text) > LONGEST or (len(text) > 1 and text[0] == "0"):
        return digits(text)
    return whole(int(text))


def whole(number: int) -> str:
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (" " + ONES[number % 10] if number % 10 else "")
    if number < 1000:
        return ONES[number // 100] + " hundred" + (" " + whole(number % 100) if number % 100 else "")
    scale = (len(str(number)) - 1) // 3
    high, low = divmod(number, 1000**scale)
    return whole(high) + " " + SCALES[scale - 1] + (" " + whole(low) if low else "")


def ordinal(text: str) -> str:
    """The digits of 21st: "twenty first"."""
    *before, last = cardinal(text).split()
    last = last[:-1] + "ieth" if last.endswith("y") else ORDINALS.get(last, last + "th")
    return " ".join([*before, last])


def digits(text: str) -> str:
    return " ".join(ONES[int(digit)] for digit in text if digit.isdecimal())


def decimal(text: str) -> str:
    """A number with or without a point: 3.14, .5, 1,200."""
    before, point, after = text.partition(".")
    spoken = cardinal(before) if before else ""
    return f"{spoken} point {digits(after)}".strip() if point else spoken


def year(text: str) -> str:
    """1999, 1905, 2000, 2005, 2024, 476; other lengths as a whole number."""
    number = int(text)
    if len(text) != 4 or not 1100 <= number < 10000 or 2000 <= number < 2010 or number % 1000 == 0:
        return cardinal(text)
    high, low = divmod(number, 100)
    if low == 0:
        return whole(high) + " hundred"
    return whole(high) + (" oh " if low < 10 else " ") + whole(low)


def code(text: str) -> str:
    """The digits of a name, as in Flight 815, B-52, x264: in pairs, "eight fifteen"."""
    if len(text) < 3 or len(text) > 4 or text[0] == "0":
        return cardinal(text) if len(text) < 3 else digits(text)
    high, low = int(text[:-2]), int(text[-2:])
    if low == 0:
        return cardinal(text) if high % 10 == 0 else whole(high) + " hundred"
    return whole(high) + (" oh " if low < 10 else " ") + whole(low)


def fraction(above: str, below: str) -> str:
    """1/2 is "one half", 3/4 "three quarters", 2/3 "two thirds"."""
    if below in ("2", "4"):
        name = {"2": "half", "4": "quarter"}[below]
    elif below == "1" or below.startswith("0"):
        return f"{cardinal(above)} over {cardinal(below)}"
    else:
        name = ordinal(below)
    plural = {"half": "halves"}.get(name, name + "s")
    return f"{cardinal(above)} {name if above == '1' else plural}"


def plural(spoken: str) -> str:
    """The plural of a number's last word: nineteen nineties, twos, sixes."""
    if spoken.endswith("y"):
        return spoken[:-1] + "ies"
    return spoken + ("es" if spoken.endswith("x") else "s")
