"""Logs of JSON lines: appended, rewound, durable, and refused by name when they hold something else."""

from pathlib import Path

import pytest

from shared.errors import RunError
from shared.storage.json_lines import JsonLines


def test_records_are_read_back_and_a_cut_line_is_dropped(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    assert log.read() == []
    log.append({"step": 1, "loss": 0.5})
    log.append({"step": 2, "loss": float("nan")})
    log.sync()
    with log.path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert log.read("step") == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}]
    log.rewind("step", 1)
    assert log.path.read_text() == '{"step": 1, "loss": 0.5}\n'


@pytest.mark.parametrize(
    "line",
    ["[1]", "{", '{"step": "1"}', '{"loss": 1}', '{"step": 1e999}', "[" * 100_000, '{"step": "\\ud800"}', "\xff"],
)
def test_a_line_that_no_log_holds_is_refused_by_the_name_of_the_file(line: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(f"{line}\n", encoding="latin-1")
    with pytest.raises(RunError, match=r"log\.jsonl is no log of this program"):
        JsonLines(tmp_path / "log.jsonl").rewind("step", 5)
