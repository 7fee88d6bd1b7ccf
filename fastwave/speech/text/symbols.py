"""Signs that have a name: arithmetic, Greek letters, a few emoji. Other signs are passed over."""

from __future__ import annotations

from fastwave.speech.text.rules import NUMBER, Match, Rule, rule

NAMES = {
    "&": "and", "+": "plus", "=": "equals", "<": "less than", ">": "greater than", "±": "plus or minus",
    "×": "times", "÷": "divided by", "√": "square root of", "∞": "infinity", "≈": "approximately equals",
    "≠": "is not equal to", "≤": "less than or equal to", "≥": "greater than or equal to", "∑": "sum of",
    "∫": "integral of", "∂": "partial", "∆": "delta", "∈": "in", "∀": "for all", "∃": "there exists",
    "→": "to", "⇒": "implies", "↔": "to", "§": "section", "©": "copyright", "%": "percent", "°": "degrees",
    "$": "dollars", "£": "pounds", "€": "euros", "¥": "yen", "@": "at", "²": "squared", "³": "cubed",
    "♥": "heart", "❤": "heart", "★": "star", "☆": "star", "✓": "check", "✔": "check", "☺": "smile",
    "😀": "smile", "😃": "smile", "😄": "smile", "😊": "smile", "🙂": "smile", "😁": "grin", "😂": "laughing",
    "🤣": "laughing", "😉": "wink", "😍": "heart eyes", "😢": "crying", "😭": "crying", "😡": "angry", "😎": "cool",
    "🤔": "thinking", "👍": "thumbs up", "👎": "thumbs down", "👏": "applause", "🙏": "thank you", "💔": "broken heart",
    "💖": "heart", "🔥": "fire", "🎉": "party", "🚀": "rocket", "🐶": "dog", "🐱": "cat", "☀": "sun", "🌧": "rain",
    "☕": "coffee", "🍕": "pizza", "🎂": "cake", "🎵": "music", "💡": "light bulb", "⚠": "warning", "✅": "check",
}  # fmt: skip
GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψω",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi "
        "chi psi omega".split(),
        strict=True,
    )
)
GREEK |= {letter.upper(): name for letter, name in GREEK.items()}
ENTITIES = {"amp": "and", "lt": "less than", "gt": "greater than"}
LETTER = "[\u0370-\u03ff\u1f00-\u1fff]"
REPEATED = "".join(sign for sign in NAMES if sign > "\u2100")


def power(match: Match) -> str:
    """After a number or a letter: x^2, 10^6, m^-1."""
    exponent = match[1].replace("^", "")
    if exponent in ("2", "3"):
        return {"2": "squared", "3": "cubed"}[exponent]
    return "to the power of " + ("minus " if exponent.startswith("-") else "")


RULES: list[Rule] = [
    rule(r"[:;=8]['’]?-?[)(DPpO/|](?=\s|$)", ""),  # :-)
    rule(r"\^((?:2|3)(?![\d^.]))", power),
    rule(r"\^(-)(?=\^?\d)", power),
    rule(r"(?<=[\w)])\^()(?=-?[\w(])", power),
    rule(r"\^", ""),
    rule(rf"(?<!{LETTER})[{''.join(GREEK)}](?!{LETTER})", lambda match: GREEK[match[0]]),
    rule(r"(?:(?<=\dst)|(?<=\dnd)|(?<=\drd)|(?<=\dth))[-–](?=\d)", "to"),
    rule(r"(?:(?<=[\d%°])|(?<=°[CF])|(?<=[mM]\.)|(?<=\d[apAP][mM]))[-–](?=[$£€]?\d)", "to"),
    rule(rf"(?<=\d )-\s(?={NUMBER})", "minus"),
    rule(r"(?<![A-Za-z\d).])-\s?(?=[$£€]?\.?\d)", "minus"),
    rule(r"(?<=\d )–\s(?=[$£€]?\d)", "to"),
    rule(r"(?:(?<=\d)|(?<=\d ))[xX*]\s?(?=\d[\d.,]*\s*(?:[=+*/x-]\s*\d[\d.,]*\s*)*=)", "times"),
    rule(r"(?:(?<=\d)|(?<=\d ))[xX]\s?(?=\d)", "by"),
    rule(r"(?:(?<=\d)|(?<=\d ))\*\s?(?=\d)", "times"),
    rule(r"(?<=\d):(?=\d)", "to"),
    rule(r"(?<=\d )/\s(?=\d)", "divided by"),
    rule(r"~(?=\s?[$£€]?\d)", "about"),
    rule(r"(?<=\d)\+(?=\s|$|[.,])", "plus"),
    rule(rf"([{REPEATED}])\1*", lambda match: NAMES[match[1]]),
    rule(r"</?[A-Za-z][^<>\n]{0,200}>", ""),
    rule(r"&(amp|lt|gt|quot|nbsp|apos|#39);", lambda match: ENTITIES.get(match[1], "")),
    rule(r"<-|<(?=[/A-Za-z])|(?<=[A-Za-z/\"'])>", ""),  # the brackets of a tag
    rule(r"[-=]+>", "to"),
    rule(r"={2,}", ""),
    rule("[" + "".join("\\" + sign if sign in "+-^" else sign for sign in NAMES) + "]", lambda match: NAMES[match[0]]),
]
