"""Append-only logs survive crashes and rewinds."""

import math
from pathlib import Path

import pytest

from shared.storage.json_lines import JsonLines


@pytest.fixture
def log(tmp_path: Path) -> JsonLines:
    log = JsonLines(tmp_path / "run" / "metrics.jsonl")
    for step in range(1, 6):
        log.append({"step": step, "loss": 0.5 / step})
    return log


def steps(log: JsonLines) -> list[int]:
    return [record["step"] for record in log.read()]


def test_what_is_appended_is_read_back_exactly(log: JsonLines) -> None:
    assert log.read() == [{"step": step, "loss": 0.5 / step} for step in range(1, 6)]


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert JsonLines(tmp_path / "none.jsonl").read() == []


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_cut_by_a_crash_is_dropped(log: JsonLines, cut: int) -> None:
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    assert steps(log) == [1, 2, 3, 4]


def test_after_a_rewind_a_cut_line_is_gone_and_the_log_goes_on(log: JsonLines) -> None:
    log.path.write_bytes(log.path.read_bytes()[:-5])
    log.rewind("step", 4)
    log.append({"step": 5})
    assert steps(log) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("limit", "kept"), [(0, []), (3, [1, 2, 3]), (5, [1, 2, 3, 4, 5]), (9, [1, 2, 3, 4, 5])])
def test_a_rewind_drops_the_records_after_its_limit(log: JsonLines, limit: int, kept: list[int]) -> None:
    log.rewind("step", limit)
    assert steps(log) == kept


def test_a_rewind_keeps_the_other_lines_byte_for_byte(log: JsonLines) -> None:
    lines = log.path.read_text().splitlines(keepends=True)
    log.rewind("step", 3)
    assert log.path.read_text() == "".join(lines[:3])


def test_a_rewind_of_nothing_is_an_empty_log(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "new" / "metrics.jsonl")
    log.rewind("step", 3)
    assert log.read() == []


def test_values_that_are_no_numbers_become_null_at_any_depth(log: JsonLines) -> None:
    log.append({"step": 6, "loss": math.nan, "table": [[1.0, math.inf], (2, -math.inf)], "estimate": {"low": math.nan}})
    assert log.path.read_text().endswith(
        '{"step": 6, "loss": null, "table": [[1.0, null], [2, null]], "estimate": {"low": null}}\n'
    )
    assert log.read()[-1]["loss"] is None
