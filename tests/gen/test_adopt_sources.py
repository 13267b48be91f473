"""Where pairs that were made elsewhere lie, and which of them are taken: folders, tars, commands and LMDBs."""

from pathlib import Path

import fsspec
import pytest

import gen.adopt
from gen.verify import check_dataset
from shared.errors import RunError, UsageError
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset
from tests.gen.camera import NUM_CELLS, adopt, folders, members, pairs, png, tar_of, write
from tests.gen.pictures import texture

# ---- where pairs lie


@pytest.fixture(params=["tar", "tar.gz", "pipe", "url", "lmdb", "tars in a folder", "marks", "deep"])
def other_source(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The same pairs in another place."""
    tar, members_of = tmp_path / "pairs.tar", ["--hr", "gt.png", "--lr", "lq.png"]
    match request.param:
        case "tar" | "tars in a folder":
            tar.write_bytes(tar_of(members()))
            return [str(tar if request.param == "tar" else tmp_path), *members_of]
        case "tar.gz":
            (tmp_path / "pairs.tar.gz").write_bytes(tar_of(members(), "w:gz"))
            return [str(tmp_path / "pairs.tar.gz"), *members_of]
        case "pipe":
            tar.write_bytes(tar_of(members()))
            return [f"pipe:cat {tar}", *members_of]
        case "url":
            with fsspec.open(f"memory://{tmp_path.name}/pairs.tar", "wb") as file:
                file.write(tar_of(members()))
            return [f"memory://{tmp_path.name}/pairs.tar", *members_of]
        case "lmdb":
            lmdb = pytest.importorskip("lmdb", reason="the optional extra lmdb is not installed")
            for number, name in enumerate(("gt.lmdb", "lq.lmdb")):
                with (
                    lmdb.open(str(tmp_path / name), map_size=1 << 20) as environment,
                    environment.begin(write=True) as t,
                ):
                    for key, images in pairs().items():
                        t.put(key.encode(), images[number])
            return [str(tmp_path), "--hr", "gt.lmdb", "--lr", "lq.lmdb"]
        case "marks":
            folders(tmp_path, "all/{}_HR.png", "all/{}_LR4.png")
            return [str(tmp_path / "all"), "--hr", "*_HR.png", "--lr", "*_LR4.png"]
        case _:
            folders(tmp_path, "HR/deep/{}.png", "LR/deep/{}.png")
            return [str(tmp_path), "--hr", "HR", "--lr", "LR"]


def test_pairs_are_the_same_wherever_they_lie(other_source: list[str], adopted: Path, tmp_path: Path) -> None:
    found, expected = Dataset(adopt(tmp_path / "out", *other_source, "--whole")), Dataset(adopted)
    assert len(found) == len(expected)
    for number in range(len(found)):
        mine, theirs = (rows.shard(number // 4).stored(number % 4) for rows in (found, expected))
        assert (mine.hr, mine.lr) == (theirs.hr, theirs.lr)
        assert (mine.row.crop_y, mine.row.crop_x) == (theirs.row.crop_y, theirs.row.crop_x)
    assert check_dataset(tmp_path / "out/camera").problems == []


def test_several_tars_are_joined_and_may_have_equal_names(tmp_path: Path) -> None:
    halves = [list(members())[:4], list(members())[4:]]
    for name, half in zip(("one", "two"), halves, strict=True):
        write(tmp_path / name, {"000.tar": tar_of(iter(half))})
    out = adopt(tmp_path / "out", tmp_path / "{one,two}/000.tar", "--hr", "gt.png", "--lr", "lq.png", "--whole")
    ids = [image["id"] for image in load_manifest(out).photographs]
    assert ids == ["one/000.tar/a.gt.png", "one/000.tar/b.gt.png", "two/000.tar/c.gt.png", "two/000.tar/d.gt.png"]


def test_a_tar_that_is_cut_is_an_error_and_no_dataset(tmp_path: Path) -> None:
    for name, data in (("a.tar", tar_of(members())[:5000]), ("a.tar.gz", tar_of(members(), "w:gz")[:-200])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RunError, match=f"{name} cannot be read to its end"):
            adopt(tmp_path / "out", tmp_path / name, "--hr", "gt.png", "--lr", "lq.png")
    assert not (tmp_path / "out/camera").exists()


def test_a_command_that_fails_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of(members()))
    with pytest.raises(RunError, match="cannot be read to its end"):
        adopt(tmp_path / "out", f"pipe:cat {tmp_path / 'a.tar'}; exit 3", "--hr", "gt.png", "--lr", "lq.png")


def test_a_command_of_the_shell_stands_on_the_command_line_alone(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    config = tmp_path / "config.yaml"
    config.write_text(f"source: ['pipe:touch {mark}']\nhr: gt.png\nlr: lq.png\n")
    with pytest.raises(UsageError, match="never from a file"):
        gen.adopt.main(["--config", str(config), "--out", str(tmp_path / "out")])
    assert not mark.exists()


# ---- which pairs are taken


def test_pairs_that_do_not_fit_are_named_counted_and_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folders(tmp_path)
    write(
        tmp_path,
        {
            "gt/odd.png": png(texture(7, 32, 32)),
            "lq/odd.png": png(texture(7, 8, 9)),
            "gt/small.png": png(texture(8, 28, 32)),
            "lq/small.png": png(texture(8, 7, 8)),
            "gt/broken.png": png(texture(9, 32, 32))[:200],
            "lq/broken.png": png(texture(9, 8, 8)),
            "gt/low.png": png(texture(10, 32, 32)),
            "lq/low.png": b"no image",
            "gt/alone.png": png(texture(11, 32, 32)),
            "lq/single.png": png(texture(11, 8, 8)),
            "gt/again.png": pairs()["a"][0],
            "lq/again.png": pairs()["a"][1],
        },
    )
    manifest = load_manifest(adopt(tmp_path / "out", tmp_path, "--whole"))
    assert manifest.rows == NUM_CELLS
    assert manifest.skipped == {
        "HR not exactly 4 times LR": 1,
        "HR smaller than the patch": 1,
        "HR unreadable": 1,
        "HR without an LR image": 1,
        "LR unreadable": 1,
        "LR without an HR image": 1,
        "duplicate": 1,
    }
    said = capsys.readouterr().out
    assert "skipped as HR not exactly 4 times LR: odd.png" in said
    assert "skipped as HR without an LR image: alone.png" in said


def test_one_scene_in_twenty_is_held_out_and_no_pair_is_in_both_splits(tmp_path: Path) -> None:
    files = {}
    for number in range(40):
        files[f"gt/{number:02}.png"] = png(texture(number, 32, 32))
        files[f"lq/{number:02}.png"] = png(texture(100 + number, 8, 8))
    write(tmp_path, files)
    train, val = (
        {image["id"] for image in load_manifest(adopt(tmp_path / "out", tmp_path, "--split", split)).photographs}
        for split in ("train", "val")
    )
    assert train | val == {f"{number:02}.png" for number in range(40)}
    assert not train & val
    assert 1 <= len(val) <= 8


def test_no_pair_is_an_error_that_says_why(tmp_path: Path) -> None:
    write(tmp_path, {"gt/a.png": png(texture(0, 32, 32)), "lq/b.png": png(texture(0, 8, 8))})
    with pytest.raises(RunError, match=r"no usable pair .*HR without an LR image: a\.png; skipped as LR without"):
        adopt(tmp_path / "out", tmp_path)
