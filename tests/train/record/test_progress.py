"""What a person sees while an interval trains: the bar's words."""

from typing import Any

import numpy as np
import pytest

import train.record.progress
from train.record.progress import IntervalProgress, describe_shares
from train.settings import TrainSettings

SETTINGS = TrainSettings(iterations=20, interval_steps=5, batch_size=8)
RECORD = {"tasks": ["mild", "noise"], "p": [0.25, 0.75], "step": 5}


class Bar:
    """Keeps what a bar was told."""

    def __init__(self, total: int, unit: str, disable: bool, **options: Any) -> None:
        self.total, self.disable, self.options = total, disable, options
        self.shown: list[dict[str, str]] = []
        self.updates, self.closed = 0, False

    def set_postfix(self, shown: dict[str, str], refresh: bool) -> None:
        self.shown.append(shown)

    def update(self) -> None:
        self.updates += 1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    made: list[Bar] = []

    def make(*args: Any, **options: Any) -> Bar:
        made.append(Bar(*args, **options))
        return made[-1]

    monkeypatch.setattr(train.record.progress, "progress_bar", make)
    return made


def test_the_bar_of_a_run_shows_loss_speed_data_wait_and_ratios(bars: list[Bar]) -> None:
    with IntervalProgress("shared", RECORD, 2, SETTINGS, True) as progress:
        for loss in (0.5, 0.25):
            progress.step({"generator": loss, "discriminator": 9.0}, np.array([2, 6]), 0.5, 4.0)
    (bar,) = bars
    assert (bar.total, bar.options["desc"], bar.options["initial"]) == (20, "shared, interval 2/4", 7)
    common = {"samples/s": "2", "data wait": "12.5%", "shares": "mild 0.25 noise 0.75"}
    assert bar.shown == [{"loss": "0.5000", **common}, {"loss": "0.3750", **common}]
    assert (bar.updates, bar.closed) == (2, True)


def test_a_rank_that_shows_nothing_still_counts(bars: list[Bar]) -> None:
    with IntervalProgress("shared", RECORD, 0, SETTINGS, False) as progress:
        progress.step({"generator": 0.5}, np.array([2, 6]), 1.0, 4.0)
        line = progress.line()
    assert bars[0].shown == []
    assert line == {
        "step": 6,
        "loss": 0.5,
        "lr": 1e-4,
        "samples_per_second": 2.0,
        "step_seconds": 4.0,
        "data_wait": 0.25,
        "counts": [2, 6],
    }


def test_of_many_tasks_the_largest_ratios_are_shown_in_the_order_of_tasks() -> None:
    assert describe_shares(["a", "b"], [0.3, 0.7]) == "a 0.30 b 0.70"
    shares = [0.1, 0.2, 0.05, 0.25, 0.15, 0.25]
    assert describe_shares(list("abcdef"), shares) == "a 0.10 b 0.20 d 0.25 e 0.15 f 0.25 ..."


def test_frozen_plans_beside_the_tasks_are_summed_up() -> None:
    assert describe_shares(["a", "b"], [0.25, 0.25, 0.375, 0.125]) == "a 0.25 b 0.25 2 frozen plans 0.50"
