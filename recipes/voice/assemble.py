"""Make a voice of its parts: the acoustic networks, the WaveNet, and what a user should know of them.

    python assemble.py ACOUSTIC VOCODER OUT --name anna --speaker "..." --licence Apache-2.0 --provenance "..."

ACOUSTIC holds acoustic.json and acoustic.safetensors, VOCODER a checkpoint and vocoder.json.
"""

import argparse
import json
from pathlib import Path

import safetensors.torch

from fastwave import Voice, WaveNet
from fastwave.speech.acoustic import Acoustic
from fastwave.speech.folder import Description
from fastwave.vocoder.vocoder import Vocoder, VocoderSettings


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("acoustic", "vocoder", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--name", required=True)
    for name in ("speaker", "description", "licence", "provenance"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--runs-in", default="float32", help="the dtype that the WaveNet is meant to run in")
    options = parser.parse_args()
    tensors = safetensors.torch.load_file(options.acoustic / "acoustic.safetensors")
    acoustic = Acoustic.from_tensors(json.loads((options.acoustic / "acoustic.json").read_text()), tensors)
    wavenet = WaveNet.from_pretrained(options.vocoder)
    settings = VocoderSettings.from_dict(json.loads((options.vocoder / "vocoder.json").read_text()))
    texts = {name: getattr(options, name) for name in ("name", "speaker", "description", "licence", "provenance")}
    description = Description(**texts, dtype=options.runs_in)
    Voice(description, acoustic, Vocoder(wavenet, settings), wavenet).save(options.out)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
