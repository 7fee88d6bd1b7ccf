"""The English front end: text -> numbers, abbreviations and symbols as words -> phones with stress and pauses."""

from fastwave.speech.text.front import sentences
from fastwave.speech.text.phonemes import parse_phones, spell
from fastwave.speech.text.ssml import from_ssml

__all__ = ["from_ssml", "parse_phones", "sentences", "spell"]
