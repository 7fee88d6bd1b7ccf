"""The verdicts as a table, for `fastwave doctor --prove`."""

from __future__ import annotations

from collections.abc import Mapping

from ..runtime.verdict import OUTCOMES, Subject, Verdict
from ..tools.measure import aligned


def table(verdicts: Mapping[Subject, Verdict]) -> str:
    """A line for each kernel and dtype, then what was found of each."""
    lines = [["kernel", "dtype", "verdict", "seconds", "samples/s", "others"]]
    notes = []
    for subject, verdict in verdicts.items():
        cases = verdict.rates or {"": {}}
        for index, rates in enumerate(cases.values()):
            first = [f"{subject.backend} {subject.kernel}", subject.dtype, verdict.outcome, f"{verdict.seconds:.1f}"]
            others = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items() if name != subject.backend)
            mine = f"{rates[subject.backend]:,.0f}" if rates else "-"
            lines.append([*(first if index == 0 else [""] * 4), mine, others or "-"])
        notes.append(f"{subject}: {OUTCOMES[verdict.outcome]}: {verdict.detail}")
        notes += [f"  timed: {'; '.join(verdict.rates)}"] if verdict.rates else []
    return "\n".join([aligned(lines, left=("kernel", "dtype", "verdict", "others")), "", *notes])
