"""Groups of frozen plans (TGSR-style): from gains to groups, the search, and the file that others may have written."""

import hashlib
import json
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RunError, UsageError
from shared.mixing.plans import FLY
from shared.mixing.tasks import Task
from shared.records import canonical_json
from tests.train.command import Command, flags, run, succeed
from train.grouping.groups import (
    Grouping,
    degradations,
    draw_tasks,
    frozen,
    group_by_gain,
    load_grouping,
    most_improved,
)
from train.grouping.trials import cost_samples
from train.settings import GroupingSettings, TrainSettings

SEARCH: dict[str, Any] = {
    "grouping.plans": 5,
    "grouping.steps": 3,
    "grouping.images": 2,
    "grouping.thresholds_db": "[10, -10]",
}
"""A search of seconds; no gain exceeds 10 dB, and every one exceeds -10 dB."""


# ---- from gains to groups


def test_the_plans_that_gain_most_go_on() -> None:
    assert most_improved([0.1, 0.5, -0.2, 0.5, 0.3], 2) == [1, 3]
    assert most_improved([0.1, 0.5, 0.1, 0.5, 0.1], 3) == [0, 1, 3]  # of equal gains the earlier
    assert GroupingSettings(plans=5, share=0.4).num_chosen == 2
    assert GroupingSettings(plans=2, share=0.1).num_chosen == 1


def test_a_gain_belongs_to_the_first_threshold_that_it_exceeds() -> None:
    gains = [0.81, 0.8, 0.61, 0.5, 0.4, 0.21, 0.2, -1.0]
    assert group_by_gain(gains, [0.8, 0.6, 0.4, 0.2]) == [1, 2, 2, 3, 4, 4, 0, 0]


def test_the_search_costs_a_fine_tuning_a_plan_and_one_on_the_chosen(tasks: list[Task]) -> None:
    settings = TrainSettings(batch_size=4, grouping=GroupingSettings(plans=10, steps=20, share=0.3, images=6))
    assert settings.grouping.total_steps == 10 * 20 + 3 * 20
    measured = (10 + 3) * 11 * 6  # before, and after each of the last ten steps; crops as large as those trained on
    assert cost_samples(settings, tasks[0]) == pytest.approx(260 * 4 + measured / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plans": 0}, "grouping.plans is 0: it must be at least 1"),
        ({"steps": 0}, "grouping.steps is 0"),
        ({"share": 0.0}, r"grouping.share is 0.0: it must be in \(0, 1\]"),
        ({"thresholds_db": [0.2, 0.4]}, r"grouping.thresholds_db is \[0.2, 0.4\]: it must be finite, falling"),
        ({"thresholds_db": []}, "not empty"),
        ({"thresholds_db": [float("nan")]}, "finite"),
        ({"images": -1}, "grouping.images is -1"),
    ],
)
def test_settings_that_make_no_groups_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GroupingSettings(**change)


# ---- frozen plans


def test_plans_are_drawn_from_the_tasks_in_turn(tasks: list[Task]) -> None:
    drawn = draw_tasks(tasks, seed=3, count=7)
    assert [task.name for task in drawn] == [f"t{k}" for k in range(7)]
    assert [frozen(task).plan for task in drawn] == [tasks[k % 3].plans.draw(3, k, 76, 4) for k in range(7)]
    assert all(task.num_rows == 0 for task in drawn)
    assert FLY == "fly"  # so that no plan is a shard's row


def test_an_identity_of_degradations_knows_names_and_order(tasks: list[Task]) -> None:
    assert degradations(tasks) == degradations(list(tasks))
    assert degradations(tasks) != degradations(tasks[::-1])
    assert degradations(tasks) != degradations([replace(task, usm=True) for task in tasks])


# ---- the search


@pytest.fixture(scope="module")
def search(once: Callable[..., Path], shards: Path) -> Path:
    """Folder of a search that nothing has interrupted."""

    def fill(folder: Path) -> None:
        (folder / "stdout").write_text(
            succeed(flags(shards=shards, mode="groups", run=folder, **SEARCH), folder).stdout
        )

    return once("groups", fill)


def test_the_search_writes_its_groups_and_says_what_it_costs(search: Path, tasks: list[Task]) -> None:
    found = load_grouping(search / "groups.json", tasks)
    assert "to train: 5 frozen plans tried in 21 steps x 4 samples on cpu" in (search / "stdout").read_text()
    assert f"plans by group 2: 2; gains alone {min(found.gains_db):+.3f}" in (search / "stdout").read_text()
    assert len(set(found.gains_db)) == 5
    assert found.chosen == sorted(np.argsort(found.gains_db)[-2:].tolist())
    assert found.groups == [2, 2]
    assert [task.name for task in found.tasks(tasks)] == [f"g2t{k}" for k in found.chosen]
    assert [frozen(task).plan.to_json() for task in found.tasks(tasks)] == [found.plans[k] for k in found.chosen]
    assert not list(search.glob("*.trials.jsonl"))


def test_a_killed_search_goes_on_where_it_was(search: Path, shards: Path, tmp_path: Path) -> None:
    argv, log = flags(shards=shards, mode="groups", run="run", **SEARCH), tmp_path / "run/groups.trials.jsonl"
    command = Command(argv, tmp_path)
    command.wait_until(lambda: log.is_file() and log.read_text().count("gain_db") >= 2)
    command.signal_group(signal.SIGKILL)
    assert command.wait().code == -signal.SIGKILL
    with log.open("a") as file:
        file.write('{"plan": 4, "ga')  # as a kill while writing leaves it
    tried = log.read_text().count("gain_db")
    refused = run([*argv, "--lr", "0.1"], tmp_path)
    assert refused.errors[0].endswith("was begun with another lr: give the old one, or delete that file")
    outcome = succeed(argv, tmp_path)
    assert f"{3 * tried}/21" in outcome.stderr
    assert (tmp_path / "run/groups.json").read_bytes() == (search / "groups.json").read_bytes()


def test_groups_that_are_there_are_not_searched_again(search: Path, shards: Path, tmp_path: Path) -> None:
    outcome = succeed(flags(shards=shards, mode="groups", groups=search / "groups.json", **SEARCH), tmp_path)
    assert "nothing is left to do" in outcome.stdout
    assert "plans by group 2: 2" in outcome.stdout


# ---- hostile files


def damaged(text: str, **changes: Any) -> str:
    """The file with changes in its grouping (`protocol` is merged), under a hash that is right."""
    content = json.loads(text)["grouping"]
    content["protocol"] |= changes.pop("protocol", {})
    content |= changes
    digest = hashlib.sha256(canonical_json(content)).hexdigest()
    return json.dumps({"format": "realsr-groups-v1", "sha256": digest, "grouping": content})


def test_the_file_under_its_own_hash_is_read(search: Path, tasks: list[Task], tmp_path: Path) -> None:
    (tmp_path / "groups.json").write_text(damaged((search / "groups.json").read_text()))
    expected = load_grouping(search / "groups.json", tasks)
    assert load_grouping(tmp_path / "groups.json", tasks) == expected
    expected.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (search / "groups.json").read_bytes()


HOSTILE: dict[str, tuple[Callable[[str], str], str]] = {
    "a pickle's bytes": (lambda text: "cos\nsystem\n(S'true'\ntR.", "does not hold the groups"),
    "another format": (lambda text: '{"format": "x"}', "format is 'x', this program reads 'realsr-groups-v1'"),
    "deep": (lambda text: "[" * 200_000, "nested too deeply"),
    "changed": (lambda text: re.sub(r'"seed": 0,', '"seed": 1,', text), "changed or damaged"),
    "another field": (lambda text: damaged(text, command="rm"), "'command' is not in the format"),
    "a number for plans": (lambda text: damaged(text, plans=5), "it must be list"),
    "infinite gain": (
        lambda text: damaged(text, gains_db=[float("inf")] * 5).replace("Infinity", "1e999"),
        "'1e999', which is no number",
    ),
    "a true gain": (lambda text: damaged(text, gains_db=[True] * 5), "'gains_db', element 0 is True: it must be float"),
    "a gain too few": (lambda text: damaged(text, gains_db=[0.5] * 4), "5 plans and 4 gains of the 5 tried"),
    "other plans chosen": (lambda text: damaged(text, chosen=[0, 9]), "chosen are not the plans that gain most"),
    "a joint gain too few": (lambda text: damaged(text, joint_gains_db=[1.0]), "2 plans are chosen, 1 have"),
    "other groups": (lambda text: damaged(text, groups=[1, 2]), "groups do not follow from the joint gains"),
    "a plan that is none": (lambda text: damaged(text, plans=["{}"] * 5), "plan 0 is not the one that seed 0 draws"),
    "a huge plan": (
        lambda text: damaged(text, plans=[p.replace('"height":', '"height":9') for p in plans_of(text)]),
        "plan 0 is not the one that seed 0 draws from task mild",
    ),
    "another seed": (lambda text: damaged(text, protocol={"seed": 1}), "is not the one that seed 1 draws"),
    "a seed in words": (lambda text: damaged(text, protocol={"seed": "0"}), "protocol 'seed' is '0': it must be int"),
    "no patch": (lambda text: damaged(text, protocol={"patch": 0}), "patch is 0: it must be at least the scale"),
    "no settings": (
        lambda text: damaged(text, protocol={"grouping": None}),
        "'grouping' is None: it must be an object",
    ),
    "settings of words": (
        lambda text: damaged(text, protocol={"grouping": {"plans": "5"}}),
        "'plans' is '5': it must be int",
    ),
}


def plans_of(text: str) -> list[str]:
    return json.loads(text)["grouping"]["plans"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name: str, search: Path, tasks: list[Task], tmp_path: Path) -> None:
    change, message = HOSTILE[name]
    (tmp_path / "groups.json").write_text(change((search / "groups.json").read_text()))
    with pytest.raises(RunError, match=message) as caught:
        load_grouping(tmp_path / "groups.json", tasks)
    assert len(str(caught.value)) < 500


def test_a_huge_file_is_refused_unread(tasks: list[Task], tmp_path: Path) -> None:
    with (tmp_path / "groups.json").open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(RunError, match="holds more than 67108864 bytes"):
        load_grouping(tmp_path / "groups.json", tasks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network.options.num_feat": 8}, "was made with network = "),
        ({"seed": 1}, "was made with init_sha256 = "),
        ({"tasks": ["mild", "severe"]}, "was made with degradations = "),
        ({"grouping.steps": 4}, "was made with grouping = {'images': 2, "),
        ({"policy": "uniform"}, "policy uniform has none, leave it out"),
        ({"lr": 0.1}, "was made with lr = 0.005, this run has 0.1"),
        ({"source": "shards"}, "task g2t"),
    ],
)
def test_groups_that_do_not_fit_are_refused_by_name(
    change: dict[str, Any], message: str, search: Path, shards: Path, tmp_path: Path
) -> None:
    settings = {"shards": shards, "policy": "tgsr", "groups": search / "groups.json", "run": "run", **SEARCH, **change}
    outcome = run(flags(**settings), tmp_path)
    assert outcome.code in (1, 2)
    assert message in outcome.errors[0]
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_grouping_without_groups_has_no_tasks(tasks: list[Task]) -> None:
    empty = Grouping({"seed": 0, "patch": 76}, ["{}"], [0.1], [0], [0.1], [0])
    assert empty.tasks(tasks) == empty.numbers() == []
    assert empty.describe().startswith("plans by group none")
