"""Systems side by side: what is at hand is measured, what is not is listed with its reason."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from scripts.reproduce.lab import Lab
from scripts.reproduce.systems import DEFAULT, Evaluated, SystemSettings, evaluate_systems, read_systems
from scripts.reproduce.systems_table import differences_markdown, differences_to, means, means_markdown
from shared.errors import UsageError
from shared.images import decode, encode_png
from train.evaluation.systems import bicubic
from train.evaluation.testsets import Image


@pytest.fixture
def measured(pairs: Path, tmp_path: Path) -> list[Evaluated]:
    """Bicubic, pictures of which one is missing, a file that is not there, one that is no checkpoint."""
    (tmp_path / "pictures").mkdir()
    for name in ("a", "b"):
        lr = decode((pairs / "LR" / f"{name}.png").read_bytes(), name)
        large = cv2.GaussianBlur(bicubic(Image(name, lr, None), 4), (0, 0), 3)
        (tmp_path / "pictures" / f"{name}_out.png").write_bytes(encode_png(large))
    (tmp_path / "broken.pth").write_text("no weights")
    (tmp_path / "systems.yaml").write_text(
        f"bicubic: {{checkpoint: bicubic}}\nblurred: {{results: {tmp_path}/pictures}}\n"
        f"absent: {{checkpoint: {tmp_path}/absent.pth}}\nbroken: {{checkpoint: {tmp_path}/broken.pth}}\n"
    )
    lab = Lab(SystemSettings(out=str(tmp_path / "out")), "table2")
    return evaluate_systems(lab, read_systems(tmp_path / "systems.yaml"), {"set": str(pairs)})


def test_every_system_is_measured_or_listed_with_the_reason(measured, tmp_path):
    assert [(system.name, len(system.results)) for system in measured] == [
        ("bicubic", 3),
        ("blurred", 2),
        ("absent", 0),
        ("broken", 0),
    ]
    reasons = {system.name: system.missing for system in measured}
    assert reasons["bicubic"] == ""
    assert reasons["blurred"] == "1 images have no result picture: set/c"
    assert reasons["absent"] == f"no {tmp_path}/absent.pth"
    assert "broken.pth is not a weights file" in reasons["broken"]


def test_the_table_says_over_how_many_images_a_mean_is(measured):
    lines = means_markdown("psnr_db", measured, {"set": 3}).splitlines()
    table = means(measured)
    assert f"| bicubic | {table['bicubic', 'psnr_db']['set']:.3f} |" in lines
    assert f"| blurred | {table['blurred', 'psnr_db']['set']:.3f} (2 of 3) |" in lines
    assert "| absent | missing |" in lines


def test_differences_are_paired_by_image(measured):
    found = {d.measure: d for d in differences_to("bicubic", measured)}
    values = [
        {result.image: result.values["psnr_db"] for result in system.results if result.image != "c"}
        for system in measured[:2]
    ]
    expected = np.mean([values[1][name] - values[0][name] for name in ("a", "b")])
    assert (found["psnr_db"].system, found["psnr_db"].images) == ("blurred", 2)
    assert found["psnr_db"].mean == pytest.approx(expected)
    assert f"| blurred | {expected:+.3f} [" in differences_markdown("bicubic", [*found.values()], {"set": 3})


def test_the_file_of_the_papers_systems_names_all_of_them():
    names = [entry.name for entry in read_systems(DEFAULT)]
    assert {"DASR", "RealESRGAN", "RealSwinIR", "MM-RealSR", "ResShift", "SinSR", "TSD-SR"} < set(names)
    assert {"AdcSR", "TGSR", "RealSRGAN", "RealHAT", "ours"} < set(names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: {checkpoint: a, results: b}", "must be one of checkpoint: ..., results: ..., arm: ..."),
        ("x: file.pth", "system 'x': 'file.pth' must be one of"),
        ("x: {arm: best}", "unknown arm 'best', choose one of uniform"),
        ("a/b: {arm: uniform}", "the name 'a/b' must not be empty or hold a slash"),
        ("- x", "must map names of systems"),
        ("{", "is not YAML"),
    ],
)
def test_a_file_of_systems_that_cannot_be_meant_is_refused(text, words, tmp_path):
    (tmp_path / "systems.yaml").write_text(text)
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        read_systems(tmp_path / "systems.yaml")


def test_a_file_of_systems_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml': No such file"):
        read_systems(tmp_path / "none.yaml")
