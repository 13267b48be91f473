"""`train.evaluate` and `train.compare` from the command line to their files."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import train.evaluation.systems
from shared.errors import run_command
from shared.images import decode, encode_png
from shared.metrics import psnr_y, ssim_y
from train.compare import main as compare
from train.evaluate import main as evaluate
from train.evaluation.paired import bootstrap_mean, wilcoxon_p
from train.evaluation.testsets import open_testsets

NAMES = [f"photo{i}" for i in range(6)]


def smooth(seed: int, side: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for number, name in enumerate(NAMES):
        hr = smooth(number, 64)
        for kind, image in (("HR", hr), ("LR", cv2.resize(hr, (16, 16), interpolation=cv2.INTER_AREA))):
            (folder / kind).mkdir(exist_ok=True)
            (folder / kind / f"{name}.png").write_bytes(encode_png(image))
    return folder


def table(out: Path) -> list[dict[str, str]]:
    with (out / "images.csv").open() as file:
        return list(csv.DictReader(file))


def test_values_are_those_of_the_pictures_it_keeps(pairs, checkpoint, tmp_path):
    evaluate(["--checkpoint", str(checkpoint), "--testset", f"set={pairs}", "--out", str(tmp_path), "--border", "2"])
    rows = table(tmp_path)
    assert [row["image"] for row in rows] == NAMES
    for row in rows:
        kept, hr = (
            torch.from_numpy(decode(path.read_bytes(), "")).permute(2, 0, 1)[None].double() / 255
            for path in (tmp_path / f"images/set/{row['image']}.png", pairs / f"HR/{row['image']}.png")
        )
        assert float(row["psnr_db"]) == psnr_y(kept, hr, 2).item()
        assert float(row["ssim"]) == ssim_y(kept, hr, 2).item()
    summary = json.loads((tmp_path / "summary.json").read_text())
    (line,) = summary["testsets"]
    assert (summary["border"], summary["y"], line["images"], line["photographs"]) == (2, "float", 6, 6)
    assert line["psnr_db"] == pytest.approx(np.mean([float(row["psnr_db"]) for row in rows]))
    gains = [float(row["psnr_db"]) - float(row["bicubic_db"]) for row in rows]
    assert line["gain_db"] == pytest.approx(np.mean(gains))
    assert line["gain_low_db"] <= line["gain_db"] <= line["gain_high_db"]
    assert f"| set | 6 | {line['psnr_db']:.3f} |" in (tmp_path / "summary.md").read_text()
    assert f"set & 6 & {line['psnr_db']:.3f} &" in (tmp_path / "summary.tex").read_text()


def test_bicubic_is_a_system_and_gains_nothing_over_itself(pairs, tmp_path):
    evaluate(["--checkpoint", "bicubic", "--testset", f"set={pairs}", "--out", str(tmp_path)])
    assert all(row["psnr_db"] == row["bicubic_db"] for row in table(tmp_path))


@pytest.mark.parametrize("num_done", range(len(NAMES)))
def test_an_interrupted_evaluation_measures_only_what_is_missing(pairs, checkpoint, tmp_path, monkeypatch, num_done):
    command = ["--checkpoint", str(checkpoint), "--testset", f"set={pairs}", "--out"]
    evaluate([*command, str(tmp_path / "whole")])
    measured: list[np.ndarray] = []
    original = train.evaluation.systems.upscale

    def upscale(network, lr, *rest):
        if len(measured) == num_done:
            raise KeyboardInterrupt
        measured.append(lr)
        return original(network, lr, *rest)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(train.evaluation.systems, "upscale", upscale)
        assert run_command(evaluate, [*command, str(tmp_path / "resumed")]) == 130
    with (tmp_path / "resumed" / "images.jsonl").open("a") as file:
        file.write('{"number": 5, "testset": "se')  # a crash within a line
    num_done = len(NAMES) + 1
    monkeypatch.setattr(train.evaluation.systems, "upscale", upscale)
    assert evaluate([*command, str(tmp_path / "resumed")]) == 0
    (testset,) = open_testsets([f"set={pairs}"])
    assert len(measured) == len(NAMES)
    assert all(np.array_equal(lr, testset.read(number).lr) for number, lr in enumerate(measured))
    assert (tmp_path / "resumed" / "images.csv").read_bytes() == (tmp_path / "whole" / "images.csv").read_bytes()


def test_nothing_is_mixed_in_one_folder(pairs, checkpoint, tmp_path, capsys):
    command = ["--checkpoint", str(checkpoint), "--testset", f"set={pairs}", "--out", str(tmp_path)]
    evaluate(command)
    before = (tmp_path / "images.csv").read_bytes()
    for change in (["--border", "0"], ["--rounded"], ["--checkpoint", "bicubic"]):
        assert run_command(evaluate, [*command, *change]) == 2
        assert "choose another --out, or --overwrite it" in capsys.readouterr().err
    assert (tmp_path / "images.csv").read_bytes() == before
    evaluate([*command, "--checkpoint", "bicubic", "--overwrite"])
    assert all(row["psnr_db"] == row["bicubic_db"] for row in table(tmp_path))
    evaluate([*command, "--checkpoint", "bicubic", "--testset", f"more={pairs}"])
    assert [row["testset"] for row in table(tmp_path)] == ["set"] * 6 + ["more"] * 6


def test_result_pictures_are_measured_and_missing_ones_named(pairs, tmp_path, capsys):
    results = tmp_path / "ResShift"
    results.mkdir()
    for name in NAMES[:5]:
        (results / f"{name}.png").write_bytes((pairs / "HR" / f"{name}.png").read_bytes())
    command = ["--results", str(results), "--testset", f"set={pairs}", "--out", str(tmp_path / "ev")]
    assert run_command(evaluate, command) == 1
    assert "1 images have no result: set/photo5" in capsys.readouterr().err
    assert [row["psnr_db"] for row in table(tmp_path / "ev")] == ["100.0"] * 5


def test_lr_pictures_alone_give_outputs(pairs, checkpoint, tmp_path):
    command = ["--checkpoint", str(checkpoint), "--testset", f"old={pairs}/LR", "--out", str(tmp_path)]
    assert evaluate(command) == 0
    assert evaluate(command) == 0
    outputs = sorted((tmp_path / "images" / "old").glob("*.png"))
    assert [path.stem for path in outputs] == NAMES
    assert decode(outputs[0].read_bytes(), "").shape == (64, 64, 3)
    assert not (tmp_path / "images.csv").exists()


def test_a_missing_backbone_is_known_before_anything_is_measured(pairs, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nowhere"))
    command = ["--checkpoint", str(checkpoint), "--testset", f"set={pairs}", "--out", str(tmp_path / "ev")]
    assert run_command(evaluate, [*command, "--lpips", "vgg"]) == 2
    assert "nowhere/hub/checkpoints/vgg16-397923af.pth: fetch it from" in capsys.readouterr().err
    assert not (tmp_path / "ev" / "images.jsonl").exists()


@pytest.mark.parametrize(
    "arguments", [[], ["--testset", "{}"], ["--checkpoint", "bicubic", "--testset", "{}", "--border", "-1"]]
)
def test_what_cannot_be_meant_is_refused(arguments, pairs, tmp_path):
    words = [word.replace("{}", str(pairs)) for word in arguments]
    assert run_command(evaluate, [*words, "--out", str(tmp_path / "ev")]) == 2


# ---- comparisons


@pytest.fixture(scope="module")
def evaluations(pairs, tmp_path_factory) -> Path:
    """Bicubic, and the same pictures with a little noise, which are worse on every image."""
    folder = tmp_path_factory.mktemp("evaluations")
    evaluate(["--checkpoint", "bicubic", "--testset", f"set={pairs}", "--out", str(folder / "bicubic")])
    rng = np.random.default_rng(0)
    (folder / "noisy-pictures").mkdir()
    for path in (folder / "bicubic" / "images" / "set").glob("*.png"):
        image = decode(path.read_bytes(), "").astype(int)
        image[20:40, 30:50] += rng.integers(-40, 41, (20, 20, 3))
        (folder / "noisy-pictures" / path.name).write_bytes(encode_png(image.clip(0, 255).astype(np.uint8)))
    noisy = ["--results", str(folder / "noisy-pictures"), "--testset", f"set={pairs}", "--out", str(folder / "noisy")]
    evaluate(noisy)
    return folder


def test_a_comparison_is_paired_by_image(evaluations, tmp_path, pairs):
    folders = [str(evaluations / name) for name in ("bicubic", "noisy")]
    assert compare([*folders, "--out", str(tmp_path), "--testset", f"set={pairs}", "--crop", "24"]) == 0
    found = {d["measure"]: d for d in json.loads((tmp_path / "comparison.json").read_text())}
    differences = [
        float(b["psnr_db"]) - float(a["psnr_db"])
        for a, b in zip(table(evaluations / "bicubic"), table(evaluations / "noisy"), strict=True)
    ]
    psnr = found["psnr_db"]
    assert (psnr["system"], psnr["base"], psnr["images"], psnr["wins"]) == ("noisy", "bicubic", 6, 0)
    assert psnr["mean"] == pytest.approx(np.mean(differences))
    assert psnr["low"] < psnr["mean"] < psnr["high"] < 0
    assert psnr["p"] == pytest.approx(2 / 2**6)  # all six of one sign: the least p there is
    sheet = decode((tmp_path / "sheet.png").read_bytes(), "")
    assert sheet.shape[0] > 6 * 192
    text = (tmp_path / "comparison.md").read_text()
    assert "| noisy - bicubic | set | PSNR-Y | 6 (6) |" in text
    assert (
        "not corrected for their number. With fewer than 20 photographs bootstrap intervals are too narrow.\n" in text
    )


def test_the_sheet_shows_where_the_systems_differ(evaluations):
    from train.evaluation.sheet import most_different

    a, b = (decode((evaluations / e / "images/set/photo0.png").read_bytes(), "") for e in ("bicubic", "noisy"))
    y, x = most_different([a, b], 24)
    assert 10 <= y <= 22
    assert 20 <= x <= 32


def test_evaluations_measured_otherwise_are_not_compared(evaluations, pairs, tmp_path, capsys):
    other = ["--checkpoint", "bicubic", "--testset", f"set={pairs}", "--out", str(tmp_path / "b0"), "--border", "0"]
    evaluate(other)
    assert run_command(compare, [str(evaluations / "noisy"), str(tmp_path / "b0"), "--out", str(tmp_path)]) == 2
    assert "measure them alike" in capsys.readouterr().err
    assert run_command(compare, [str(evaluations / "noisy"), str(tmp_path), "--out", str(tmp_path)]) == 2
    assert run_command(compare, [str(evaluations / "noisy"), "--out", str(tmp_path)]) == 2


def test_an_evaluation_that_is_not_finished_is_not_compared_without_a_word(evaluations, tmp_path, capsys):
    shutil.copytree(evaluations / "noisy", tmp_path / "half")
    lines = (tmp_path / "half/images.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "half/images.jsonl").write_text("".join(lines[:4]))
    command = [str(evaluations / "bicubic"), str(tmp_path / "half"), "--out", str(tmp_path / "out")]
    assert run_command(compare, command) == 1
    assert "an evaluation is not finished (half: 4 of 6 images of set)" in capsys.readouterr().err
    assert run_command(compare, [*command, "--partial"]) == 0
    assert "Not finished: half: 4 of 6 images of set." in (tmp_path / "out/comparison.md").read_text()


def test_pictures_that_changed_under_the_same_name_and_size_are_noticed(pairs, tmp_path, capsys):
    shutil.copytree(pairs, tmp_path / "set")
    command = ["--checkpoint", "bicubic", "--testset", f"set={tmp_path / 'set'}", "--out", str(tmp_path / "out")]
    assert run_command(evaluate, command) == 0
    file = next(path for path in sorted((tmp_path / "set").rglob("*.png")))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert run_command(evaluate, command) == 2
    assert "holds an evaluation with testsets = " in capsys.readouterr().err


def test_images_of_one_photograph_are_one_observation():
    values = np.repeat([0.1, 0.9, -0.4, 0.5, 0.3, -0.2], 4)  # four equal images of each of six photographs
    names = np.repeat(list("abcdef"), 4)
    clustered, apart = bootstrap_mean(values, names), bootstrap_mean(values, np.arange(24).astype(str))
    assert clustered.value == apart.value == values.mean()
    assert clustered.high - clustered.low > 1.6 * (apart.high - apart.low)  # twice, but for the noise of both
    assert wilcoxon_p(np.ones(24), names) == 2 / 2**6
    assert wilcoxon_p(np.zeros(4), "abcd") == 1


def test_the_interval_covers():
    """400 samples of 30 images, mean 0: percentile intervals of 30 cover .935, so 26 misses, s.d. 4.9.

    The bounds are more than 3.7 deviations away: a correct interval fails with p < 2e-4.
    """
    rng = np.random.default_rng(7)
    names = [str(i) for i in range(30)]
    intervals = [bootstrap_mean(rng.normal(size=30), names, (i,)) for i in range(400)]
    assert 8 <= sum(not low <= 0 <= high for _, low, high in intervals) <= 46
