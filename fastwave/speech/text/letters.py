"""Letters to sounds: the phones of a word that the lexicon does not have."""

from __future__ import annotations

RULES = dict(
    zip("abcdefghijklmnopqrstuvwxyz", "AE B K D EH F G HH IH JH K L M N AA P K R S T AH V W K Y Z".split(), strict=True)
)


def guess(word: str) -> tuple[str, ...]:
    phones: list[str] = []
    for letter in word:
        phone = RULES.get(letter)
        if phone:
            stress = "1" if not any(p[-1].isdigit() for p in phones) else "0"
            phones.append(phone + stress if phone in ("AE", "EH", "IH", "AA", "AH") else phone)
    return tuple(phones)
