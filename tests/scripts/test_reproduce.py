"""Experiments run from end to end at a size of seconds, and go on after an interruption."""

import json
from dataclasses import replace

import pytest

from scripts.reproduce import fig1, fig5a, fig8, scales, table5
from scripts.reproduce.comparison import Arm, run_arms
from scripts.reproduce.lab import Lab, Settings, borders
from scripts.reproduce.scales import SCALES
from shared.config import parse


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    recipe = SCALES["small"].recipe.read_text().replace("iterations: 600", "iterations: 4")
    recipe = recipe.replace("interval_steps: 100", "interval_steps: 2").replace("batch_size: 8", "batch_size: 2")
    recipe = recipe.replace("num_feat: 16, num_block: 4", "num_feat: 4, num_block: 1").replace(
        "workers: 1", "workers: 0"
    )
    (tmp_path / "tiny.yaml").write_text(recipe)
    monkeypatch.setattr(scales, "RECIPES", tmp_path)
    pretrain = ("--iterations", "2", "--interval-steps", "2")
    sizes = {"train_rows": 8, "val_rows": 4, "train_patch": 76, "val_patch": 76, "settings": 2, "values": 3}
    sizes |= {"plans": 4, "random_tasks": 4}
    grouping = ("--grouping.steps", "2", "--grouping.images", "1", "--grouping.thresholds_db", "[10.0, -10.0]")
    tiny = replace(SCALES["small"], name="tiny", pretrain=pretrain, fine_tune_steps=2, grouping=grouping, **sizes)
    monkeypatch.setitem(SCALES, "tiny", tiny)
    return ["--scale", "tiny", "--out", str(tmp_path / "out")], tmp_path / "out" / "tiny"


@pytest.mark.slow
def test_the_operator_study_compares_four_operators(tiny):
    options, folder = tiny
    assert fig1.main(options) == 0
    numbers = json.loads((folder / "fig1" / "fig1.json").read_text())
    assert {name: len(operator["gains_db"]) for name, operator in numbers.items()} == dict.fromkeys(
        ("blur", "noise", "resize", "jpeg"), 2
    )
    assert (folder / "fig1" / "fig1.png").stat().st_size > 1000


@pytest.mark.slow
def test_the_linearity_study_has_a_line_for_every_border(tiny):
    options, folder = tiny
    assert fig8.main(options) == 0
    trends = json.loads((folder / "fig8" / "fig8.json").read_text())
    assert [(t["axis"], t["step"], len(t["gaps_db"])) for t in trends] == [
        (axis, step, 3) for axis in ("noise", "blur") for step in (2, 4)
    ]


@pytest.mark.slow
def test_random_tasks_are_grouped_at_two_checkpoints(tiny):
    options, folder = tiny
    assert fig5a.main(options) == 0
    numbers = json.loads((folder / "fig5a" / "fig5a.json").read_text())
    assert numbers["tasks"] == len(numbers["start_db"]) == len(numbers["end_db"]) == 4
    assert numbers["start_db"] != numbers["end_db"]
    assert (folder / "fig5a" / "fig5a.png").stat().st_size > 1000
    first = (folder / "fig5a" / "fig5a.md").read_text()
    assert fig5a.main(options) == 0
    assert (folder / "fig5a" / "fig5a.md").read_text() == first


@pytest.mark.slow
def test_arms_on_groups_share_one_search(tiny):
    options, folder = tiny
    lab = Lab(parse(Settings, [*options, "--seeds", "2"], "test", ""), "test")
    means = run_arms(lab, [Arm("uniform"), Arm("tgsr", "tgsr")], lab.testsets())
    assert means["tgsr"].shape == (2, 4)
    assert len(list(folder.glob("groups/*/*/groups.json"))) == 1
    assert [len(borders(lab.folder / "tgsr" / f"seed{seed}")[0]["trained"]) for seed in (0, 1)] == [4 + 2] * 2


@pytest.mark.slow
def test_a_table_is_the_same_when_its_command_is_given_again(tiny):
    options, folder = tiny
    assert table5.main([*options, "--seeds", "2"]) == 0
    first = (folder / "table5" / "table5.md").read_text()
    assert table5.main([*options, "--seeds", "2"]) == 0
    assert (folder / "table5" / "table5.md").read_text() == first
    assert all(arm.name in first for arm in table5.ARMS)
