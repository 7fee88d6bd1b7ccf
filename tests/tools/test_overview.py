"""One table of a machine: every row is compared with the reference first, and written as it was measured."""

import json

import pytest
import torch

from fastwave import Engine, GenerationError
from fastwave.cli.main import main
from fastwave.tools import measure, overview


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(overview, "RUN_SECONDS", 1e-4)
    monkeypatch.setattr(overview, "RUNS", 2)
    monkeypatch.setattr(overview, "TRAINED", {"small": 64})


def test_rows_are_for_each_dtype_and_number_of_streams_and_for_training(quick):
    told = []
    rows = list(overview.rows(("small",), ("float32", "int8"), (1, 3), told.append))
    assert [(row.name, row.dtype, row.batch) for row in rows] == [
        ("generate small", "float32", 1), ("generate small", "float32", 3),
        ("generate small", "int8", 1), ("generate small", "int8", 3), ("train small", "float32", 1),
    ]  # fmt: skip
    assert all(row.median > 0 for row in rows) and told == ["small ...", "training small ..."]
    assert all("from the reference" in row.proof for row in rows[:-1])


@pytest.mark.parametrize("wrong", [1.01, float("nan")])
def test_an_engine_that_is_wrong_is_not_timed(quick, monkeypatch, wrong):
    feed = Engine.feed

    def spoiled(self, *arguments, **options):
        outputs = feed(self, *arguments, **options)
        return outputs * wrong if self.backend == "cpu" else outputs

    monkeypatch.setattr(Engine, "feed", spoiled)
    with pytest.raises(GenerationError, match="more than rounding"):
        list(overview.rows(("small",), ("float32",), (1,)))


def row(name, **changes):
    values = {"median": 32_000.0, "p20": 1.0, "p80": 2.0, "proof": "1e-07 from the reference", "limit": 64_000.0}
    values |= {"limit_reason": "", "batch": 16, "threads": 2, "dtype": "int8", "device": "Some Processor"}
    return measure.Row(name, **{**values, **changes})


def test_the_table_is_written_as_markdown_and_json(monkeypatch, tmp_path, capsys):
    rows = [row("generate ref"), row("train ref", limit=None, dtype="float32", batch=1)]
    monkeypatch.setattr(overview, "rows", lambda tell: iter(rows))
    assert main(["bench", "--all", "--markdown", str(tmp_path / "speed.md"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in shown["rows"]] == ["generate ref", "train ref"] and shown[
        "torch"
    ] == torch.__version__
    text = (tmp_path / "speed.md").read_text()
    assert "| generate ref | int8 | 16 | 2 | 32,000 | 2.00 | 50% |" in text
    assert "| train ref | float32 | 1 | 2 | 32,000 | 2.00 |  |" in text
    assert text.startswith(measure.processor_name())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--all", "pluck"], "leave out pluck"),
        (["--all", "--untrained", "small"], "leave out --untrained"),
        (["--markdown", "speed.md"], "--all"),
        (["--all", "--markdown", "no/such/folder/speed.md"], "no/such/folder"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(options, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *options]) == 1
    assert words in capsys.readouterr().err
