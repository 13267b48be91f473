"""Traces of single-task networks: what they may be compared with, and how far they go."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RunError
from train.references import References, Trace, load_trace, require_same_protocol

PROTOCOL: dict[str, Any] = {
    "network": {"name": "msrresnet", "options": {"num_feat": 4}, "scale": 4},
    "init_sha256": "aa",
    "interval_steps": 5,
    "batch_size": 4,
    "lr": 1e-4,
    "ema": 0.999,
    "flip": True,
    "loss": "l1",
    "train_rows": "bb",
    "val_rows": "cc",
}


def test_a_trace_is_read_back_exactly(tmp_path: Path) -> None:
    trace = Trace("noise", PROTOCOL)
    trace.record(0, [27.123456789012345, float("inf")], tmp_path)
    trace.record(5, [1 / 3, 28.5], tmp_path)
    assert load_trace(tmp_path) == trace
    assert load_trace(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"task": "noise", "other": 1}'])
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trace.json").write_text(text)
    with pytest.raises(RunError, match="not a trace"):
        load_trace(tmp_path)


def test_the_same_protocol_fits() -> None:
    require_same_protocol(Trace("noise", dict(PROTOCOL)), PROTOCOL, Path("refs/noise"))


@pytest.mark.parametrize("key", PROTOCOL)
def test_another_protocol_is_refused_by_the_key_that_differs(key: str) -> None:
    with pytest.raises(RunError, match=f"reference refs/noise was trained with {key} = 'other'"):
        require_same_protocol(Trace("noise", {**PROTOCOL, key: "other"}), PROTOCOL, Path("refs/noise"))


def test_references_give_a_row_of_the_table_for_each_task() -> None:
    noise, blur = Trace("noise", {}, {"0": [1.0, 2.0], "5": [3.0, 4.0]}), Trace("blur", {}, {"5": [5.0, 6.0]})
    assert np.array_equal(References([noise, blur]).at(5), [[3.0, 4.0], [5.0, 6.0]])


@pytest.mark.parametrize("step", [10, 3])
def test_a_step_that_the_reference_has_not_reached_is_refused(step: int) -> None:
    references = References([Trace("noise", {}, {"0": [1.0], "5": [3.0]})])
    with pytest.raises(RunError, match=rf"reference of noise has no value at step {step} \(it ends at 5\)"):
        references.at(step)
