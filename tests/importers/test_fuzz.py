"""Damaged checkpoints and hyper-parameter files: an error of ours or a result, soon and in bounded memory."""

import import_fuzz


def test_damaged_files_give_errors_of_ours_and_nothing_else(tmp_path):
    outcomes = import_fuzz.run(2_000, 0, tmp_path, whole=0.005)
    assert outcomes["read"] > 100 and outcomes["refused"] > 500  # damage of every depth was met
