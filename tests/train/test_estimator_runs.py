"""The estimator's options in runs: weights that follow from the run's log alone, resumed and refused runs."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from shared.rebalance.estimator import Memory, describe_estimate, recompute
from shared.rebalance.options import EstimatorSettings
from tests.train.command import flags, run, succeed
from tests.train.records import intervals, require_same_run

ALL = EstimatorSettings(temperature="auto", floor=0.2, multiplicative=0.7, reference="final")


def options_of(options: EstimatorSettings) -> dict[str, Any]:
    return {f"estimator.{name}": value for name, value in asdict(options).items()}


@pytest.fixture
def argv(shards: Path, references: Path) -> list[str]:
    return flags(shards=shards, references=references, run="run", **options_of(ALL))


def test_all_weights_of_a_run_follow_from_its_log_and_resume_with_memory_is_exact(
    argv: list[str], references: Path, tmp_path: Path
) -> None:
    succeed([*argv, "--run", "whole"], tmp_path)
    records, memory = intervals(tmp_path / "whole"), Memory()
    for record in records:
        found = recompute(record)
        assert found.inputs.memory == memory  # what it was given is what the boundary before had left
        assert describe_estimate(found)["estimate"] == record["estimate"]
        assert record.get("p", found.weights) == found.weights
        memory = found.memory
    assert memory.boundaries == len(records)
    assert all(record["reference_db"] == records[0]["reference_db"] for record in records)  # the final one

    for _ in range(4):
        run([*argv, "--workers", "0"], tmp_path, signal_after=(15, 4))
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", tmp_path / "whole")


def test_references_do_not_depend_on_the_estimator(argv: list[str], references: Path, tmp_path: Path) -> None:
    assert (
        "is finished"
        in succeed(
            flags(
                **{
                    "mode": "single",
                    "task": "noise",
                    "shards": argv[argv.index("--shards") + 1],
                    "references": references,
                    "estimator.temperature": 3.0,
                }
            ),
            tmp_path,
        ).stdout
    )


def test_a_run_that_looks_at_the_end_of_its_references_cannot_be_lengthened(argv: list[str], tmp_path: Path) -> None:
    run(argv, tmp_path, signal_after=(15, 4))
    outcome = run([*argv, "--iterations", "20"], tmp_path)
    assert outcome.code == 2
    assert "begun with iterations = 15: with --estimator.reference final" in outcome.errors[0]
