"""Parts rendered apart become one dataset, the very bytes of a single render; anything that does not fit is named."""

import json
import os
import re
import shutil

import pytest

import gen.merge
import gen.render
import gen.verify
from shared.errors import RunError, UsageError
from shared.shards.manifest import load_manifest
from tests.gen.conftest import SMALL


@pytest.fixture(scope="module")
def part(hr, tmp_path_factory):
    """part("A:B", *options) renders a part in a folder of its own; look, do not touch."""
    made = {}

    def run(rows, *options):
        if (rows, *options) not in made:
            out = tmp_path_factory.mktemp("part")
            arguments = ["--subspace", "noise", "--hr", str(hr), "--out", str(out), "--rows", rows, *SMALL]
            assert gen.render.main([*arguments, *options]) == 0
            made[rows, *options] = out / "noise"
        return made[rows, *options]

    return run


@pytest.fixture
def own(part, tmp_path):
    """own("A:B") is a copy of a part, to break."""
    return lambda rows: shutil.copytree(part(rows), tmp_path / f"part {rows}")


def merge(out, *parts):
    return gen.merge.main([str(out), *map(str, parts)])


def test_a_part_is_the_shards_of_its_rows(part, rendered, contents):
    manifest, whole = load_manifest(part("4:10")), load_manifest(rendered)
    assert (manifest.first_row, manifest.rows, manifest.digest) == (4, 6, whole.digest)
    assert manifest.shardlist == whole.shardlist[1:]
    assert "a part: rows 4 to 9" in (part("4:10") / "README.md").read_text()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_merged_parts_are_byte_for_byte_one_render(order, part, rendered, contents, tmp_path):
    parts = [part("0:4"), part("4:8"), part("8:10")]
    assert merge(tmp_path / "noise", *(parts[n] for n in order)) == 0
    assert contents(tmp_path / "noise") == contents(rendered)
    assert gen.verify.main([str(tmp_path / "noise")]) == 0


def test_shards_are_linked_where_the_disk_is_the_same(part, tmp_path):
    assert merge(tmp_path / "noise", part("0:4"), part("4:8")) == 0
    for entry in load_manifest(tmp_path / "noise").shardlist:
        assert (tmp_path / "noise" / entry.url).stat().st_nlink > 1


def test_shards_are_copied_where_links_cannot_be(part, contents, tmp_path, monkeypatch):
    def no_link(*_):
        raise OSError(18, "Invalid cross-device link")

    assert merge(tmp_path / "linked", part("0:4"), part("4:8")) == 0
    monkeypatch.setattr(os, "link", no_link)
    assert merge(tmp_path / "copied", part("0:4"), part("4:8")) == 0
    assert contents(tmp_path / "copied") == contents(tmp_path / "linked")
    assert all(path.stat().st_nlink == 1 for path in (tmp_path / "copied").glob("*.tar"))


def test_merging_again_changes_nothing_and_more_parts_extend(part, rendered, contents, tmp_path):
    out = tmp_path / "noise"
    for _ in range(2):
        assert merge(out, part("0:4"), part("4:8")) == 0
        assert load_manifest(out).generation == 1
    assert merge(out, part("0:4"), part("4:8"), part("8:10")) == 0
    assert load_manifest(out).generation == 2
    assert load_manifest(out).shardlist == load_manifest(rendered).shardlist


def test_a_merged_dataset_grows_like_any_other(part, render, tmp_path, capsys):
    assert merge(tmp_path / "noise", part("0:4"), part("4:8")) == 0
    render(tmp_path, "--count", "12")
    assert "1 of 3 shards to render" in capsys.readouterr().out
    assert load_manifest(tmp_path / "noise").rows == 12


def test_a_merge_does_without_the_bookkeeping_of_the_parts(own, rendered, contents, tmp_path):
    parts = own("0:4"), own("4:10")
    for folder in parts:
        shutil.rmtree(folder / ".done")
    assert merge(tmp_path / "noise", *parts) == 0
    assert contents(tmp_path / "noise") == contents(rendered)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("0:4", "8:10"), "rows 4 to 7 are in no part: render them with --rows 4:8"),
        (("4:8",), "rows 0 to 3 are in no part"),
        (("0:4", "4:10", "8:10"), "rows 8 to 9 are in .* and in .*: drop one"),
        (("0:4", "0:4"), "rows 0 to 3 are in .* and in .*: drop one"),
    ],
)
def test_missing_and_doubled_rows_are_named(rows, message, part, tmp_path):
    with pytest.raises(UsageError, match=message):
        merge(tmp_path / "noise", *map(part, rows))
    assert not (tmp_path / "noise").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "7"), r"of two recipes \(seed: 0 -> 7\)"),
        (("--usm", "--patch", "80"), r"of two recipes \(patch: 76 -> 80; usm: False -> True\)"),
        (("--licence", "CC0-1.0"), r"of two recipes \(photographs: "),
    ],
)
def test_a_mixture_of_recipes_is_refused_by_the_names_of_what_differs(options, message, part, tmp_path):
    with pytest.raises(UsageError, match=message):
        merge(tmp_path / "noise", part("0:4"), part("4:8", *options))


def test_the_folder_around_a_part_is_answered_with_the_part(part, tmp_path):
    folder = part("0:4")
    with pytest.raises(UsageError, match=re.escape(f"part is '{folder.parent}': name the dataset in it, {folder}")):
        merge(tmp_path / "noise", folder.parent)


def test_parts_that_name_other_people_for_the_same_pictures_are_refused(part, tmp_path):
    for name in "AB":
        entry = {"pattern": "*", "licence": "CC-BY-4.0", "attribution": name}
        (tmp_path / f"{name}.json").write_text(json.dumps([entry]))
    one, other = (
        part(rows, "--sources", str(tmp_path / f"{name}.json")) for rows, name in (("0:4", "A"), ("4:8", "B"))
    )
    with pytest.raises(UsageError, match=r"attributions in manifest.json"):
        merge(tmp_path / "noise", one, other)
    same = part("4:8", "--sources", str(tmp_path / "A.json"))
    assert merge(tmp_path / "noise", one, same) == 0
    assert "* A (CC-BY-4.0; photographs: 5)" in (tmp_path / "noise" / "README.md").read_text()


def test_a_damaged_shard_is_named_and_not_taken(own, part, tmp_path):
    broken = own("4:8")
    (tar,) = broken.glob("*.tar")
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(data)
    with pytest.raises(RunError, match=f"{tar.name}: not what its manifest says"):
        merge(tmp_path / "noise", part("0:4"), broken)
    assert not (tmp_path / "noise" / tar.name).exists()
    assert not (tmp_path / "noise" / "manifest.json").exists()
    tar.unlink()
    with pytest.raises(RunError, match=f"{tar.name} is missing"):
        merge(tmp_path / "noise", part("0:4"), broken)


def test_a_manifest_that_contradicts_itself_is_refused(own, tmp_path):
    broken = own("4:8")
    path = broken / "manifest.json"
    path.write_text(path.read_text().replace('"first_row": 4', '"first_row": 8'))
    with pytest.raises(RunError, match="does not agree with its own recipe"):
        merge(tmp_path / "noise", broken)


def test_the_result_may_be_neither_a_part_nor_another_dataset(own, part, render, tmp_path):
    first = own("0:4")
    with pytest.raises(UsageError, match="both the result and a part"):
        merge(first, first)
    other = render(tmp_path / "other", "--seed", "7", "--count", "4")
    with pytest.raises(UsageError, match=r"holds a dataset of another recipe \(seed: 7 -> 0\)"):
        merge(other, first)
    larger = render(tmp_path / "larger", "--count", "8")
    with pytest.raises(UsageError, match="holds more rows than the parts"):
        merge(larger, first)


def test_a_part_grows_but_does_not_move(own, hr, tmp_path):
    (tmp_path / "out").mkdir()
    own("4:8").rename(tmp_path / "out" / "noise")
    arguments = ["--subspace", "noise", "--hr", str(hr), "--out", str(tmp_path / "out"), *SMALL]
    assert gen.render.main([*arguments, "--rows", "4:10"]) == 0
    assert load_manifest(tmp_path / "out" / "noise").rows == 6
    with pytest.raises(UsageError, match="holds rows from 4 on, not from 0"):
        gen.render.main([*arguments, "--count", "8"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rows", "2:8"), "A below B and a multiple of the 4 rows of a shard"),
        (("--rows", "8:4"), "rows is '8:4': it must be A:B"),
        (("--rows", "8"), "rows is '8': it must be A:B"),
        (("--rows", "0:4", "--count", "4"), "drop --count"),
    ],
)
def test_rows_that_cannot_be_meant_are_refused(options, message, hr, tmp_path):
    with pytest.raises(UsageError, match=message):
        gen.render.main(["--subspace", "noise", "--hr", str(hr), "--out", str(tmp_path), *SMALL, *options])


def test_no_part_is_a_misuse(command, tmp_path):
    done = command("gen.merge", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "part" in done.stderr
    assert command("gen.merge", str(tmp_path / "out"), str(tmp_path / "none")).stderr.startswith("error: part is")
