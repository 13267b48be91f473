"""`gen.space`: the printout is a space again, and the picture shows what the plans hold."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

import gen.space
from gen.drawn import NOT_BLURRED, drawn_numbers, kernel_shares
from shared.degradation.plan import Blur, Final, Noise, Plan, Resize
from shared.degradation.presets import SPACES, get_space
from shared.degradation.space_file import read_space
from shared.errors import UsageError
from tests.shared.degradation.option_files import REALESRGAN


@pytest.mark.parametrize("name", SPACES)
def test_the_printout_is_the_space_again(name, capsys, tmp_path):
    assert gen.space.main([name]) == 0
    path = tmp_path / "my.yaml"
    path.write_text(capsys.readouterr().out)
    assert read_space(path) == get_space(name)


def test_an_option_file_is_printed_in_our_dialect(tmp_path, capsys):
    import yaml

    options = tmp_path / "train_realesrgan_x4plus.yml"
    options.write_text(yaml.safe_dump(REALESRGAN))
    assert gen.space.main([str(options)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# Degradation space realesrgan.")
    assert "partition: full\n" in printed
    assert "gaussian_sigma_255: [1.0, 30.0]" in printed


def test_the_picture_has_a_histogram_for_each_number_and_examples(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: figures.append(figure))
    assert gen.space.main(["paper", "--draw", "40", "--out", str(tmp_path / "x.png")]) == 0
    axes = figures[0].axes
    titles = [axis.get_title() for axis in axes]
    assert titles[5] == "Stage 1, JPEG: quality (40 values)"
    assert titles[12:15] == ["HR", "LR of plan 0", "LR of plan 1"]
    sigma = [bar for bar in axes[1].patches if bar.get_height()]
    assert min(bar.get_x() for bar in sigma) >= 1.6
    assert max(bar.get_x() + bar.get_width() for bar in sigma) <= 3.0
    assert axes[13].images[0].get_array().shape == (64, 64, 3)


def test_the_picture_is_of_the_image_that_was_given(tmp_path):
    photo, out = tmp_path / "photo.png", tmp_path / "space.png"
    cv2.imwrite(str(photo), np.full((300, 260, 3), (0, 0, 255), np.uint8))
    assert gen.space.main(["pasd", "--draw", "3", "--hr", str(photo), "--out", str(out)]) == 0
    drawn = cv2.imread(str(out))
    assert (drawn == (0, 0, 255)).all(axis=2).sum() > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["papr"], r"unknown space 'papr': did you mean paper\?"),
        (["paper", "--out", "x.png"], "--out and --hr belong to --draw N"),
        (["paper", "--draw", "-1"], "draw is -1: it must be at least 0"),
        (["paper", "--draw", "1", "--hr", "/no.png"], "hr is '/no.png': no such file"),
        (["paper", "--draw", "1", "--out", "/nowhere/x.png"], "out is '/nowhere/x.png': there is no such folder"),
    ],
)
def test_wrong_usage_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        gen.space.main(options)


def test_an_hr_image_that_is_too_small_or_none_is_refused(tmp_path):
    small, text = tmp_path / "small.png", tmp_path / "text.png"
    cv2.imwrite(str(small), np.zeros((255, 300, 3), np.uint8))
    text.write_text("no picture")
    with pytest.raises(UsageError, match="300 x 255 pixels: both must be at least 256"):
        gen.space.main(["paper", "--draw", "1", "--hr", str(small)])
    with pytest.raises(UsageError, match="which cannot be read"):
        gen.space.main(["paper", "--draw", "1", "--hr", str(text)])


def test_printing_loads_neither_numba_nor_matplotlib():
    heavy = {"numba", "cv2", "matplotlib"}
    code = f"import sys, gen.space; gen.space.main(['paper']); sys.exit(bool({heavy} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_drawn_numbers_are_those_of_the_plans():
    plans = [
        Plan(
            Resize("down", "area", 128, 128), Noise("gaussian", 5.0, False, 0), 30,
            Resize("keep", "area", 64, 64), Noise("poisson", 0.5, True, 0), 40,
            Final("jpeg_resize_sinc", "area"), blur1=blur,
        )
        for blur in (Blur("iso", 7, 1.0, 1.0), Blur("aniso", 7, 2.0, 3.0), Blur("sinc", 7, omega=1.0), None)
    ]  # fmt: skip
    assert kernel_shares(plans, 1)["aniso"] == kernel_shares(plans, 1)[NOT_BLURRED] == 0.25
    assert kernel_shares(plans, 2)[NOT_BLURRED] == 1
    first, second = drawn_numbers(plans, 1, [256] * 4), drawn_numbers(plans, 2, [64] * 4)
    assert [(values, count) for _, values, count in first] == [
        ([1.0, 2.0, 3.0], 2),
        ([0.5] * 4, 4),
        ([5.0] * 4, 4),
        ([], 0),
        ([30] * 4, 4),
    ]
    assert [count for _, _, count in second] == [0, 0, 0, 4, 4]
