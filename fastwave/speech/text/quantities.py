"""Money, percentages, units, fractions and plain numbers as words."""

from __future__ import annotations

import re

from fastwave.speech.text.numbers import cardinal, code, decimal, digits, fraction, ordinal
from fastwave.speech.text.rules import NUMBER, Match, Rule, quotes_before, rule, word_after, word_before

CURRENCIES = {  # one, many, one of its hundred parts, many
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"),
    "₩": ("won", "won", "jeon", "jeon"),
    "¢": ("cent", "cents", "", ""),
    "CHF": ("swiss franc", "swiss francs", "centime", "centimes"),
    "USD": ("U S dollar", "U S dollars", "cent", "cents"),
}
CURRENCIES |= {name: CURRENCIES[sign] for name, sign in {"EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹"}.items()}
SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "t": "trillion"}
UNITS = {  # one, many
    "km": ("kilometer", "kilometers"), "m": ("meter", "meters"), "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"), "μm": ("micrometer", "micrometers"), "nm": ("nanometer", "nanometers"),
    "mi": ("mile", "miles"), "ft": ("foot", "feet"), "yd": ("yard", "yards"), "yds": ("yard", "yards"),
    "kg": ("kilogram", "kilograms"), "g": ("gram", "grams"), "mg": ("milligram", "milligrams"),
    "μg": ("microgram", "micrograms"), "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"),
    "oz": ("ounce", "ounces"), "l": ("liter", "liters"), "L": ("liter", "liters"), "ml": ("milliliter", "milliliters"),
    "mL": ("milliliter", "milliliters"), "cl": ("centiliter", "centiliters"), "gal": ("gallon", "gallons"),
    "h": ("hour", "hours"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"), "min": ("minute", "minutes"),
    "mins": ("minute", "minutes"), "s": ("second", "seconds"), "sec": ("second", "seconds"),
    "secs": ("second", "seconds"), "ms": ("millisecond", "milliseconds"), "μs": ("microsecond", "microseconds"),
    "ns": ("nanosecond", "nanoseconds"), "mph": ("mile per hour", "miles per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"), "rpm": ("R P M", "R P M"), "bpm": ("B P M", "B P M"),
    "fps": ("frame per second", "frames per second"), "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"), "GHz": ("gigahertz", "gigahertz"), "W": ("watt", "watts"),
    "kW": ("kilowatt", "kilowatts"), "MW": ("megawatt", "megawatts"), "GW": ("gigawatt", "gigawatts"),
    "kWh": ("kilowatt hour", "kilowatt hours"), "V": ("volt", "volts"), "kV": ("kilovolt", "kilovolts"),
    "mV": ("millivolt", "millivolts"), "A": ("amp", "amps"), "mA": ("milliamp", "milliamps"),
    "mAh": ("milliamp hour", "milliamp hours"), "Ω": ("ohm", "ohms"), "dB": ("decibel", "decibels"),
    "Pa": ("pascal", "pascals"), "kPa": ("kilopascal", "kilopascals"), "psi": ("P S I", "P S I"),
    "N": ("newton", "newtons"), "J": ("joule", "joules"), "kJ": ("kilojoule", "kilojoules"),
    "cal": ("calorie", "calories"), "kcal": ("kilo calorie", "kilo calories"), "K": ("kelvin", "kelvin"),
    "B": ("byte", "bytes"), "KB": ("kilobyte", "kilobytes"), "kB": ("kilobyte", "kilobytes"),
    "MB": ("megabyte", "megabytes"), "GB": ("gigabyte", "gigabytes"), "TB": ("terabyte", "terabytes"),
    "kbps": ("kilobit per second", "kilobits per second"), "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"), "ha": ("hectare", "hectares"), "px": ("pixel", "pixels"),
    "hp": ("horsepower", "horsepower"), "°C": ("degree celsius", "degrees celsius"),
    "°F": ("degree fahrenheit", "degrees fahrenheit"), "°": ("degree", "degrees"), "%": ("percent", "percent"),
    "‰": ("per thousand", "per thousand"), "sq ft": ("square foot", "square feet"),
    "sq km": ("square kilometer", "square kilometers"), "sq mi": ("square mile", "square miles"),
    "pt": ("point", "points"), "pts": ("point", "points"), "mol": ("mole", "moles"), "yrs": ("year", "years"),
    "yr": ("year", "years"), "wk": ("week", "weeks"), "wks": ("week", "weeks"), "mos": ("month", "months"),
    "mpg": ("mile per gallon", "miles per gallon"), "tbsp": ("tablespoon", "tablespoons"),
    "tsp": ("teaspoon", "teaspoons"), "mo": ("month", "months"), "day": ("day", "days"),
}  # fmt: skip
PER = "s|sec|min|h|hr|day|wk|mo|yr|m|km|mi|g|kg|lb|oz|l|L|gal"
UNIT = "|".join(sorted((name.replace(" ", r"\s") for name in UNITS), key=len, reverse=True))
ALONE = {"K", "B", "A", "N", "J", "pt"}  # units only after a space and before no word: "4K" and "221B" are names
SIGN = r"[$£€¥₹₽₩]"
SPECIAL = {"24/7": "twenty four seven", "9/11": "nine eleven", "20/20": "twenty twenty", "7/11": "seven eleven"}


def money(amount: str, sign: str, scale: str | None, single: bool = False) -> str:
    """`single`: as in "a five dollar bill"."""
    one, many, part, parts = CURRENCIES[sign]
    if scale:
        return f"{decimal(amount)} {SCALES.get(scale.lower(), scale.lower())} {one if single else many}"
    whole_part, _, after = amount.replace(",", "").partition(".")
    if len(after) != 2 or not part:
        return f"{decimal(amount)} {one if single or amount == '1' else many}"
    cents = f"{cardinal(str(int(after)))} {part if after == '01' else parts}" if int(after) else ""
    if not int(whole_part or "0") and cents:
        return cents
    spoken = f"{cardinal(whole_part or '0')} {one if single or whole_part == '1' else many}"
    return f"{spoken} and {cents}" if cents else spoken


def price(match: Match) -> str:
    minus, amount, scale = match["minus"], match["amount"], match["scale"]
    single = word_before(match).lower() in ("a", "an") and word_after(match).islower()
    spoken = money(amount, match["sign"], scale, single)
    if match["upper"]:
        spoken = f"{decimal(amount)} to {money(match['upper'], match['sign'], scale)}"
    return f"minus {spoken}" if minus else spoken


def unit(match: Match) -> str | None:
    amount, between, name, power, per = match["amount"], match["between"], match["unit"], match["power"], match["per"]
    name = name.replace("\n", " ")
    if name in ALONE and (not between or word_after(match)):
        return None
    if name == "s" and not between:
        return None  # the 80s
    singular = amount == "1" or between == "-"
    spoken = UNITS[name][0 if singular else 1]
    if power:
        spoken = {"²": "square ", "2": "square ", "³": "cubic ", "3": "cubic "}[power[-1]] + spoken
    if per:
        spoken += " per " + UNITS[per][0]
    return f"{decimal(amount)} {spoken}" + (" ." if match["stop"] and not _goes_on(match) else "")


def _goes_on(match: Match) -> bool:
    """The full stop belongs to the unit alone: "5 ft. tall"."""
    return bool(re.match(r"\s*[a-z,;\d]", match.string[match.end() : match.end() + 3]))


def inch(match: Match) -> str:
    spoken = f"{decimal(match[1])} {'inch' if match[1] == '1' else 'inches'}"
    return spoken if _goes_on(match) else f"{spoken} ."


def share(match: Match) -> str | None:
    """1/2, 2 3/4, 8/10."""
    whole_part, above, below = match.groups()
    if not whole_part and f"{above}/{below}" in SPECIAL:
        return SPECIAL[f"{above}/{below}"]
    if below in ("10", "20", "100") and not whole_part:
        return f"{cardinal(above)} out of {cardinal(below)}"
    if int(below) < 2 or int(above) == 0 or int(above) >= int(below) > 9:
        return None
    if whole_part:
        spoken = fraction(above, below)
        return f"{cardinal(whole_part)} and {'a' + spoken[3:] if above == '1' and below in '24' else spoken}"
    if int(above) > 9 and int(above) > int(below):
        return f"{cardinal(above)} over {cardinal(below)}"
    return fraction(above, below)


def dotted(match: Match) -> str:
    """192.168.0.1 digit by digit, version 1.2.10 number by number."""
    groups = match["numbers"].split(".")
    if len(groups) == 4 and any(len(group) > 1 for group in groups):
        spoken = " dot ".join(digits(group) for group in groups)
    else:
        spoken = " point ".join(cardinal(group) for group in groups)
    return f"version {spoken}" if match[0][0] in "vV" else spoken


def scaled(match: Match) -> str:
    return f"{decimal(match[1])} {SCALES[match[2].lower()]}"


def feet(match: Match) -> str:
    inches = f" {decimal(match[2])}" if match[2] else ""
    return f"{cardinal(match[1])} {'foot' if match[1] == '1' or inches else 'feet'}{inches}"


def inches(match: Match) -> str | None:
    if quotes_before(match) % 2:
        return None  # it closes a quotation
    return f"{decimal(match[1])} {'inch' if match[1] == '1' else 'inches'}"


RULES: list[Rule] = [
    rule(r"\d{1,3}(?: \d{3}){2,}(?!\d)", lambda match: cardinal(match[0].replace(" ", ""))),
    rule(r"(10+)s\b", lambda match: f"{cardinal(match[1]).split()[-1]}s"),
    rule(
        rf"(?P<minus>(?<![\w)])-)?(?:US|A|C|NZ|HK)?(?P<sign>{SIGN})\s?(?P<amount>{NUMBER})(?:[-–](?P<upper>{NUMBER}))?"
        r"(?:(?:\s|-)?(?P<scale>[kKmMbBtT]|bn|mn|[mbtr]+illion|thousand|hundred)\b)?",
        price,
    ),
    rule(
        rf"(?P<minus>-)?(?P<amount>{NUMBER})(?P<upper>)?\s?(?:(?P<scale>[kKmMbBtT]|bn|mn|million|billion)\s)?"
        r"(?P<sign>[$£€¥₹₽₩¢]|USD|EUR|GBP|JPY|INR|CHF)(?![A-Za-z\d])",
        price,
    ),
    rule(
        rf"(?P<minus>)(?P<sign>USD|EUR|GBP|JPY|INR|CHF)\s(?P<amount>{NUMBER})(?P<upper>)"
        r"(?:\s(?P<scale>million|billion)\b)?",
        price,
    ),
    rule(r"[vV]\.?\s?(?P<numbers>\d+(?:\.\d+)+)", dotted),
    rule(r"(?P<numbers>\d+(?:\.\d+){2,})(?![\d])", dotted),
    rule(r"(?:(\d+)[ -])?(\d{1,3})/(\d{1,3})(?![\d/])", share),
    rule(r"(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th|ST|ND|RD|TH)\b", lambda match: ordinal(match[1].replace(",", ""))),
    rule(r"(\d+)'\s?(\d+(?:\.\d+)?)(?:\"|'')", feet),
    rule(r"(\d+)'(?![\w'])()", feet),
    rule(rf"({NUMBER})\"", inches),
    rule(rf"({NUMBER})\s?in\.(?!\w)", inch),
    rule(r"\d{3,4}(?=\s?[x×]\s?\d{3,4}(?!\d))", lambda match: code(match[0])),
    rule(r"(?:(?<=\d[x×])|(?<=\d [x×] ))\d{3,4}(?!\d)", lambda match: code(match[0])),
    rule(rf"({NUMBER})[xX](?![\w])", lambda match: f"{decimal(match[1])} times"),
    rule(
        rf"(?P<amount>{NUMBER})(?P<between>\s?|-)(?P<unit>{UNIT})(?P<power>[²³]|\^[23])?"
        rf"(?:/(?P<per>{PER})(?![A-Za-z]))?(?![A-Za-z\d'])(?P<stop>(?<=[a-z])\.(?![\w.]))?",
        unit,
    ),
    rule(r"(\d+(?:\.\d+)?)([kmb]|bn|M|mn)\b(?!\s?\d)", scaled),
    rule(
        r"(?:(?<=[A-Za-z])|(?<=[A-Z]-))\d+(?![\d,]|\.\d)", lambda match: code(match[0]) if len(match[0]) > 2 else None
    ),
    rule(rf"(?<=\d)/({PER})\b", lambda match: "per " + UNITS[match[1]][0]),
    rule(r"(\d+)(?=p\b)", lambda match: code(match[1])),
    rule(NUMBER, lambda match: decimal(match[0])),
]
