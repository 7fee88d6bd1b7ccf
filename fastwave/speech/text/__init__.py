"""The English front end: text -> numbers, abbreviations and symbols as words -> phones with stress and pauses."""

from fastwave.speech.text.front import sentences
from fastwave.speech.text.phonemes import parse_phones, spell

__all__ = ["parse_phones", "sentences", "spell"]
