"""The paper's tables: rows and columns in the printed order, what is at hand measured, what is not named."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from scripts.reproduce import tables
from scripts.reproduce.comparison import Arm
from scripts.reproduce.lab import Lab
from scripts.reproduce.paper import printed_table
from scripts.reproduce.settings import SYSTEMS, TableSettings
from scripts.reproduce.systems import Evaluated, Released, evaluate_released, read_systems
from scripts.reproduce.tables import Row, against_plain, beside, missing, rows_of
from shared.errors import UsageError
from shared.images import decode, encode_png
from train.evaluation.summaries import ImageResult
from train.evaluation.systems import bicubic

NIKON, CANON = "RealSR-Nikon", "RealSR-Canon"


def lab(name: str, **settings: object) -> Lab:
    return Lab(TableSettings(**settings), name)


def measured(name: str, *runs: dict[str, float], testset: str = NIKON, missing: str = "") -> Evaluated:
    """A system with PSNR by image, a dict for each seed."""
    results = tuple([ImageResult(testset, i, f"photo {i}", {"psnr_db": v}) for i, v in run.items()] for run in runs)
    return Evaluated(name, tuple(Path(name) for _ in runs), results, missing)


# ---- rows


def test_the_printed_rows_come_first_in_their_order_and_ours_is_an_arm():
    rows = rows_of(lab("table1"), "table1")
    assert [row.label for row in rows][:10] == [*printed_table("table1").rows]
    assert [row.label for row in rows][10:] == ["bicubic", "plain"]
    assert isinstance(rows[1].source, Released)
    assert rows[9].source == Arm("rebalance", "rebalance")
    assert all((row.printed is None) == (number > 9) for number, row in enumerate(rows))


def test_a_network_trained_elsewhere_can_stand_in_the_row_of_an_arm(tmp_path):
    (tmp_path / "mine.yaml").write_text("Ours: {checkpoint: runs/paper}\nplain: {checkpoint: runs/plain}\n")
    rows = {row.label: row.source for row in rows_of(lab("table1", systems=str(tmp_path / "mine.yaml")), "table1")}
    assert rows["Ours"] == Released("Ours", "checkpoint", "runs/paper")
    assert rows["plain"] == Released("plain", "checkpoint", "runs/plain")
    assert rows["DASR"] == rows["bicubic"] == "the file of systems has none"


def test_table_3_has_each_network_released_with_ours_and_plain():
    rows = {row.label: row.source for row in rows_of(lab("table3"), "table3")}
    assert isinstance(rows["RealESRGAN"], Released)
    assert rows["RealESRGAN+ours"] == Arm("rrdbnet-rebalance", "rebalance", network="rrdbnet")
    assert rows["RealESRGAN plain"] == Arm("rrdbnet-uniform", "uniform", network="rrdbnet")
    assert rows["RealSRGAN+ours"] == Arm("rebalance", "rebalance")  # the network of the scale
    assert rows["RealHAT+ours"] == "--networks hat trains it"


def test_table_5_cuts_the_space_into_2_3_and_5_tasks():
    rows = rows_of(lab("table5"), "table5")
    assert [row.source.cut for row in rows] == ["1x2", "1x3", "1x5", "2x2", "2x2", "2x2"]


def test_further_policies_are_rows_beyond_the_paper():
    rows = rows_of(lab("table4", policies=["hybrid"]), "table4")
    assert [row.label for row in rows][:4] == ["RLW", "DWA", "GLS", "Ours"]
    assert [row.label for row in rows][-1] == "hybrid"
    with pytest.raises(UsageError, match="unknown policy 'best'"):
        rows_of(lab("table4", policies=["best"]), "table4")
    with pytest.raises(UsageError, match="unknown network 'vdsr'"):
        rows_of(lab("table3", networks=["vdsr"]), "table3")


# ---- the page


def test_each_cell_has_ours_beside_the_papers_and_a_rule_ends_the_paper():
    table = printed_table("table4")
    rows = [Row("Ours", "", table.rows["Ours"]), Row("plain", "")]
    found = {"Ours": measured("Ours", {"a": 26.0, "b": 28.0}, {"a": 26.2, "b": 28.2}), "plain": measured("plain")}
    lines = beside(table, rows, found, {NIKON: 2}).splitlines()
    heads = [f"RealSRset-{camera} {metric}" for camera in ("Nikon", "Canon") for metric in ("PSNR", "LPIPS")]
    assert lines[0] == f"|  | Diff | Dyna | {' | '.join(heads)} |"
    assert lines[2] == (
        "| Ours | yes | yes | 27.10 (0.14) / 26.16 | not given / 0.3763 | not given / 26.54 | not given / 0.3580 |"
    )
    assert lines[3].startswith("| *beyond the paper* |")
    assert lines[4] == "| plain |  |  | not given | not given | not given | not given |"


def test_a_mean_over_some_of_the_images_says_so():
    table = printed_table("table5")
    row = Row("re-weighting, 4 tasks", "", table.rows["re-weighting, 4 tasks"])
    text = beside(table, [row], {row.label: measured(row.label, {"a": 25.0})}, {NIKON: 3})
    assert "| 25.00, 1 of 3 / 25.83 |" in text


def test_differences_to_plain_are_paired_by_image_and_by_seed():
    """By hand: +0.1 and +0.3 over seeds; 95 % by Student's t with one degree of freedom is 0.2 -+ 12.706 x 0.1."""
    plain = measured("plain", {"a": 20.0, "b": 30.0}, {"a": 20.0, "b": 30.0})
    ours = measured("Ours", {"b": 30.1, "a": 20.1}, {"a": 20.3, "b": 30.3})
    released = measured("TGSR", {"a": 21.0})
    text = against_plain({"Ours": ours, "TGSR": released, "plain": plain}, [NIKON, CANON])
    assert "| Ours - plain | +0.200 [+0.200, +0.200; -1.071, +1.471] | not given |" in text
    assert "| TGSR - plain | +1.000 [+1.000, +1.000] | not given |" in text


def test_every_network_of_table_3_is_compared_with_its_own_plain():
    found = {name: measured(name, {"a": value}) for name, value in (("X+ours", 21.0), ("X plain", 20.5))}
    assert "| X+ours - X plain | +0.500 [" in against_plain(found, [NIKON])


def test_what_is_not_given_is_listed_with_what_to_supply():
    table = printed_table("table2")
    rows = [Row("DASR", "", table.rows["DASR"])]
    text = missing(table, rows, {"DASR": measured("DASR", missing="there is no results/DASR")}, {"DRealSR": 93})
    assert "* DASR: there is no results/DASR" in text
    assert "* test set RealSRset-Nikon: give --testset RealSR=RealSR_V3" in text
    assert "* LPIPS: " in text
    assert "DRealSR:" not in text


# ---- released systems


def test_released_systems_are_measured_or_listed_with_the_reason(pairs, tmp_path):
    """Bicubic, images of which one is missing, a file that is not there, one that is no checkpoint."""
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        lr = decode((pairs / "LR" / f"{name}.png").read_bytes(), name)
        large = cv2.GaussianBlur(bicubic(lr, 4), (0, 0), 3)
        (tmp_path / "images" / f"{name}_out.png").write_bytes(encode_png(large))
    (tmp_path / "broken.pth").write_text("no weights")
    places = {"bicubic": ("checkpoint", "bicubic"), "blurred": ("results", "images")}
    places |= {"absent": ("checkpoint", "absent.pth"), "broken": ("checkpoint", "broken.pth")}
    here = lab("table1", out=str(tmp_path / "out"), lpips=["none"])
    systems = [Released(n, k, p if p == "bicubic" else str(tmp_path / p)) for n, (k, p) in places.items()]
    found = {system.name: evaluate_released(here, system, {"set": str(pairs)}) for system in systems}
    assert {name: len(each.values("set", "psnr_db")) for name, each in found.items()} == {
        "bicubic": 3,
        "blurred": 2,
        "absent": 0,
        "broken": 0,
    }
    assert found["bicubic"].missing == ""
    assert found["blurred"].missing == "1 images have no result: set/c"
    assert found["absent"].missing.startswith(f"there is no {tmp_path}/absent.pth")
    assert "broken.pth is not a weights file" in found["broken"].missing
    blurred, base = (found[name].values("set", "psnr_db") for name in ("blurred", "bicubic"))
    expected = np.mean([blurred[name][0] - base[name][0] for name in ("a", "b")])
    text = against_plain({"blurred": found["blurred"], "plain": replace(found["bicubic"], name="plain")}, ["set"])
    assert f"| blurred - plain | {expected:+.3f} [" in text


def test_the_file_of_systems_names_all_released_ones_of_the_paper():
    printed = {system for name in ("table1", "table2", "table3") for system in printed_table(name).rows}
    assert {name for name in printed if "ours" not in name.lower()} < {*read_systems(SYSTEMS)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: {checkpoint: a, results: b}", "must be one of checkpoint: ..., results: ..."),
        ("x: file.pth", "system 'x': 'file.pth' must be one of"),
        ("a/b: {results: c}", "the name 'a/b' must not be empty or hold a slash"),
        ("- x", "must map names of systems"),
        ("{", "is not YAML"),
    ],
)
def test_a_file_of_systems_that_cannot_be_meant_is_refused(text, words, tmp_path):
    (tmp_path / "systems.yaml").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_systems(tmp_path / "systems.yaml")


def test_a_file_of_systems_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml': No such file"):
        read_systems(tmp_path / "none.yaml")


def test_lpips_is_measured_where_its_files_are(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    assert lab("table1").lpips() == []
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg16-397923af.pth").touch()
    assert lab("table1").lpips() == ["vgg"]
    assert lab("table1", lpips=["none"]).lpips() == []
    assert any("vgg16" in note for note in tables.ours(lab("table1"), printed_table("table1")))
