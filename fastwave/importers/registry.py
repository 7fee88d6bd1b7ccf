"""Names of the mappings, which are modules here: what `--from` takes. Imports nothing, so that help is quick."""

from __future__ import annotations

MAPPINGS = ("vh", "ibab", "r9y9", "kan", "nv", "clarinet", "rayhane", "nsynth")
