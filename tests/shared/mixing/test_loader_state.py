"""The state of a loader: small, plain, without a rank; whoever loads it goes on with the same samples."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import RunError, UsageError
from shared.mixing.loader import MixingLoader
from tests.shared.mixing.delivery import Sample, joined, make_loader, on_ranks, samples_of, steps_of, through_json
from tests.train.conftest import pretend_other_rows

SCHEDULE: list[tuple[dict[str, float], int]] = [
    ({"mild": 1.0, "noise": 2.0, "severe": 1.0}, 4),
    ({"noise": 1.0}, 3),
    ({"mild": 0.9, "severe": 0.1}, 5),
]
"""Weights and steps of three intervals: twelve batches of four."""
STEPS = 12


def going_on(loader: MixingLoader) -> Iterator[list[Sample]]:
    """The samples of every batch from where the loader is to the end of the schedule."""
    if loader.step:
        yield from map(samples_of, loader.interval())
    while loader.interval_number < len(SCHEDULE):
        yield from map(samples_of, loader.interval(*SCHEDULE[loader.interval_number]))


@pytest.fixture(scope="module")
def whole(shards: Path) -> tuple[list[list[Sample]], list[dict[str, Any]]]:
    """The samples of every batch, and the state before the first and after each."""
    with make_loader(shards) as loader:
        steps, states = [], [through_json(loader.state_dict())]
        for samples in going_on(loader):
            steps.append(samples)
            states.append(through_json(loader.state_dict()))
    return steps, states


@pytest.fixture
def steps(whole: tuple[list, list]) -> list[list[Sample]]:
    return whole[0]


@pytest.fixture
def states(whole: tuple[list, list]) -> list[dict[str, Any]]:
    return whole[1]


# ---- what it says


def test_it_is_a_few_kilobytes_of_json_without_a_rank(states: list[dict[str, Any]], shards: Path) -> None:
    assert all(len(json.dumps(state)) < 4096 for state in states)

    def work(options: dict[str, Any]) -> list[dict[str, Any]]:
        with make_loader(shards, **options) as loader:
            return [loader.state_dict(), *(loader.state_dict() for _ in going_on(loader))]

    for mine in on_ranks(2, work):
        assert through_json({"all": mine})["all"] == states  # any rank may write it


def test_it_says_how_far_the_loader_is_and_after_the_last_batch_that_the_interval_is_finished(
    states: list[dict[str, Any]],
) -> None:
    lengths = [length for _, length in SCHEDULE]
    expected = [(interval, step) for interval, length in enumerate(lengths) for step in range(length)]
    assert [(state["interval"], state["step"]) for state in states] == [*expected, (3, 0)]
    for state in states:
        assert (state["record"] is not None) == (state["step"] > 0)
    assert list(states[-1]["consumed"].values()) == [22, 20, 6]


def test_a_batch_is_done_when_the_next_one_is_asked_for_or_the_state_is_taken(shards: Path) -> None:
    with make_loader(shards) as loader:
        batches = loader.interval([1, 1, 1], 3)
        next(batches)
        assert loader.step == 0
        next(batches)
        assert loader.step == 1
        assert loader.state_dict()["step"] == loader.step == 2
        assert loader.state_dict()["step"] == 2


# ---- resuming


@pytest.mark.parametrize(("num_ranks", "workers"), [(1, 0), (2, 0), (4, 0), (1, 2)])
def test_any_step_is_resumed_with_other_numbers_of_ranks_and_workers(
    num_ranks: int, workers: int, steps: list[list[Sample]], states: list[dict[str, Any]], shards: Path
) -> None:
    points = range(STEPS + 1) if workers == 0 else (1, 4, 6)

    def work(options: dict[str, Any]) -> list[list[list[Sample]]]:
        found = []
        with make_loader(shards, workers=workers, **options) as loader:
            for done in points:
                loader.load_state_dict(states[done])
                found.append(list(going_on(loader)))
        return found

    for done, *parts in zip(points, *on_ranks(num_ranks, work), strict=True):
        assert joined(parts) == steps[done:]


def test_several_resumes_in_a_row_deliver_every_sample_once(steps: list[list[Sample]], shards: Path) -> None:
    state: dict[str, Any] | None = None
    delivered: list[list[Sample]] = []
    forms = [(1, 0), (2, 0), (1, 2), (4, 0), (1, 0), (2, 1)]
    for num_ranks, workers in forms:

        def work(
            options: dict[str, Any], state: dict[str, Any] | None = state, workers: int = workers
        ) -> tuple[list[list[Sample]], dict[str, Any]]:
            with make_loader(shards, workers=workers, **options) as loader:
                if state:
                    loader.load_state_dict(state)
                rest = going_on(loader)
                return [next(rest), next(rest)], through_json(loader.state_dict())

        found = on_ranks(num_ranks, work)
        delivered += joined(parts for parts, _ in found)
        state = found[0][1]
    assert delivered == steps


def test_the_same_arguments_resume_an_interval_others_are_refused(
    steps: list[list[Sample]], states: list[dict[str, Any]], shards: Path
) -> None:
    with make_loader(shards) as loader:
        loader.load_state_dict(states[2])
        with pytest.raises(ValueError, match=r"interval 0 is at step 2 of 4 with quotas \[4, 8, 4\]: finish it first"):
            loader.interval({"noise": 1.0}, 4)
        assert steps_of(loader.interval(*SCHEDULE[0])) == steps[2:4]


def test_a_state_may_be_loaded_into_a_loader_that_is_used(
    steps: list[list[Sample]], states: list[dict[str, Any]], shards: Path
) -> None:
    with make_loader(shards, workers=1) as loader:
        left = loader.interval([1, 0, 0], 9)
        next(left)
        loader.load_state_dict(states[6])
        with pytest.raises(RunError, match="this iterator is out of date"):
            next(left)
        assert list(going_on(loader)) == steps[6:]


def test_ranks_that_continue_different_states_are_refused(states: list[dict[str, Any]], shards: Path) -> None:
    def work(options: dict[str, Any], second: int) -> str:
        with make_loader(shards, **options) as loader:
            loader.load_state_dict(states[2 if options["rank"] == 0 else second])
            try:
                loader.interval()
            except RunError as error:
                return str(error)
            return ""

    for second, names in ((3, "step"), (4, "interval, step, consumed, read, record"), (0, "step, record")):
        first, error = on_ranks(2, lambda options, second=second: work(options, second))
        assert first == ""
        assert f"rank 1 differs from rank 0 in {names}: load the state of one checkpoint on all ranks" in error


# ---- states that are refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "the state has seed 0, this loader 1: they must be the same"),
        ({"batch_size": 8}, "the state has batch_size 4, this loader 8"),
        ({"tasks": ["mild", "noise"]}, r"the state has tasks \['mild', 'noise', 'severe'\], this loader \['mild', 'no"),
    ],
)
def test_the_state_of_another_loader_is_refused(
    options: dict[str, Any], message: str, states: list[dict[str, Any]], shards: Path
) -> None:
    with make_loader(shards, **options) as loader, pytest.raises(UsageError, match=message):
        loader.load_state_dict(states[2])


def test_the_state_of_another_dataset_is_refused(states: list[dict[str, Any]], copy: Path) -> None:
    pretend_other_rows(copy / "noise")
    with make_loader(copy) as loader, pytest.raises(RunError, match="dataset noise/train has changed since the state"):
        loader.load_state_dict(states[2])
    for path in (copy / "noise").iterdir():
        path.unlink() if path.is_file() else None
    with (
        make_loader(copy, tasks=["mild", "noise", "severe"], hr="photos") as loader,
        pytest.raises(RunError, match="dataset noise/train has changed since the state was saved"),
    ):
        loader.load_state_dict(states[2])


def test_other_hr_images_are_refused(states: list[dict[str, Any]], shards: Path) -> None:
    with make_loader(shards, hr="photos") as loader:
        with pytest.raises(RunError, match="the HR images are not those that the state was saved with: give the same"):
            loader.load_state_dict(states[2])
        loader.load_state_dict(loader.state_dict())


@pytest.mark.parametrize("state", [{}, {"format": "realsr-mixing-v0"}, [], None, "state"])
def test_another_format_is_refused(state: Any, shards: Path) -> None:
    with make_loader(shards) as loader, pytest.raises(RunError, match=r"the state has format .*: this program reads '"):
        loader.load_state_dict(state)


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "step is beyond": lambda s: s.update(step=5),
    "negative": lambda s: s.update(step=-1),
    "no integer": lambda s: s.update(interval=0.5),
    "a word": lambda s: s.update(interval="0"),
    "no consumed": lambda s: s.pop("consumed"),
    "a task is missing": lambda s: s["consumed"].pop("noise"),
    "consumed null": lambda s: s["consumed"].update(noise=None),
    "read of another task": lambda s: s["read"].update(blur=3),
    "lost of another task": lambda s: s["lost"].update(blur=[3]),
    "lost no list": lambda s: s["lost"].update(noise=3),
    "lost no number": lambda s: s["lost"].update(noise=["x"]),
    "no version": lambda s: s["generations"].update(noise=[]),
    "version without rows": lambda s: s["generations"]["noise"][0].pop("rows"),
    "version of no rows": lambda s: s["generations"]["noise"].insert(0, {**s["generations"]["noise"][0], "rows": 0}),
    "versions shrink": lambda s: s["generations"]["noise"].insert(0, {**s["generations"]["noise"][0], "rows": 99}),
    "generations a list": lambda s: s.update(generations=[1]),
    "hr a number": lambda s: s.update(hr=5),
    "record a list": lambda s: s.update(record=[1]),
    "record of two tasks": lambda s: s["record"].update(quotas=[8, 8]),
    "record of another interval": lambda s: s["record"].update(interval=7),
    "record of other tasks": lambda s: s["record"].update(tasks=["a", "b", "c"]),
    "record without quotas": lambda s: s["record"].pop("quotas"),
    "quotas that do not fill the steps": lambda s: s["record"].update(quotas=[4, 8, 5]),
    "an unknown source": lambda s: s["record"].update(sources=["shards", "disk", "shards"]),
    "lost of no task": lambda s: s["record"].update(lost=[[3, 1]]),
    "lost of three numbers": lambda s: s["record"].update(lost=[[1, 1, 1]]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_state_is_an_error_in_words_and_changes_nothing(
    damage: Callable[[dict[str, Any]], object], states: list[dict[str, Any]], steps: list[list[Sample]], shards: Path
) -> None:
    damaged = copy.deepcopy(states[2])
    damage(damaged)
    with make_loader(shards) as loader:
        with pytest.raises(RunError, match=r"the state of the loader is damaged|dataset noise/train has changed"):
            loader.load_state_dict(damaged)
        assert loader.state_dict() == states[0]
