"""Limits and rows of a throughput report are computed as their names say."""

import json

import pytest

from fastwave.tools import measure


def test_a_limit_is_the_slower_of_reading_weights_and_computing():
    limit = measure.Ceiling(weight_bytes=4_000_000, flop=1_000_000, bytes_per_second=4e10, flop_per_second=1e11)
    assert limit.samples_per_second() == pytest.approx(1e4)  # 100 us of reading, 10 of computing
    assert limit.samples_per_second(batch=100) == pytest.approx(1e5)  # 100 us of reading, 1,000 of computing
    assert limit.samples_per_second(threads=2) == pytest.approx(2e4)
    assert limit.explain() == "4.00 MB of weights at 40 GB/s"
    assert limit.explain(batch=100) == "100.00 MFLOP at 100 GFLOP/s"


def test_a_row_has_the_median_rate_and_its_share_of_the_limit():
    limit = measure.Ceiling(4_000_000, 1_000_000, 4e10, 1e11)
    row = measure.make_row("row", 1000, [1.0, 0.5, 0.25], "proof", limit, dtype="float32")
    assert (row.p20, row.median, row.p80) == (1000, 2000, 4000)
    assert row.share == pytest.approx(0.2)
    assert row.times_real_time == pytest.approx(2000 / 16_000)


def test_a_row_without_a_limit_says_so():
    row = measure.make_row("row", 1000, [1.0], "proof", None, dtype="float32")
    assert row.share is None and "native library is missing" in row.limit_reason
    assert "share_of_limit" in row.to_dict() and "peak_memory" not in json.loads(json.dumps(row.to_dict()))
    header, line = measure.table([row]).splitlines()
    assert "peak MB" not in header and line.split()[0] == "row"
