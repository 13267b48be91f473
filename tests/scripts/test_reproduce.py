"""Experiments run from end to end at a size of seconds, and go on after an interruption."""

import json
from dataclasses import replace

import numpy as np
import pytest

from scripts.reproduce import fig1, fig5a, fig5b, fig7, fig8, table1, table5
from scripts.reproduce.comparison import REBALANCE, UNIFORM, Arm, num_steps, run_arms, train_arm
from scripts.reproduce.lab import SAME_PHOTOGRAPHS, Lab, TrainSettings, boundaries
from scripts.reproduce.linearity import evenly
from scripts.reproduce.scales import SCALES
from scripts.reproduce.table import write_tables
from shared.config import parse
from shared.errors import RunError, UsageError
from train.settings import TrainSettings as RunSettings


@pytest.fixture
def lab(tiny):
    options, _ = tiny
    return Lab(parse(TrainSettings, [*options, "--seeds", "1"], "", ""), "table4")


@pytest.mark.parametrize("name", SCALES)
def test_recipes_are_settings_of_a_run_and_divide_into_intervals(name):
    scale = SCALES[name]
    settings = parse(RunSettings, ["--config", str(scale.recipe), *scale.pretrain], "", "")
    assert settings.network.name == scale.network
    assert set(scale.table1) <= {scale.network, *scale.other_networks}


def test_a_table_of_two_arms(lab, tiny, pairs, capsys):
    """Trained, measured on a set of files and one of shards, written; a second time nothing is trained."""
    testsets = lab.testsets() | {"set": str(pairs)}
    groups = [[UNIFORM, Arm("rlw", "rlw", label="RLW")]]
    write_tables(lab, "table4", groups, testsets)
    numbers = json.loads((tiny[1] / "table4" / "table4.json").read_text())
    assert numbers["testsets"] == ["mild", "blur", "noise", "severe", "set"]
    assert {arm: [len(row) for row in rows] for arm, rows in numbers["psnr_db"].items()} == {"uniform": [5], "RLW": [5]}
    text = (tiny[1] / "table4" / "table4.md").read_text()
    assert text in capsys.readouterr().out
    assert "| RLW | not known here | |" in text
    assert text.endswith(f"\n{SAME_PHOTOGRAPHS}")
    log = (tiny[1] / "study" / "rlw" / "seed0" / "metrics.jsonl").read_bytes()
    write_tables(Lab(lab.settings, "table4"), "table4", groups, testsets)
    assert (tiny[1] / "table4" / "table4.md").read_text() == text
    assert (tiny[1] / "study" / "rlw" / "seed0" / "metrics.jsonl").read_bytes() == log


def test_comparisons_share_their_networks(lab, monkeypatch):
    trained = []
    monkeypatch.setattr(Lab, "_render", lambda *arguments, **options: None)
    monkeypatch.setattr(Lab, "_train", lambda lab, run, *rest: trained.append(run))
    for experiment in ("table4", "fig5b"):
        train_arm(Lab(lab.settings, experiment), UNIFORM, 0)
    assert trained == [lab.shared / "study" / "uniform" / "seed0"] * 2


def test_steps_are_counted_with_references_and_searches(lab):
    assert num_steps(lab, [UNIFORM]) == 4
    assert num_steps(lab, [UNIFORM, REBALANCE], seeds=3) == 4 * 3 * (2 + 4)
    assert num_steps(lab, [replace(UNIFORM, network="rrdbnet")]) == 4 + 2
    assert num_steps(lab, [Arm("tgsr", "tgsr")]) == 4 + round(4 * 2 * 1.4)


def test_what_an_experiment_needs_is_said_before_it_starts(lab, capsys):
    lab.announce(4)
    said = capsys.readouterr().out
    assert "needs photographs" in said
    assert "at most 6 training steps" in said  # and the two of the network that all start from


def test_given_weights_belong_to_a_network(tiny):
    options, _ = tiny
    lab = Lab(parse(TrainSettings, [*options, "--init", "a.pth", "rrdbnet=b=c.pth"], "", ""), "table1")
    assert (lab.initial(), lab.initial("rrdbnet")) == ("a.pth", "b=c.pth")
    with pytest.raises(UsageError, match="unknown network 'hat': scale tiny has msrresnet, rrdbnet"):
        lab.initial("hat")


def test_the_papers_scale_asks_for_the_weights_it_starts_from(tmp_path):
    with pytest.raises(RunError, match="name them with --init rrdbnet=FILE"):
        Lab(TrainSettings(scale="paper", out=str(tmp_path)), "table4").announce(4)
    with pytest.raises(RunError, match="name them with --init msrresnet=FILE"):
        table1.main(["--scale", "paper", "--init", "rrdbnet=a.pth", "--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("test_hr", [None, "other"])
def test_tables_say_when_they_speak_of_the_photographs_that_set_the_weights(tmp_path, test_hr):
    assert Lab(TrainSettings(out=str(tmp_path), test_hr=test_hr), "table4").tested_on == (
        "" if test_hr else SAME_PHOTOGRAPHS
    )


def test_photographs_add_to_a_variance_over_settings_what_they_do_to_each_alone():
    """600 studies of 10 settings that do not differ: both means are known to 2 %."""
    rng, photographs = np.random.default_rng(0), [f"{k % 7}" for k in range(48)]
    which, seen, said = np.arange(48) % 7, [], []
    for _ in range(600):
        alike = rng.normal(0, 0.3, 7)[which] + rng.normal(0, 0.1, 48)  # what photographs and crops do to all settings
        gains_db = alike + rng.normal(0, 0.05, (10, 7))[:, which] + rng.normal(0, 0.03, (10, 48))
        seen.append(gains_db.mean(axis=1).var(ddof=1))
        said.append(fig1.error_variance(gains_db, photographs))
    assert np.mean(said) == pytest.approx(np.mean(seen), rel=0.1)


def test_whole_test_sets_need_pictures_that_are_not_trained_on(tmp_path):
    with pytest.raises(UsageError, match="give --test-hr or --val-hr"):
        Lab(TrainSettings(hr=str(tmp_path), out=str(tmp_path)), "table2").whole_images("DIV2K4Level")


def test_checkpoints_are_evenly_spaced_up_to_the_last():
    assert evenly(range(1, 81), 6) == [14, 27, 40, 54, 67, 80]
    assert evenly([1, 2, 3], 6) == [1, 2, 3]


@pytest.mark.slow
def test_networks_with_and_without_rebalancing_are_compared_each_with_itself(tiny):
    options, folder = tiny
    assert table1.main([*options, "--seeds", "1"]) == 0
    text = (folder / "table1" / "table1.md").read_text()
    for network in ("msrresnet", "rrdbnet"):
        assert f"Difference to {network}, plain" in text
        assert f"| {network}, ours |" in text


@pytest.mark.slow
def test_weights_have_a_line_for_every_border(tiny):
    options, folder = tiny
    assert fig5b.main([*options, "--seeds", "2"]) == 0
    numbers = json.loads((folder / "fig5b" / "fig5b.json").read_text())
    assert numbers["steps"] == [0, 2, 4]
    assert [[len(boundary) for boundary in seed] for seed in numbers["weights"]] == [[4, 4, 4]] * 2
    assert numbers["weights"][0][0] == [0.25] * 4  # equal networks
    assert (folder / "fig5b" / "fig5b.png").stat().st_size > 1000


@pytest.mark.slow
def test_single_task_networks_stand_beside_the_shared_ones(tiny):
    options, folder = tiny
    assert fig7.main([*options, "--seeds", "1"]) == 0
    numbers = json.loads((folder / "fig7" / "fig7.json").read_text())
    assert {name: len(values[0]) for name, values in numbers.items()} == {"single": 4, "uniform": 4, "rebalance": 4}
    assert f"| single | {numbers['single'][0][0]:.3f} |" in (folder / "fig7" / "fig7.md").read_text()
    assert (folder / "fig7" / "fig7.png").stat().st_size > 1000


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
    lab = Lab(parse(TrainSettings, [*options, "--seeds", "2"], "test", ""), "test")
    means = run_arms(lab, [Arm("uniform"), Arm("tgsr", "tgsr")], lab.testsets())
    assert means["tgsr"].shape == (2, 4)
    assert len(list(folder.glob("groups/*/*/groups.json"))) == 1
    assert [len(boundaries(folder / "study" / "tgsr" / f"seed{seed}")[0]["trained"]) for seed in (0, 1)] == [4 + 2] * 2


@pytest.mark.slow
def test_a_table_is_the_same_when_its_command_is_given_again(tiny):
    options, folder = tiny
    assert table5.main([*options, "--seeds", "2"]) == 0
    first = (folder / "table5" / "table5.md").read_text()
    assert table5.main([*options, "--seeds", "2"]) == 0
    assert (folder / "table5" / "table5.md").read_text() == first
    assert all(arm.title in first for arm in table5.ARMS)
