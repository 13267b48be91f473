"""Trackers and the run_log: curves and pictures of a run, each step once however often it was interrupted."""

import io
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import tracking
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shared.errors import RunError, UsageError
from shared.shards.reader import Dataset
from tests.train.command import flags, run, succeed
from tests.train.conftest import PATCH, TASKS
from tests.train.records import intervals, metrics, require_same_run
from train.record.run_log import RunLog, scalars_of_boundary, scalars_of_interval, scalars_of_steps
from train.record.trackers import log_images, open_trackers, require_trackers
from train.settings import TrainSettings

Curves = dict[str, list[tuple[int, float]]]


def events(run_folder: Path) -> EventAccumulator:
    """What TensorBoard would show of a run."""
    found = EventAccumulator(str(run_folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def curves(run_folder: Path) -> Curves:
    """Step and value of every point, by name, without what depends on the clock."""
    found = events(run_folder)
    names = [name for name in found.Tags()["scalars"] if not name.startswith("speed/")]
    return {name: [(point.step, point.value) for point in found.Scalars(name)] for name in names}


@pytest.fixture(scope="module")
def argv(shards: Path, references: Path) -> list[str]:
    return flags(shards=shards, references=references, run="run", trackers=None, save_steps=2)


@pytest.fixture(scope="module")
def tracked(argv: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing has interrupted, tracked as it is when nothing is said."""
    folder = tmp_path_factory.mktemp("tracked")
    succeed(argv, folder)
    return folder / "run"


def test_tensorboard_shows_what_the_logs_hold(tracked: Path) -> None:
    shown, lines, records = curves(tracked), metrics(tracked), intervals(tracked)
    assert [step for step, _ in shown["train/loss"]] == list(range(1, 16))
    assert [value for _, value in shown["train/loss"]] == pytest.approx([line["loss"] for line in lines], rel=1e-6)
    for number, task in enumerate(TASKS):
        expected = {
            "psnr_db": [np.mean(record["shared_db"][number]) for record in records],
            "gap_db": [record["estimate"]["gaps_db"][number] for record in records],
            "weight": [record["estimate"]["weights"][number] for record in records],
            "quota": [record["quotas"][number] for record in records[:-1]],
        }
        for name, values in expected.items():
            assert [step for step, _ in shown[f"{name}/{task}"]] == [0, 5, 10, 15][: len(values)]
            assert [value for _, value in shown[f"{name}/{task}"]] == pytest.approx(values, rel=1e-5, abs=1e-7)
        trained = [(record["step"] + 5, record["losses"][number]) for record in records[:-1]]
        assert shown[f"loss/{task}"] == [(step, pytest.approx(value)) for step, value in trained]


def test_speed_and_data_wait_are_shown(tracked: Path) -> None:
    found = events(tracked)
    for name in ("samples_per_second", "step_seconds", "data_wait"):
        assert len(found.Scalars(f"speed/{name}")) == 15


def test_sample_pictures_are_lr_output_and_hr_of_one_row_at_every_border(tracked: Path, shards: Path) -> None:
    found = events(tracked)
    assert sorted(found.Tags()["images"]) == [f"samples/{task}" for task in TASKS]
    for task in TASKS:
        shown = found.Images(f"samples/{task}")
        assert [image.step for image in shown] == [0, 5, 10, 15]
        pictures = [np.array(Image.open(io.BytesIO(image.encoded_image_string))) for image in shown]
        pair = Dataset(shards / f"{task}-val")[0]
        for picture in pictures:
            assert picture.shape == (PATCH, 3 * PATCH, 3)
            assert np.array_equal(picture[::4, :PATCH:4], pair.lr)
            assert np.array_equal(picture[:, 2 * PATCH :], pair.hr)
        outputs = [picture[:, PATCH : 2 * PATCH] for picture in pictures]
        assert not np.array_equal(outputs[0], outputs[-1])


def test_a_resumed_run_goes_on_in_the_same_curves_without_a_step_twice(
    argv: list[str], tracked: Path, tmp_path: Path
) -> None:
    for number, steps in ((signal.SIGKILL, 4), (signal.SIGTERM, 3), (signal.SIGKILL, 6), (signal.SIGTERM, 1)):
        run(argv, tmp_path, signal_after=(number, steps))
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", tracked)
    assert len(list((tmp_path / "run/tensorboard").iterdir())) == 5
    assert curves(tmp_path / "run") == curves(tracked)
    shown = [
        [(i.step, i.encoded_image_string) for i in events(f).Images("samples/noise")]
        for f in (tmp_path / "run", tracked)
    ]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("steps", [5, 10])
def test_a_run_that_stops_at_a_border_shows_it_once(steps: int, argv: list[str], tracked: Path, tmp_path: Path) -> None:
    run(argv, tmp_path, signal_after=(signal.SIGTERM, steps))
    succeed(argv, tmp_path)
    assert curves(tmp_path / "run") == curves(tracked)


def test_a_lengthened_run_goes_on_in_the_same_curves(argv: list[str], tracked: Path, tmp_path: Path) -> None:
    succeed([*argv, "--iterations", "10"], tmp_path)
    succeed(argv, tmp_path)
    assert curves(tmp_path / "run") == curves(tracked)


def test_none_tracks_nothing(whole_run: Path) -> None:
    assert not (whole_run / "tensorboard").exists()


# ---- which trackers there are


def test_an_unknown_tracker_and_one_that_is_not_installed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_available_trackers", ["tensorboard"])
    require_trackers(["tensorboard"])
    require_trackers([])
    with pytest.raises(UsageError, match=r"unknown tracker 'tensorbord': choose from aim, .*tensorboard, .*or none"):
        require_trackers(["tensorbord"])
    message = (
        r"tracker comet_ml is not installed: pip install comet-ml, or choose others \(--trackers tensorboard or none"
    )
    with pytest.raises(UsageError, match=message):
        require_trackers(["tensorboard", "comet_ml"])


def test_a_command_with_a_tracker_that_does_not_exist_says_so_before_anything(shards: Path, tmp_path: Path) -> None:
    outcome = run(flags(shards=shards, run="run", trackers=["paper"]), tmp_path)
    assert outcome.code == 2
    assert outcome.errors[0].startswith("error: unknown tracker 'paper': choose from")
    assert not (tmp_path / "run").exists()


class Recorder(tracking.GeneralTracker):
    """Stands for Weights & Biases."""

    name = "wandb"
    requires_logging_directory = False
    tracker = None
    opened: list["Recorder"] = []  # noqa: RUF012

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()
        self.project, self.options, self.logged = run_name, options, []

    def start(self) -> None:
        self.opened.append(self)

    def log(self, values: dict, step: int | None = None, **kwargs: Any) -> None:
        self.logged.append((step, values))

    def log_images(self, values: dict, step: int | None = None) -> None:
        self.logged.append((step, {name: images.shape for name, images in values.items()}))

    def finish(self) -> None:
        self.logged.append("finished")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Recorder]]:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    yield Recorder
    Recorder.opened.clear()


def test_a_run_is_the_same_run_of_weights_and_biases_when_it_is_resumed(
    recorder: type[Recorder], tmp_path: Path
) -> None:
    settings = TrainSettings(trackers=["wandb", "wandb"], lr=0.5)
    for folder in ("a", "a", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tracker,) = open_trackers(settings, tmp_path / folder, 3)
    first, again, other = recorder.opened
    assert first.project == "realsr-rebalance"
    assert first.options == again.options
    assert first.options["resume"] == "allow"
    assert first.options["config"]["lr"] == 0.5
    assert first.options["id"] != other.options["id"]
    assert (first.options["name"], first.options["dir"]) == (str(tmp_path / "a"), tmp_path / "a")
    tracker.log({"loss": 0.25}, step=4)
    log_images(tracker, {"noise": np.zeros((8, 24, 3), np.uint8)}, 5)
    tracker.finish()
    assert other.logged == [(4, {"loss": 0.25}), (5, {"noise": (1, 8, 24, 3)}), "finished"]


def test_a_tracker_that_does_not_start_is_one_line(
    recorder: type[Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: Recorder) -> None:
        raise ValueError("no API key")

    monkeypatch.setattr(recorder, "start", start)
    with pytest.raises(
        RunError, match="tracker wandb does not start: no API key; mend that, or choose other --trackers"
    ):
        open_trackers(TrainSettings(trackers=["wandb"]), tmp_path, 0)


# ---- from records to curves


def test_a_line_of_metrics_as_curves() -> None:
    line = {"step": 7, "loss": 0.5, "discriminator_loss": None, "lr": 1e-4, "data_wait": 0.01, "counts": [3, 1]}
    line |= {"data/fallback/noise": 3}
    expected = {"train/loss": 0.5, "train/lr": 1e-4, "speed/data_wait": 0.01, "data/fallback/noise": 3}
    assert scalars_of_steps(line) == expected


def test_a_border_and_an_interval_as_curves() -> None:
    estimate = {"gaps_db": [0.5, -0.5], "errors_db": [0.1, None], "weights": [0.7, 0.3], "low": [0.6, 0.2]}
    estimate |= {"high": [0.8, 0.4], "ranking_share": 0.9, "signal_share": 0.4}
    record = {"tasks": ["mild", "noise"], "shared_db": [[20.0, 22.0], [25.0, 27.0]], "estimate": estimate}
    record |= {"p": [0.7, 0.3], "c": [1.0, 1.0], "quotas": [14, 6], "losses": [0.25, None], "substituted": [0, 2]}
    assert scalars_of_boundary(record) == {
        "psnr_db/mean": 23.5,
        "psnr_db/mild": 21.0,
        "psnr_db/noise": 26.0,
        "gap_db/mild": 0.5,
        "gap_db/noise": -0.5,
        "gap_error_db/mild": 0.1,
        "weight/mild": 0.7,
        "weight/noise": 0.3,
        "weight_low/mild": 0.6,
        "weight_low/noise": 0.2,
        "weight_high/mild": 0.8,
        "weight_high/noise": 0.4,
        "estimate/ranking_share": 0.9,
        "estimate/signal_share": 0.4,
        "share/mild": 0.7,
        "share/noise": 0.3,
        "coefficient/mild": 1.0,
        "coefficient/noise": 1.0,
        "quota/mild": 14,
        "quota/noise": 6,
    }
    assert scalars_of_interval(record) == {"loss/mild": 0.25, "substituted/mild": 0, "substituted/noise": 2}


def test_frozen_plans_beside_the_tasks_are_one_curve() -> None:
    record = {"tasks": ["noise"], "shared_db": [[20.0]], "p": [0.5, 0.25, 0.25], "c": [1.0] * 3, "quotas": [4, 2, 2]}
    found = scalars_of_boundary(record)
    assert {name: value for name, value in found.items() if "psnr" not in name} == {
        "share/noise": 0.5,
        "share/frozen_plans": 0.5,
        "coefficient/noise": 1.0,
        "quota/noise": 4,
        "quota/frozen_plans": 4,
    }


# ---- what is said


@pytest.mark.parametrize(
    ("gaps_db", "differ", "said"), [([0.1, 0.0], False, 1), ([0.1, 0.0], True, 0), ([0.0, 0.0], False, 0)]
)
def test_a_run_says_once_that_its_photographs_cannot_tell_the_tasks_apart(
    gaps_db: list[float], differ: bool, said: int, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    estimate = {"gaps_db": gaps_db, "errors_db": [0.1, 0.1], "weights": [0.5, 0.5], "low": [0.4, 0.4]}
    estimate |= {"high": [0.6, 0.6], "ranking_share": 0.9, "signal_share": 0.25, "tasks_differ": differ}
    record = {"tasks": ["a", "b"], "shared_db": [[20.0], [25.0]], "estimate": estimate, "step": 0}
    run_log = RunLog(tmp_path, "shared", TrainSettings(trackers=["none"]), 0, writes=True)
    for _ in range(3):
        run_log.boundary(record, dict)
    assert (
        capsys.readouterr().out.count("cannot tell the tasks apart: the bands of all weights include 1/n (B = 0.25)")
        == said
    )
