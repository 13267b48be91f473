"""The report page: of one run, of several, in a browser when there is one."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from gen.render import main as render
from shared.errors import run_command
from shared.images import decode
from shared.rebalance.estimator import estimate
from shared.rebalance.measurements import Measurements, describe
from shared.shards.reader import Dataset
from shared.storage.json_lines import JsonLines
from train.evaluation.paired import Interval
from train.networks.weights import NetworkSpec
from train.record.checkpoint import EMA, MODEL, save_checkpoint
from train.record.state import State
from train.report import plots, tables
from train.report.__main__ import main as report
from train.report.runs import (
    bicubic_psnr,
    final_psnr,
    gap_reaches,
    half_averaged_step,
    names_of,
    read_run,
)
from train.settings import NetworkSettings, TrainSettings

TASKS = ["mild", "severe"]
PHOTOGRAPHS = ["a", "a", "b", "b", "c", "c"]
OPTIONS = {"num_feat": 4, "num_block": 1}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for task in TASKS:
        for split in ("train", "val"):
            sizes = ["--patch", "96", "--count", "3", "--rows-per-shard", "3", "--workers", "1"]
            render(["--subspace", task, "--split", split, "--out", str(folder), *sizes])
    return folder


@pytest.fixture
def make_run(shards: Path, tmp_path: Path) -> MakeRun:
    """A run of two intervals as its folder tells it, with invented figures."""

    def make(
        name: str,
        gain_db: float = 0.0,
        references: bool = True,
        policy: str = "rebalance",
        seed: int = 0,
        ema_warmup: bool = True,
    ) -> Path:
        folder, rng = tmp_path / name, np.random.default_rng(0)
        settings = TrainSettings(
            shards=str(shards),
            run=str(folder),
            network=NetworkSettings("msrresnet", OPTIONS),
            policy=policy,
            iterations=20,
            interval_steps=10,
            batch_size=4,
            seed=seed,
            ema_warmup=ema_warmup,
        )
        settings.save(folder)
        log, steps = JsonLines(folder / "intervals.jsonl"), JsonLines(folder / "metrics.jsonl")
        level = 25 + rng.normal(size=(2, 6))
        for interval in range(3):
            shared_db = level + 0.1 * interval + gain_db
            measurements = Measurements(interval, TASKS, shared_db, PHOTOGRAPHS)
            if references:
                single_db = shared_db + rng.normal(0.1, 0.02, (2, 6))
                found = estimate(single_db, shared_db, PHOTOGRAPHS)
                measurements = Measurements(
                    interval, TASKS, shared_db, PHOTOGRAPHS, reference_db=single_db, estimate=found
                )
            record = describe(measurements, 10 * interval)
            log.append(record | ({"quotas": [18, 22], "delivered": [18, 22]} if interval < 2 else {}))
            speed = {"samples_per_second": 40.0, "step_seconds": 0.1, "data_wait": 0.01}
            steps.append({"step": 10 * interval, "loss": 0.1, **speed})
        spec = NetworkSpec("msrresnet", OPTIONS, 4)
        weights = spec.build(seed).state_dict()
        save_checkpoint(folder, State(20, [36, 44]), spec, {MODEL: weights, EMA: weights}, {}, 1)
        return folder

    return make


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text()


def test_one_run_has_its_page_and_figures_beside_it(make_run):
    run = make_run("one")
    assert report([str(run)]) == 0
    page = page_of(run)
    assert {p.stem for p in (run / "report").glob("*.png")} == {"weights", "gaps", "psnr", "quotas", "sheet"}
    assert "Settings that differ" not in page
    for heading in ("Where it ended", "How it got there", "How fast", "What it looks like"):
        assert f"<h2>{heading}</h2>" in page


def test_the_page_holds_everything_it_shows(make_run):
    run = make_run("one")
    report([str(run)])
    page = page_of(run)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 4 + 2 * 2 * 4  # figures; tasks x photographs x (LR, bicubic, run, HR)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    for source in sources:
        assert decode(base64.b64decode(source.split(",", 1)[1]), "picture").size
    assert "http" not in page.replace("http-equiv", "")


def test_the_page_says_how_far_the_images_tell_the_tasks_apart(make_run, tmp_path):
    run = make_run("run")
    assert report([str(run)]) == 0
    last = JsonLines(run / "intervals.jsonl").read()[-1]["estimate"]
    page = unescape(page_of(run))
    assert f"{last['signal_share']:.2f} of the gaps' spread (B) is not the luck of these images." in page
    assert ("these photographs cannot tell the tasks apart" in page) == (not last["tasks_differ"])


def test_several_runs_are_compared(make_run, tmp_path):
    runs = [make_run("base", policy="uniform"), make_run("better", gain_db=0.25)]
    assert report([*map(str, runs)]) == 0
    page = page_of(tmp_path)
    names = {path.stem for path in (tmp_path / "report").glob("*.png")}
    per_run = {f"{kind}-{number}" for kind in ("weights", "gaps", "psnr", "quotas") for number in (1, 2)}
    assert names == {"differences", "runs-mild", "runs-severe", "sheet", *per_run}
    differing = page.split(">Settings that differ</h2>")[1].split("</table>")[0]
    assert re.findall(r"<tr><td>(.*?)</td>", differing) == ["policy"]
    assert (
        page.count("+0.250<br><small>[+0.250, +0.250]</small>") == 4
    )  # both tasks, their mean, the worst: equal on every image
    assert page.count("<option") == 2 * 5  # LR, bicubic, two runs, HR on either side


def test_runs_without_references_or_of_other_images_have_what_can_be_had(make_run, tmp_path):
    runs = [make_run("base", references=False), make_run("other")]
    records = JsonLines(runs[1] / "intervals.jsonl").read()
    lines = [json.dumps({**record, "photographs": list("uvwxyz")}) + "\n" for record in records]
    (runs[1] / "intervals.jsonl").write_text("".join(lines))
    report([*map(str, runs), "--out", str(tmp_path / "page.html")])
    names = {path.stem for path in (tmp_path / "page").glob("*.png")}
    assert names == {
        "runs-mild",
        "runs-severe",
        "weights-2",
        "gaps-2",
        "psnr-1",
        "psnr-2",
        "quotas-1",
        "quotas-2",
        "sheet",
    }
    assert "Without references there are no gaps to judge" in (tmp_path / "page.html").read_text()


def test_a_run_whose_shards_are_gone_has_a_page_without_crops(make_run):
    run = make_run("moved")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub("shards: .*", "shards: /nowhere", text))
    report([str(run)])
    assert "No crops: no shards in /nowhere" in page_of(run)


def test_final_values_are_means_of_the_images_and_the_worst_task(make_run):
    run = read_run(make_run("one"), "one")
    mild, severe, mean, worst = final_psnr(run)
    means = np.array(run.last["shared_db"]).mean(axis=1)
    assert [mild.value, severe.value] == pytest.approx(means.tolist())
    assert (mean.value, worst.value) == (pytest.approx(means.mean()), pytest.approx(means.min()))
    assert all(found.low < found.value < found.high for found in (mild, severe, mean))
    assert all(f.low == f.value == f.high == 0 for f in final_psnr(run, run))


def test_gaps_have_intervals_of_students_t_over_photographs(make_run):
    folder = make_run("one")
    record = read_run(folder, "one").last
    errors = record["estimate"]["errors_db"]
    assert gap_reaches(record) == pytest.approx([4.302653 * error for error in errors])  # three photographs
    assert gap_reaches({"photographs": ["a", "a"], "estimate": {"errors_db": [None, None]}}) == [None, None]
    report([str(folder)])
    assert "2 of 2 gaps have a 95 % interval (Student's t over HR images) without 0" in unescape(page_of(folder))
    assert "With fewer than 20 photographs bootstrap intervals are too narrow" in page_of(folder)


@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_intervals_of_gaps_cover_with_three_photographs(gap):
    """4,000 boundaries: .95 with a standard error of .0035, and five of them to either side; 1.96 errors cover .79."""
    rng, names = np.random.default_rng(3), ["a", "b", "c"]
    values = rng.normal(gap, 1, (4000, 3))
    errors = estimate(values, 0 * values, names).errors_db
    reaches = gap_reaches({"photographs": names, "estimate": {"errors_db": errors}})
    assert (np.abs(values.mean(axis=1) - gap) <= reaches).mean() == pytest.approx(0.95, abs=0.0175)


def test_a_difference_is_drawn_with_its_interval_even_where_that_leaves_it_out(monkeypatch):
    found = [Interval(0.5, 0.1, 0.4)] * 3  # as of the worst of many tasks that are alike
    monkeypatch.setattr(plots, "final_psnr", lambda run, base: found)
    runs = [SimpleNamespace(name=name, tasks=["mild"]) for name in ("base", "other")]
    axes = plots.differences(runs).axes[0]
    for segment in axes.collections[0].get_segments():
        assert segment[:, 1].tolist() == pytest.approx([0.1, 0.4])
    assert axes.lines[-2].get_ydata().tolist() == [0.5] * 3


def test_volumes_and_speed_are_summed_up(make_run):
    run = read_run(make_run("one"), "one")
    ending = tables.ending(run)
    column = ending.head.index("samples")
    assert [line[column] for line in ending.lines] == ["36", "44", "80 in all", ""]
    assert tables.throughput([run]).lines == [["one", "20", "80", "40.0", "100.0", "1.0 %", "2 s"]]


def test_bicubic_and_the_gain_over_it_are_measured_on_the_validation_crops(make_run):
    run = read_run(make_run("one"), "one")
    assert run.bicubic_db == {}  # the run tells of six crops, its shards hold three
    measured = bicubic_psnr(run.settings["shards"], dict.fromkeys(TASKS, 3))
    for task in TASKS:
        rows = Dataset(Path(run.settings["shards"], f"{task}-val"))
        pairs = [rows[number] for number in range(3)]
        large = [cv2.resize(pair.lr, (96, 96), interpolation=cv2.INTER_CUBIC) for pair in pairs]
        y = np.array([65.481, 128.553, 24.966])
        errors = [((a.astype(float) - pair.hr) @ y / 255)[4:-4, 4:-4] for a, pair in zip(large, pairs, strict=True)]
        expected = np.mean([10 * np.log10(255**2 / np.mean(error**2)) for error in errors])
        assert measured[task] == pytest.approx(expected, abs=1e-3)
    found = replace(run, bicubic_db={"mild": final_psnr(run)[0].value - 0.25, "severe": final_psnr(run)[1].value})
    table = tables.ending(found)
    assert [line[table.head.index("gain over bicubic, dB")] for line in table.lines] == [
        "+0.250",
        "0.000",
        "+0.125",
        "",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(-0.0004, "0.000"), (0.0004, "0.000"), (-0.0006, "-0.001"), (0.1, "+0.100")]
)
def test_nothing_is_minus_zero(value, text):
    assert tables.number(value, "+") == text


def test_axes_show_a_least_span_so_that_noise_stays_small(make_run):
    run = read_run(make_run("one"), "one")
    flat = [
        {**record, "estimate": {**record["estimate"], **{key: [0.5, 0.5] for key in ("weights", "low", "high")}}}
        for record in run.boundaries
    ]
    low, high = plots.weights(replace(run, boundaries=flat)).axes[0].get_ylim()
    assert (low <= 0.45, high >= 0.55) == (True, True)
    still = [{**r, "estimate": {**r["estimate"], "gaps_db": [0, 0], "errors_db": [0, 0]}} for r in run.boundaries]
    low, high = plots.gaps(replace(run, boundaries=still)).axes[0].get_ylim()
    assert (low <= -0.05, high >= 0.05) == (True, True)


def test_averaged_weights_that_have_seen_less_than_half_of_the_training_are_marked(make_run):
    folder = make_run("one", ema_warmup=False)
    run = read_run(folder, "one")
    assert half_averaged_step({"ema": 0.999}) == 693  # 0.999**693 = 0.4999
    assert half_averaged_step({"ema": 0.0}) == 1
    assert half_averaged_step({"ema": 0.999, "ema_warmup": True}) == 1
    (span,) = plots.psnr(run).axes[0].patches
    assert span.get_x() + span.get_width() == 20  # the whole run
    report([str(folder)])
    assert "averaged weights have seen less than half of the training: until step 693" in page_of(folder)


def test_frozen_plans_are_one_volume_beside_those_of_the_tasks(make_run):
    folder = make_run("one", policy="tgsr", references=False)
    log = JsonLines(folder / "intervals.jsonl")
    records = log.read()
    log.path.unlink()
    for record in records:
        log.append(record | ({"delivered": [9, 11, 12, 8]} if "delivered" in record else {}))
    run = read_run(folder, "one")
    column = [line[-1] for line in tables.ending(run).lines]
    assert column == ["18", "22", "80 in all", ""]
    texts = [text.get_text() for text in plots.quotas(run).axes[0].texts]
    assert texts == ["9", "9", "11", "11", "20", "20"]


def test_names_are_what_folders_do_not_have_in_common():
    assert names_of([Path("/r/runs/x")]) == ["runs/x"]
    assert names_of([Path("/r/a/seed0"), Path("/r/b/seed0")]) == ["a/seed0", "b/seed0"]
    assert names_of([Path("/r/a"), Path("/r/a/references/mild")]) == ["a", "references/mild"]


def test_names_of_a_run_cannot_break_the_page(make_run):
    run = make_run("<script>alert(1)</script>")
    report([str(run)])
    assert "<script>alert" not in page_of(run)


def test_what_is_no_run_is_refused(make_run, tmp_path, capsys):
    run = make_run("one")
    assert run_command(report, [str(tmp_path)]) == 1
    assert run_command(report, [str(run), str(run)]) == 2
    assert run_command(report, [str(run), "--out", "page.pdf"]) == 2
    assert run_command(report, []) == 2
    assert "is not a run with a finished interval: train one with realsr train" in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install chromium to render the page")
def test_the_page_fits_narrow_and_wide_windows(make_run, tmp_path):
    """No sideways scrolling, every picture decoded, and the slider moves the boundary: asked of the page itself."""
    report([*map(str, (make_run("base"), make_run("better", gain_db=0.25))), "--out", str(tmp_path / "page.html")])
    probe = """<script>addEventListener('load', () => {
      const range = document.querySelector('.slider input'); range.value = 20;
      range.dispatchEvent(new Event('input'));
      const select = document.querySelector('.choice select'); select.value = 'HR';
      select.dispatchEvent(new Event('change'));
      document.body.dataset.probe = JSON.stringify({
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        broken: [...document.images].filter(i => !i.naturalWidth).length, images: document.images.length,
        cut: getComputedStyle(document.querySelector('.stack img.after')).clipPath,
        before: document.querySelector('.stack img.before').alt});
    });</script>"""
    page = (tmp_path / "page.html").read_text().replace("</body>", probe + "</body>")
    (tmp_path / "page.html").write_text(page)
    for width in (360, 1400):
        command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
        command += [f"--window-size={width},900", "--dump-dom", (tmp_path / "page.html").as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        probed = re.search(r'data-probe="([^"]*)"', dom)
        assert probed
        found = json.loads(probed[1].replace("&quot;", '"'))
        assert found["overflow"] <= 0
        assert (found["broken"], found["images"]) == (0, 11 + 2 * 2 * 5)
        assert found["cut"] == "inset(0px 0px 0px 20%)"
        assert found["before"] == "HR"


def test_settings_are_flattened_by_dotted_names(make_run):
    settings = asdict(TrainSettings(network=NetworkSettings("rrdbnet", {"num_feat": 8})))
    flat = tables.flatten(settings)
    assert (flat["network.name"], flat["network.options.num_feat"]) == ("rrdbnet", 8)
