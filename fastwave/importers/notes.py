"""What the report of an import says: lists of sentences that a mapping and the frame add to."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Notes:
    """Lines by their heading, in the order of the report; a line that is there already is not repeated."""

    recognised_lines: list[str] = dataclasses.field(default_factory=list)
    folded_lines: list[str] = dataclasses.field(default_factory=list)
    dropped_lines: list[str] = dataclasses.field(default_factory=list)
    assumed_lines: list[str] = dataclasses.field(default_factory=list)
    condition_lines: list[str] = dataclasses.field(default_factory=list)

    def recognised(self, line: str) -> None:
        """What the checkpoint is."""
        _add(self.recognised_lines, line)

    def folded(self, line: str) -> None:
        """What was computed into other tensors."""
        _add(self.folded_lines, line)

    def drop(self, line: str) -> None:
        """What is not used, and why."""
        _add(self.dropped_lines, line)

    def assume(self, line: str) -> None:
        """What nothing in the files says."""
        _add(self.assumed_lines, line)

    def condition(self, line: str) -> None:
        """What the model must be given."""
        _add(self.condition_lines, line)

    def speaker(self, speakers: int, channels: int) -> None:
        """Which speaker the model must be given, if any: one of so many, or a vector of so many channels."""
        if speakers:
            self.condition(f"a speaker, 0..{speakers - 1}")
        elif channels:
            self.condition(f"a speaker vector of {channels}")

    def as_dict(self) -> dict[str, list[str]]:
        """For import.json."""
        return {
            "recognised": self.recognised_lines,
            "folded": self.folded_lines,
            "dropped": self.dropped_lines,
            "assumptions": self.assumed_lines,
            "conditions": self.condition_lines,
        }


def _add(lines: list[str], line: str) -> None:
    if line not in lines:
        lines.append(line)
