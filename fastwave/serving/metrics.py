"""Counters of a server, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds to the first block


class Metrics:
    """What has happened since the server started."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # by path and status
        self.samples: Counter[str] = Counter()  # by model or voice
        self._waits: Counter[float] = Counter()
        self._wait_sum, self._wait_count = 0.0, 0

    def see_first_block(self, seconds: float) -> None:
        """Count how long a listener waited for the first block."""
        self._wait_sum, self._wait_count = self._wait_sum + seconds, self._wait_count + 1
        for bucket in BUCKETS:
            self._waits[bucket] += seconds <= bucket

    def text(self, running: Mapping[str, int], waiting: int) -> str:
        """Everything, with how many streams run now, by name, and how many requests wait."""
        lines = ["# TYPE fastwave_requests_total counter"]
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'fastwave_requests_total{{path="{path}",status="{status}"}} {count}')
        lines.append("# TYPE fastwave_samples_total counter")
        names = sorted({*running, *self.samples})  # a counter does not vanish when its model is no longer served
        lines += [f'fastwave_samples_total{{model="{_escaped(name)}"}} {self.samples[name]}' for name in names]
        lines.append("# TYPE fastwave_streams gauge")
        lines += [f'fastwave_streams{{model="{_escaped(name)}"}} {count}' for name, count in sorted(running.items())]
        lines += ["# TYPE fastwave_waiting gauge", f"fastwave_waiting {waiting}"]
        lines.append("# TYPE fastwave_first_block_seconds histogram")
        lines += [f'fastwave_first_block_seconds_bucket{{le="{bucket}"}} {self._waits[bucket]}' for bucket in BUCKETS]
        lines.append(f'fastwave_first_block_seconds_bucket{{le="+Inf"}} {self._wait_count}')
        lines.append(f"fastwave_first_block_seconds_sum {self._wait_sum:.6f}")
        lines.append(f"fastwave_first_block_seconds_count {self._wait_count}")
        return "\n".join([*lines, ""])


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
