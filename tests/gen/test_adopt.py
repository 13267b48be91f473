"""Pairs that were made elsewhere become datasets: from folders, tars and LMDBs, resumed to the same bytes."""

import io
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest

import gen.adopt
import gen.export
import gen.preview
import gen.render
import gen.status
from gen.recipe import Recipe
from gen.specs import ShardSpec
from gen.verify import check_dataset
from shared.errors import RunError, UsageError
from shared.images import decode, encode_png
from shared.shards.format import FORMAT
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset
from tests.gen.conftest import texture

SIDE, SCALE = 32, 4
SMALL = ("--patch", str(SIDE), "--rows-per-shard", "4", "--workers", "1", "--licence", "CC0-1.0")
SIZES = {"a": (32, 32), "b": (64, 96), "c": (80, 68), "d": (32, 32)}
"""Height and width of HR: 1, 6, 4 and 1 cells of 32 pixels."""
NUM_CELLS = 12


def png(image: np.ndarray, level: int = 9) -> bytes:
    """A PNG that is not written as we would write it."""
    return cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()


def pairs() -> dict[str, tuple[bytes, bytes]]:
    """HR and LR by name; LR is a camera's, not what any plan would make of HR."""
    found = {}
    for seed, (name, (height, width)) in enumerate(SIZES.items()):
        hr = texture(seed, height, width)
        small = cv2.resize(hr, (width // SCALE, height // SCALE), interpolation=cv2.INTER_AREA)
        found[name] = png(hr), png(255 - small)
    return found


def members(names: tuple[str, str] = ("gt.png", "lq.png")) -> Iterator[tuple[str, bytes]]:
    for name, images in pairs().items():
        yield from ((f"{name}.{extension}", data) for extension, data in zip(names, images, strict=True))


def tar_of(files: Iterator[tuple[str, bytes]], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def folders(folder: Path, hr: str = "gt/{}.png", lr: str = "lq/{}.png") -> Path:
    files = {hr.format(name): high for name, (high, _) in pairs().items()}
    return write(folder, files | {lr.format(name): low for name, (_, low) in pairs().items()})


def adopt(out: Path, *words: str | Path) -> Path:
    """The whole source becomes the dataset `camera`, unless words say otherwise."""
    assert gen.adopt.main([*map(str, words), "--out", str(out), *SMALL]) == 0
    return out / ("camera-val" if "val" in words else "camera")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def adopted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of all cells of all pairs; look, do not touch."""
    return adopt(tmp_path_factory.mktemp("adopted"), source, "--whole")


# ---- what is in a dataset


def test_all_cells_of_all_pairs_are_rows_and_both_images_show_the_same(adopted: Path) -> None:
    found, rows = pairs(), Dataset(adopted)
    cells = []
    for number in range(len(rows)):
        pair = rows[number]
        name, y, x = pair.row.hr_id.removesuffix(".png"), pair.row.crop_y, pair.row.crop_x
        cells.append((name, y, x))
        hr, lr = (decode(data, name) for data in found[name])
        assert np.array_equal(pair.hr, hr[y : y + SIDE, x : x + SIDE])
        low = slice(y // SCALE, (y + SIDE) // SCALE), slice(x // SCALE, (x + SIDE) // SCALE)
        assert np.array_equal(pair.lr, lr[low])
        row = pair.row
        assert (row.plan, row.space, row.subspace, row.licence) == ("", "adopted", "camera", "CC0-1.0")
    assert cells == [
        (name, SIDE * i, SIDE * j) for name, (h, w) in SIZES.items() for i in range(h // SIDE) for j in range(w // SIDE)
    ]


def test_pairs_of_the_size_of_a_crop_keep_the_bytes_of_their_png(adopted: Path) -> None:
    rows, found = Dataset(adopted), pairs()
    for number, name in ((0, "a"), (NUM_CELLS - 1, "d")):
        stored = rows.shard(number // 4).stored(number % 4)
        assert (stored.hr, stored.lr) == found[name]
        assert stored.hr != encode_png(rows[number].hr)


@pytest.mark.parametrize("depth", [16, 8])
def test_a_png_that_readers_may_take_differently_is_stored_as_any_other(depth: int, tmp_path: Path) -> None:
    image = texture(0, SIDE, SIDE)
    odd = cv2.imencode(".png", image[..., 0].astype(f"u{depth // 8}") * (257 if depth == 16 else 1))[1].tobytes()
    write(tmp_path, {"gt/a.png": odd, "lq/a.png": png(texture(1, 8, 8))})
    stored = Dataset(adopt(tmp_path / "out", tmp_path, "--whole")).shard(0).stored(0)
    assert stored.hr == encode_png(np.repeat(image[..., :1], 3, axis=2))


def test_the_dataset_is_verified_previewed_exported_and_reported_on_as_any_other(
    adopted: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for quick in (False, True):
        report = check_dataset(adopted, quick=quick)
        assert (report.problems, len(report.good)) == ([], NUM_CELLS)
    report = check_dataset(adopted, rerender=3)
    assert report.problems == []
    assert "pairs that were made elsewhere have no plans: nothing was rendered again" in report.notes
    for name in ("sheet.png", "sheet.html"):
        assert gen.preview.main([str(adopted), "--out", str(tmp_path / name)]) == 0
    page = (tmp_path / "sheet.html").read_text()
    assert "made elsewhere: no plan" in page.replace("</b> <span>", ": ")
    assert "what was drawn" not in page
    assert gen.status.main([str(adopted)]) == 0
    assert gen.export.main([str(adopted), "--out", str(tmp_path / "export")]) == 0
    exported = sorted((tmp_path / "export/camera/gt").iterdir())
    assert exported[0].read_bytes() == pairs()["a"][0]
    capsys.readouterr()


def test_verify_notices_a_plan_in_a_row_that_has_none(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ShardSpec.row
    monkeypatch.setattr(ShardSpec, "row", lambda spec, number, crop, plan: row(spec, number, crop, "{}"))
    problems = check_dataset(adopt(tmp_path / "out", source, "--whole")).problems
    assert len(problems) == NUM_CELLS
    assert all("it has a plan, and its recipe says that it was made elsewhere" in problem for problem in problems)


def test_manifest_and_cards_say_where_the_pairs_came_from(adopted: Path) -> None:
    manifest, card = load_manifest(adopted), (adopted / "README.md").read_text()
    assert (manifest.rows, manifest.format, manifest.licence) == (NUM_CELLS, FORMAT, "CC0-1.0")
    assert [image["id"] for image in manifest.photographs] == ["a.png", "b.png", "c.png", "d.png"]
    assert "The pairs were made elsewhere and cut on a grid" in card
    assert "`plan` is empty" in card
    assert (
        "| [camera](camera/README.md) | camera | train | 12 | 32 | 4 | adopted, grid |"
        in (adopted.parent / "README.md").read_text()
    )


def test_a_recipe_with_plans_is_written_as_before() -> None:
    recipe = Recipe("paper", "2x2", "noise", "train", "0" * 64)
    assert "crops" not in recipe.to_dict()
    assert Recipe.from_dict(recipe.to_dict()) == recipe


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


# ---- crops at random places, and growth


def test_random_crops_are_keyed_aligned_and_can_grow(source: Path, tmp_path: Path) -> None:
    few = Dataset(adopt(tmp_path / "few", source, "--whole", "--count", "6"))
    grown = Dataset(adopt(tmp_path / "few", source, "--whole", "--count", "30"))
    at_once = Dataset(adopt(tmp_path / "once", source, "--whole", "--count", "30"))
    assert grown.manifest.generation == 2
    rows = [
        [(r.meta(n).hr_id, r.meta(n).crop_y, r.meta(n).crop_x) for n in range(len(r))] for r in (few, grown, at_once)
    ]
    assert rows[0] == rows[1][:6]
    assert rows[1] == rows[2]
    assert all(y % SCALE == x % SCALE == 0 for _, y, x in rows[1])
    assert {name for name, _, _ in rows[1]} == {"a.png", "b.png", "c.png", "d.png"}
    assert len({*rows[1]}) > 15
    other = adopt(tmp_path / "other", source, "--whole", "--count", "6", "--seed", "1")
    assert load_manifest(other).digest != few.manifest.digest
    found = pairs()
    for number in range(30):
        pair = grown[number]
        lr = decode(found[pair.row.hr_id[0]][1], "lr")
        y, x = pair.row.crop_y // SCALE, pair.row.crop_x // SCALE
        assert np.array_equal(pair.lr, lr[y : y + SIDE // SCALE, x : x + SIDE // SCALE])


def test_an_adoption_that_was_interrupted_is_finished_to_the_same_bytes(
    source: Path, adopted: Path, contents, tmp_path: Path
) -> None:
    """At every point: without the last k shards, without the manifest, with a torn tar."""
    expected = contents(adopted)
    tars = sorted(path.stem for path in adopted.glob("*.tar"))
    for kept in range(len(tars)):
        folder = shutil.copytree(adopted, tmp_path / f"{kept}" / "camera")
        (folder / "manifest.json").unlink()
        (folder / "SHA256SUMS").unlink()
        for stem in tars[kept:]:
            (folder / ".done" / f"{stem}.json").unlink()
        (folder / f"{tars[kept]}.tar").write_bytes(b"torn")
        finished = {stem: (folder / f"{stem}.tar").stat().st_mtime_ns for stem in tars[:kept]}
        adopt(folder.parent, source, "--whole")
        assert contents(folder) == expected
        assert {stem: (folder / f"{stem}.tar").stat().st_mtime_ns for stem in finished} == finished


def test_other_pairs_do_not_enter_a_dataset(source: Path, adopted: Path, tmp_path: Path) -> None:
    shutil.copytree(adopted.parent, tmp_path / "out")
    changed = shutil.copytree(source, tmp_path / "changed")
    (changed / "lq/a.png").write_bytes(png(texture(77, 8, 8)))  # the LR image alone
    with pytest.raises(UsageError, match="holds a dataset of another recipe"):
        adopt(tmp_path / "out", changed, "--whole")


def test_several_processes_make_the_same_bytes(source: Path, adopted: Path, contents, tmp_path: Path) -> None:
    assert gen.adopt.main([str(source), "--whole", "--out", str(tmp_path), *SMALL, "--workers", "2"]) == 0
    assert contents(tmp_path / "camera") == contents(adopted)


# ---- wrong usage


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--subspace", "noise"], "rendered tasks have that name; take another"),
        (["--subspace", "b0n1"], "rendered tasks have that name"),
        (["--subspace", "jpeg3"], "rendered tasks have that name"),
        (["--subspace", "Camera"], "lowercase letters and digits"),
        (["--subspace", "camera-val"], "without -val"),
        (["--lr", "gt"], "hr and lr are both 'gt'"),
        (["--patch", "30"], "a multiple of the scale 4"),
        (["--count", "0"], "count is 0"),
        (["--out", "https://example.org/x"], "read-only"),
        (["--hr", "nothing"], "it holds no folder 'nothing' and no tars"),
    ],
)
def test_wrong_usage_is_answered(source: Path, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        gen.adopt.main([str(source), *words])


def test_render_does_not_replay_what_was_made_elsewhere(adopted: Path) -> None:
    with pytest.raises(UsageError, match="such pairs were made elsewhere"):
        gen.render.main(["--config", str(adopted / "config.yaml")])


def test_no_pair_is_an_error_that_says_why(tmp_path: Path) -> None:
    write(tmp_path, {"gt/a.png": png(texture(0, 32, 32)), "lq/b.png": png(texture(0, 8, 8))})
    with pytest.raises(RunError, match=r"no usable pair .*HR without an LR image: a\.png; skipped as LR without"):
        adopt(tmp_path / "out", tmp_path)
