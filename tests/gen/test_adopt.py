"""Datasets of pairs that were made elsewhere: what is in them, resumed and grown to the same bytes."""

import shutil
from pathlib import Path

import cv2
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
from shared.errors import UsageError
from shared.images import decode, encode_png
from shared.shards.format import FORMAT
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset
from tests.gen.camera import NUM_CELLS, SCALE, SIDE, SIZES, SMALL, adopt, pairs, png, write
from tests.gen.pictures import texture

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
    camera_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ShardSpec.row
    monkeypatch.setattr(ShardSpec, "row", lambda spec, number, crop, plan: row(spec, number, crop, "{}"))
    problems = check_dataset(adopt(tmp_path / "out", camera_pairs, "--whole")).problems
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


# ---- crops at random places, and growth


def test_random_crops_are_keyed_aligned_and_can_grow(camera_pairs: Path, tmp_path: Path) -> None:
    few = Dataset(adopt(tmp_path / "few", camera_pairs, "--whole", "--count", "6"))
    grown = Dataset(adopt(tmp_path / "few", camera_pairs, "--whole", "--count", "30"))
    at_once = Dataset(adopt(tmp_path / "once", camera_pairs, "--whole", "--count", "30"))
    assert grown.manifest.generation == 2
    rows = [
        [(r.meta(n).hr_id, r.meta(n).crop_y, r.meta(n).crop_x) for n in range(len(r))] for r in (few, grown, at_once)
    ]
    assert rows[0] == rows[1][:6]
    assert rows[1] == rows[2]
    assert all(y % SCALE == x % SCALE == 0 for _, y, x in rows[1])
    assert {name for name, _, _ in rows[1]} == {"a.png", "b.png", "c.png", "d.png"}
    assert len({*rows[1]}) > 15
    other = adopt(tmp_path / "other", camera_pairs, "--whole", "--count", "6", "--seed", "1")
    assert load_manifest(other).digest != few.manifest.digest
    found = pairs()
    for number in range(30):
        pair = grown[number]
        lr = decode(found[pair.row.hr_id[0]][1], "lr")
        y, x = pair.row.crop_y // SCALE, pair.row.crop_x // SCALE
        assert np.array_equal(pair.lr, lr[y : y + SIDE // SCALE, x : x + SIDE // SCALE])


def test_an_adoption_that_was_interrupted_is_finished_to_the_same_bytes(
    camera_pairs: Path, adopted: Path, contents, tmp_path: Path
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
        adopt(folder.parent, camera_pairs, "--whole")
        assert contents(folder) == expected
        assert {stem: (folder / f"{stem}.tar").stat().st_mtime_ns for stem in finished} == finished


def test_other_pairs_do_not_enter_a_dataset(camera_pairs: Path, adopted: Path, tmp_path: Path) -> None:
    shutil.copytree(adopted.parent, tmp_path / "out")
    changed = shutil.copytree(camera_pairs, tmp_path / "changed")
    (changed / "lq/a.png").write_bytes(png(texture(77, 8, 8)))  # the LR image alone
    with pytest.raises(UsageError, match="holds a dataset of another recipe"):
        adopt(tmp_path / "out", changed, "--whole")


def test_several_processes_make_the_same_bytes(camera_pairs: Path, adopted: Path, contents, tmp_path: Path) -> None:
    assert gen.adopt.main([str(camera_pairs), "--whole", "--out", str(tmp_path), *SMALL, "--workers", "2"]) == 0
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
def test_wrong_usage_is_answered(camera_pairs: Path, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        gen.adopt.main([str(camera_pairs), *words])


def test_render_does_not_replay_what_was_made_elsewhere(adopted: Path) -> None:
    with pytest.raises(UsageError, match="such pairs were made elsewhere"):
        gen.render.main(["--config", str(adopted / "config.yaml")])
