"""The plan of a mixture: from traces to weights, predictions, a page and the command that trains it."""

import json
from pathlib import Path

import numpy as np
import pytest

from shared.errors import RunError, UsageError, run_command
from shared.rebalance.mixtures import describe, make_plan
from shared.rebalance.references import References, Trace
from train.plan_mixture import main
from train.record.mixtures import load_mixture
from train.record.references import save_pack, save_trace

TASKS = ["mild", "noise", "severe"]
PSNR_DB = np.array([[30.0, 25.0, 23.0], [28.8, 26.0, 24.5], [28.5, 25.8, 24.6]])
"""Of the network in the row on the task in the column."""


def traces(psnr_db: np.ndarray = PSNR_DB, spread_db: float = 0.05) -> list[Trace]:
    """References with these means over 24 images of 12 HR images, at steps 0 and 5."""
    noise = np.random.default_rng(0).normal(0, spread_db, (3, 3, 24))
    values = psnr_db[..., None] + noise - noise.mean(axis=-1, keepdims=True)
    made = [Trace(task, {"val_rows": task}, photographs=[f"{k // 2}" for k in range(24)]) for task in TASKS]
    for j, trace in enumerate(made):
        for step, table in ((0, np.full_like(values, 20.0)), (5, values)):
            trace.add(step, table[j, j].tolist())
            for i, task in enumerate(TASKS):
                if i != j:
                    trace.add_other(task, task, step, table[j, i].tolist())
    return made


def test_the_plan_says_who_gains_and_who_pays() -> None:
    plan = make_plan(References(traces()), 5)
    worst, gap = plan.choices
    assert (worst.aim, gap.aim) == ("worst", "gap")
    assert worst.weights[0] == pytest.approx(0.05, abs=0.001)
    assert worst.predicted.gains_db[2] > 0.1
    assert worst.predicted.gains_db[0] < -0.1
    assert min(worst.psnr_db) > min(worst.uniform_db)
    text = "\n".join(describe(plan))
    assert "who pays: mild" in text
    assert "dB, not validated" in text
    assert "+1.600 (" in text  # D of severe in the network of mild: 24.6 - 23
    assert f"no task can gain more than {max(plan.most_db):.3f} dB over equal volumes" in text
    assert plan.frontier[0] == pytest.approx(np.zeros(3), abs=0.02)
    assert plan.frontier[-1] == pytest.approx(worst.predicted.gains_db, abs=0.01)


def test_networks_that_do_not_differ_leave_equal_volumes() -> None:
    plan = make_plan(References(traces()), 0)
    assert all(choice.weights == [1 / 3] * 3 for choice in plan.choices)
    assert "no mixture is predicted better than equal volumes" in "\n".join(describe(plan))


def test_references_that_overfit_are_refused() -> None:
    psnr_db = PSNR_DB.copy()
    psnr_db[0, 2] = 25.0
    with pytest.raises(RunError, match=r"the network of mild is 0.400 dB better on severe than the network of severe"):
        make_plan(References(traces(psnr_db)), 5)


def test_the_floor_must_leave_room_for_all_tasks() -> None:
    with pytest.raises(UsageError, match=r"at most 0.333 for 3 tasks"):
        make_plan(References(traces()), 5, floor=0.4)


@pytest.mark.parametrize("kind", ["run with a pilot", "run with references", "folder of references", "pack"])
def test_the_command_writes_weights_and_a_page(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = tmp_path / "run"
    folder = {"run with a pilot": run / "pilot", "run with references": run / "references"}.get(kind, run)
    if kind == "pack":
        run.mkdir()
        save_pack(traces(), run / "references.json")
    else:
        for trace in traces():
            (folder / trace.task).mkdir(parents=True)
            save_trace(trace, folder / trace.task)
    assert run_command(main, [str(run / "references.json") if kind == "pack" else str(run)]) == 0
    said = capsys.readouterr().out
    for aim in ("worst", "gap"):
        mixture = load_mixture(run / f"mixture-{aim}.json")
        assert sum(mixture.weights.values()) == pytest.approx(1)
        assert mixture.origin["aim"] == aim
        assert f"--policy fixed --policy-options.weights {run / f'mixture-{aim}.json'}" in said
    page = (run / "mixture.html").read_text()
    assert "mean, not validated" in page
    assert "data:image/png;base64," in page
    assert (run / "mixture.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_without_references_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_command(main, [str(tmp_path)]) == 1
    assert "holds 0 references, a mixture needs those of 2 tasks or more: train them" in capsys.readouterr().err
    old = {"task": "mild", "protocol": {}, "psnr_db": {"0": [1.0]}}
    for name in TASKS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "trace.json").write_text(json.dumps({**old, "task": name}))
    assert run_command(main, [str(tmp_path)]) == 1
    assert "no values at step 0 for the network of mild on noise, mild on severe" in capsys.readouterr().err
