"""`--backend gpu` renders with the torch backend: here on torch's CPU device, which gives the same pictures."""

from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import cv2
import numpy as np
import pytest

import gen.backends
import gen.render
import gen.verify
from gen.backends import BACKENDS, degrade
from shared.degradation.gpu_arrays import has_accelerator
from shared.degradation.plan import Plan
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset


@pytest.fixture
def as_if_there_were_a_gpu(monkeypatch):
    monkeypatch.setitem(gen.backends.BACKENDS, "gpu", replace(BACKENDS["gpu"], require=lambda: None, rows=3))


@pytest.mark.skipif(has_accelerator(), reason="there is a GPU")
def test_without_a_gpu_the_command_says_so_before_it_reads_a_picture(capsys):
    with pytest.raises(gen.backends.RunError, match=r"--backend gpu: torch sees no GPU here; use --backend cpu"):
        gen.render.main(["--subspace", "noise", "--backend", "gpu"])


def test_an_unknown_backend_is_refused_with_the_names_there_are():
    with pytest.raises(gen.backends.UsageError, match=r"unknown backend 'tpu': choose one of cpu, gpu"):
        gen.render.main(["--subspace", "noise", "--backend", "tpu"])


@pytest.mark.parametrize("package", ["opencv-python", "opencv-python-headless", "opencv-contrib-python", None])
def test_any_package_of_opencv_will_do(package, monkeypatch):
    def version(name):
        if name.startswith("opencv") and name != package:
            raise PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(gen.backends, "version", version)
    found = gen.backends.versions.__wrapped__("cpu")
    assert found["opencv-python"] == ("1.2.3" if package else cv2.__version__)
    assert found["turbojpeg"] == "1.2.3"


def test_a_dataset_of_the_other_backend_has_another_name_and_is_found_good(
    render, tmp_path, as_if_there_were_a_gpu, capsys
):
    folder = render(tmp_path, "--backend", "gpu", "--count", "7")
    manifest = load_manifest(folder)
    assert manifest.recipe["backend"] == "gpu"
    assert "torch" in manifest.versions
    assert manifest.digest != load_manifest(render(tmp_path / "cpu", "--count", "7")).digest
    assert gen.verify.main([str(folder), "--rerender", "7"]) == 0
    assert "rendered 7 rows again: 7 equal" in capsys.readouterr().out


def test_no_byte_depends_on_how_many_rows_are_rendered_together(render, tmp_path, as_if_there_were_a_gpu, monkeypatch):
    three = render(tmp_path / "three", "--backend", "gpu", "--count", "7")
    monkeypatch.setitem(gen.backends.BACKENDS, "gpu", replace(BACKENDS["gpu"], rows=2))
    two = render(tmp_path / "two", "--backend", "gpu", "--count", "7")
    assert [e.sha256 for e in load_manifest(three).shardlist] == [e.sha256 for e in load_manifest(two).shardlist]


def test_both_backends_draw_the_same_plans_and_crops(render, tmp_path, as_if_there_were_a_gpu):
    ours, theirs = (
        Dataset(render(tmp_path / name, "--backend", name, "--count", "4", "--usm")) for name in ("gpu", "cpu")
    )
    for row in range(4):
        assert replace(ours[row].row, lr_crc32=0) == replace(theirs[row].row, lr_crc32=0)
        assert np.array_equal(ours[row].hr, theirs[row].hr)
        plan = Plan.from_json(ours[row].row.plan)
        assert np.array_equal(ours[row].lr, degrade("gpu", [ours[row].hr], [plan], 4, True)[0])
