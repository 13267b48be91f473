"""`gen.verify` finds every kind of damage, names file and row, and says what is still usable."""

import hashlib
import io
import json
import shutil
import tarfile
import zlib
from contextlib import suppress

import numpy as np
import pytest

import gen.shardcheck
import gen.verify
from gen.verify import check_dataset
from shared.codecs import CODECS
from shared.errors import RunError, run_command
from shared.format import Member, Row, write_index
from shared.images import encode_png
from shared.manifest import load_manifest
from shared.shardfile import Dataset


def tars(folder):
    return [folder / entry.url for entry in load_manifest(folder).shardlist]


def sums_of(folder):
    return {
        name: digest for digest, name in (line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines())
    }


def edit_manifest(folder, change):
    """Change the manifest, and make SHA256SUMS agree."""
    path = folder / "manifest.json"
    values = json.loads(path.read_bytes())
    change(values)
    path.write_text(json.dumps(values))
    refresh_sums(folder)


def refresh_sums(folder):
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in sums_of(folder)]
    (folder / "SHA256SUMS").write_text("".join(lines))


def renew_checksums(members):
    """Make the json of whole rows agree with the bytes of their pictures."""
    for hr, record, lr in zip(members[::3], members[1::3], members[2::3], strict=False):
        with suppress(ValueError):
            values = json.loads(record[1])
            values |= {"hr_crc32": zlib.crc32(hr[1]), "lr_crc32": zlib.crc32(lr[1])}
            record[1] = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def rewrite(folder, number, change, checksums=False):
    """Write shard `number` anew with `change(members)`, members a list of [name, bytes]; all hashes agree then."""
    path = tars(folder)[number]
    with tarfile.open(path) as tar:
        members = [[header.name, tar.extractfile(header).read()] for header in tar]
    change(members)
    if checksums:
        renew_checksums(members)
    index, path = [], path
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            index.append(Member(name.partition(".")[2], tar.offset + 512, len(data), name))
            tar.addfile(header, io.BytesIO(data))
    path.with_suffix(".idx").write_bytes(write_index(index))
    data = path.read_bytes()

    def update(values):
        values["shardlist"][number] |= {
            "filesize": len(data),
            "md5sum": hashlib.md5(data).hexdigest(),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    edit_manifest(folder, update)


def with_json(row, /, **changes):
    """A change of one row's json, for `rewrite`."""

    def change(members):
        members[3 * row + 1][1] = json.dumps(json.loads(members[3 * row + 1][1]) | changes).encode()

    return change


def with_plan(row, edit):
    """A change of one row's plan, for `rewrite`."""

    def change(members):
        plan = json.loads(json.loads(members[3 * row + 1][1])["plan"])
        edit(plan)
        with_json(row, plan=json.dumps(plan))(members)

    return change


def problem_of(folder, usable=9):
    """The one problem of a dataset, and how many rows are usable in spite of it."""
    report = check_dataset(folder)
    assert len(report.problems) == 1, report.problems
    assert len(report.good) == usable
    return report.problems[0]


def test_a_whole_dataset_passes(rendered, capsys):
    assert gen.verify.main([str(rendered), "--rerender", "4"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{rendered}: 10 rows in 3 shards, recipe {load_manifest(rendered).digest}",
        "  note: rendered 4 rows again: 4 equal (same library versions and kind of machine)",
        "  10 of 10 rows are usable",
    ]


@pytest.mark.parametrize(
    "options", [("--usm",), ("--scale", "2"), ("--split", "val"), ("--space", "realesrgan", "--subspace", "full")]
)
def test_every_kind_of_dataset_passes(options, render, tmp_path):
    report = check_dataset(render(tmp_path, *options), rerender=10)
    assert (report.problems, len(report.good)) == ([], 10)
    assert report.notes == ["rendered 10 rows again: 10 equal (same library versions and kind of machine)"]


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("hr.png", "hr.png does not have the checksum"),
        ("lr.png", "lr.png does not have the checksum"),
        ("json", "json"),
    ],
)
def test_a_flipped_bit_is_found_with_its_row(member, words, dataset):
    tar = tars(dataset)[1]
    with tarfile.open(tar) as archive:
        header = archive.getmember(f"noise-000001-00002.{member}")
    data = bytearray(tar.read_bytes())
    data[header.offset_data + (2 if member == "json" else header.size // 2)] ^= 4
    tar.write_bytes(data)
    report = check_dataset(dataset)
    assert len(report.good) == 9
    hashes, row = report.problems[:2], report.problems[2]
    assert [text.split(" is ")[0] for text in hashes] == [f"{tar.name}: sha256", f"{tar.name}: md5sum"]
    assert row.startswith(f"{tar.name}: row 6 (noise-000001-00002): ")
    assert words in row


def test_a_flipped_bit_that_hurts_no_row_is_found(dataset):
    tar = tars(dataset)[0]
    data = bytearray(tar.read_bytes())
    data[-1] ^= 1
    tar.write_bytes(data)
    report = check_dataset(dataset)
    assert len(report.good) == 10
    assert [text.split(" is ")[0] for text in report.problems] == [f"{tar.name}: sha256", f"{tar.name}: md5sum"]


@pytest.mark.parametrize("where", ["inside a member", "between members"])
def test_a_truncated_tar_is_found_and_its_first_rows_are_usable(where, dataset):
    tar = tars(dataset)[0]
    with tarfile.open(tar) as archive:
        headers = archive.getmembers()
    tar.write_bytes(tar.read_bytes()[: headers[6].offset + (700 if where == "inside a member" else 0)])
    report = check_dataset(dataset)
    assert len(report.good) == 8
    text = "\n".join(report.problems)
    assert f"{tar.name}: filesize is " in text
    assert f"{tar.name}: row 2 (noise-000000-00002): its members are " in text
    assert f"{tar.name}: row 3 (noise-000000-00003): its members are missing" in text


def test_a_missing_tar_costs_its_rows_alone(dataset):
    tar = tars(dataset)[0]
    tar.unlink()
    assert problem_of(dataset, usable=6) == f"{tar.name}: is missing, and 4 rows with it"


def test_a_missing_index_is_found(dataset):
    tars(dataset)[0].with_suffix(".idx").unlink()
    problems = check_dataset(dataset).problems
    name = tars(dataset)[0].with_suffix(".idx").name
    assert problems == [f"{name}: is missing", f"SHA256SUMS: {name} has another hash, or is missing"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace(" 512 ", " 1024 ", 1), "overlaps its neighbour"),
        (lambda text: text.replace("00003.lr.png", "00002.lr.png"), "says noise-000000-00002.lr.png"),
        (lambda text: text.replace("v1.2 4", "v1.2 5"), "index header"),
        (lambda text: text.rpartition("hr.png")[0].rpartition("\n")[0].replace("v1.2 4", "v1.2 3"), "no more members"),
        (lambda text: text.replace("\n", " ", 2).replace(" ", "\n", 2), "index"),
        (lambda text: text.replace(".lr.png hr.png", ".lr.png\nhr.png"), "index"),
        (lambda text: "", "index header"),
    ],
)  # fmt: skip
def test_a_wrong_index_is_found(change, words, dataset):
    index = tars(dataset)[0].with_suffix(".idx")
    text = index.read_text()
    changed = change(text) if change(text) != text else text.replace("\n", "\n\n", 1)
    index.write_text(changed)
    refresh_sums(dataset)
    problem = problem_of(dataset, usable=10)
    assert problem.startswith(f"{index.name}: ")
    assert words in problem


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"row": "6"}, "json key 'row' is '6': it must be int"),
        ({"seed": True}, "json key 'seed' is True: it must be int"),
        ({"licence": None}, "json key 'licence' is None: it must be str"),
        ({"extra": 1}, "json key 'extra' is not in the format"),
        ({"row": 7}, "json key 'row' is 7, expected 6"),
        ({"subspace": "mild"}, "json key 'subspace' is 'mild', expected 'noise'"),
        ({"seed": 1}, "json key 'seed' is 1, expected 0"),
        ({"patch": 80}, "noise-000001-00002.hr.png is (76, 76) pixels: the row says 80 x 80"),
        ({"patch": 0}, "patch is 0, scale 4"),
        ({"scale": 0}, "patch is 76, scale 0"),
        ({"scale": 2}, "noise-000001-00002.lr.png is (19, 19) pixels: the row says 38 x 38"),
        ({"crop_y": 30000}, "lies outside the photograph"),
        ({"crop_x": -1}, "lies outside the photograph"),
        ({"hr_id": "../../etc/passwd"}, "its photograph '../../etc/passwd' is not the one in the manifest"),
        ({"format": "realsr-pairs-v9"}, "format is 'realsr-pairs-v9': this program reads 'realsr-pairs-v2'"),
        ({"plan": "{}"}, "its plan cannot be read"),
        ({"plan": "[" * 100_000}, "its plan cannot be read"),
    ],
)
def test_a_row_with_a_wrong_json_is_named(changes, words, dataset):
    rewrite(dataset, 1, with_json(2, **changes))
    problem = problem_of(dataset)
    assert problem.startswith(f"{tars(dataset)[1].name}: row 6 (noise-000001-00002): ")
    assert words in problem


@pytest.mark.parametrize(
    ("edit", "names"),
    [
        (lambda plan: plan.update(blur1={"family": "iso", "size": 7, "sigma_x": 2.4, "sigma_y": 2.4}), "blur1.sigma_x"),
        (lambda plan: plan["noise1"].update(kind="poisson", level=0.39), "noise1.level"),
        (lambda plan: plan.update(jpeg2=29), "jpeg2"),
        (lambda plan: plan.update(jpeg1=60.0), "jpeg1"),
        (lambda plan: plan["resize1"].update(height=10_000_000), "resize1.height"),
        (lambda plan: plan["resize2"].update(width=0), "resize2.width"),
        (lambda plan: plan["final"].update(sinc={"size": 23, "omega": 9.0}), "final.sinc.size, final.sinc.omega"),
        (lambda plan: plan["noise2"].update(seed=-1), "noise2.seed"),
    ],
)  # fmt: skip
def test_a_plan_outside_its_subspace_is_named(edit, names, dataset):
    rewrite(dataset, 0, with_plan(1, edit))
    problem = problem_of(dataset)
    assert problem.endswith(f"row 1 (noise-000000-00001): its plan lies outside subspace noise: {names}")


def test_members_out_of_place_are_found(dataset):
    def swap_rows(members):
        members[0:3], members[3:6] = members[3:6], members[0:3]

    rewrite(dataset, 0, swap_rows)
    assert "row 1 (noise-000000-00001): its members are not side by side in the order of rows" in problem_of(dataset)


def test_a_doubled_key_is_found(dataset):
    rewrite(dataset, 0, lambda members: members.extend([list(member) for member in members[0:3]]))
    report = check_dataset(dataset)
    assert any("row 0 (noise-000000-00000): its members are hr.png, json, lr.png, hr.png" in p for p in report.problems)
    assert len(report.good) == 9


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "extra.txt"])
def test_foreign_members_are_named_and_nothing_is_unpacked(name, dataset):
    rewrite(dataset, 0, lambda members: members.append([name, b"evil"]))
    problems = check_dataset(dataset).problems
    assert any(problem.endswith("which is none of its rows") for problem in problems)
    assert not (dataset.parent / "evil.png").exists()


def test_a_link_in_a_tar_is_refused(dataset):
    tar = tars(dataset)[0]
    with tarfile.open(tar, "a") as archive:
        header = tarfile.TarInfo("noise-000000-00009.hr.png")
        header.type, header.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(header)
    assert any("is no plain file" in problem for problem in check_dataset(dataset).problems)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("filesize", 1, "filesize is"), ("sha256", "0" * 64, "sha256 is"), ("md5sum", "0" * 32, "md5sum is")],
)
def test_a_manifest_that_lies_about_a_tar_is_found(field, value, words, dataset):
    edit_manifest(dataset, lambda values: values["shardlist"][1].update({field: value}))
    problems = check_dataset(dataset).problems
    assert f"{tars(dataset)[1].name}: {words}" in problems[0]
    assert len(problems) == (2 if field == "sha256" else 1)  # SHA256SUMS tells the truth
    assert len(check_dataset(dataset).good) == 10


def test_a_manifest_that_lies_about_rows_is_found(dataset):
    def change(values):
        values["rows"] = 12
        values["shardlist"][2]["nsamples"] = 4

    edit_manifest(dataset, change)
    text = "\n".join(check_dataset(dataset).problems)
    assert "manifest.json: shard 2 is" in text
    assert "row 10 (noise-000002-00002): its members are missing" in text


def test_a_manifest_that_promises_a_billion_rows_is_found_in_no_time(dataset):
    def change(values):
        values["rows"] = 8 + 10**9
        values["shardlist"][2]["nsamples"] = 10**9

    edit_manifest(dataset, change)
    report = check_dataset(dataset)
    assert any("rows 14 to 1000000007 are missing" in problem for problem in report.problems)
    assert len(report.good) == 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values["recipe"].update(seed=1), "manifest.json: digest is "),
        (lambda values: values["recipe"].pop("usm"), "recipe field 'usm' is missing; plans cannot be judged"),
        (lambda values: values["recipe"].update(space="mars"), "unknown space 'mars'"),
        (lambda values: values["recipe"].update(scale=0), "scale is 0: it must be at least 1"),
        (lambda values: values.update(name="blur"), "manifest.json: name is blur, its recipe says noise"),
        (lambda values: values["photographs"].append({"id": 3}), "photograph {'id': 3} is not id, sha256, height"),
    ],
)
def test_a_manifest_that_contradicts_its_recipe_is_found(change, words, dataset):
    edit_manifest(dataset, change)
    assert any(words in problem for problem in check_dataset(dataset).problems)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"format": "realsr-pairs-v2"}', "\xff"])
def test_a_manifest_that_is_none_is_reported(text, dataset):
    (dataset / "manifest.json").write_bytes(text.encode("latin-1"))
    assert "is not a manifest of this format" in problem_of(dataset, usable=0)


def test_a_folder_of_tars_without_a_manifest_is_reported(dataset):
    (dataset / "manifest.json").unlink()
    assert "manifest.json is missing" in problem_of(dataset, usable=0)
    assert run_command(gen.verify.main, [str(dataset)]) == 1


def test_sums_that_disagree_are_found(dataset):
    (dataset / "README.md").write_text("changed")
    assert problem_of(dataset, usable=10) == "SHA256SUMS: README.md has another hash, or is missing"
    (dataset / "SHA256SUMS").write_text("gibberish")
    assert "line 'gibberish' is not 'sha256  name'" in problem_of(dataset, usable=10)
    (dataset / "SHA256SUMS").unlink()
    assert problem_of(dataset, usable=10) == "SHA256SUMS: is missing; run the render command again"


def test_an_unlisted_tar_and_leftovers_are_notes_and_no_errors(dataset):
    shutil.copy(tars(dataset)[0], dataset / "stray.tar")
    (dataset / ".tmp-1-x.tar").touch()
    report = check_dataset(dataset)
    assert report.problems == []
    assert report.notes == [
        "stray.tar is not in the manifest: readers ignore it, and so can you",
        "1 temporary files of a killed render; the next render removes them",
    ]


def test_rendering_again_finds_an_lr_that_is_not_its_plans(dataset):
    def change(members):
        members[5][1] = encode_png(np.full((19, 19, 3), 128, np.uint8))

    rewrite(dataset, 0, change, checksums=True)
    assert check_dataset(dataset).problems == []
    (problem,) = check_dataset(dataset, rerender=10).problems
    assert "row 1 (noise-000000-00001): rendered again, LR differs by up to" in problem


def test_a_rounding_difference_is_told_with_the_versions_that_differ(dataset):
    lr = Dataset(dataset)[1].lr.copy()
    lr[3, 3, 0] += 1 if lr[3, 3, 0] < 255 else -1

    def change(members):
        members[5][1] = encode_png(lr)

    rewrite(dataset, 0, change, checksums=True)
    edit_manifest(dataset, lambda values: values["versions"].update(numpy="0.1"))
    report = check_dataset(dataset, rerender=10)
    assert report.problems == []
    (note,) = report.notes
    assert note.startswith(
        "rendered 10 rows again: 9 equal, rows 1 differ by 1 level in at most 0.1% of values (numpy "
    )
    assert note.endswith("0.1 then)")


def test_rendering_again_spreads_the_rows_evenly(rendered, monkeypatch):
    seen = []
    degrade = gen.shardcheck.degrade
    monkeypatch.setattr(gen.shardcheck, "degrade", lambda *a: seen.extend(a[2]) or degrade(*a))
    check_dataset(rendered, rerender=3)
    plans = [Dataset(rendered)[row].row.plan for row in range(10)]
    assert [plans.index(plan.to_json()) for plan in seen] == [1, 5, 8]


def test_one_bad_dataset_does_not_hide_the_others(render, tmp_path, capsys):
    for name in ("blur", "mild", "noise"):
        render(tmp_path, "--subspace", name, "--count", "3")
    (tmp_path / "blur" / "manifest.json").write_text("{}")
    tars(tmp_path / "mild")[0].unlink()
    (tmp_path / "unrelated").mkdir()
    capsys.readouterr()
    with pytest.raises(RunError, match="2 problems in 2 of 3 datasets, listed above"):
        gen.verify.main([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if not line.startswith(" ")).endswith("blur: not readable")
    assert [line for line in lines if "rows are usable" in line or "no row" in line] == [
        "  no row is usable",
        "  0 of 3 rows are usable",
        "  3 of 3 rows are usable",
    ]


def test_following_the_advice_mends_the_dataset(render, dataset, contents, capsys):
    before = contents(dataset)
    tar = tars(dataset)[1]
    tar.write_bytes(b"0" * tar.stat().st_size)
    assert run_command(gen.verify.main, [str(dataset)]) == 1
    assert "to mend: delete the shards named above, then run the render command again" in capsys.readouterr().out
    tar.unlink()
    render(dataset.parent)
    assert contents(dataset) == before
    assert gen.verify.main([str(dataset)]) == 0


def test_exit_codes_of_the_command(command, dataset):
    assert command("gen.verify", str(dataset)).returncode == 0
    tars(dataset)[0].unlink()
    result = command("gen.verify", str(dataset.parent))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "error: 1 problems in 1 of 1 datasets, listed above"
    assert "is missing, and 4 rows with it" in result.stdout


def test_hostile_text_reaches_no_terminal(dataset):
    rewrite(dataset, 0, with_json(1, hr_id="\x1b[2J\ud800"))
    report = str(check_dataset(dataset))
    assert "\x1b" not in report
    report.encode()


def test_a_row_survives_its_json():
    row = Row("noise", "val", 1, 2, "a", "b", 3, 4, 76, 4, "{}", "paper", "c")
    assert Row.from_json(row.to_json()) == row


def test_a_quick_check_finds_what_is_wrong_with_the_structure(dataset):
    report = check_dataset(dataset, quick=True)
    assert (report.problems, len(report.good)) == ([], 10)
    assert report.notes == ["structure alone was checked: tars were not hashed, pictures not decoded"]
    rewrite(dataset, 0, with_json(1, crop_x=-1))
    rewrite(dataset, 1, with_plan(2, lambda plan: plan.update(jpeg2=29)))
    report = check_dataset(dataset, quick=True)
    crop, plan = (text.partition("): ")[2] for text in report.problems)
    assert crop.endswith(", -1) lies outside the photograph")
    assert plan == "its plan lies outside subspace noise: jpeg2"
    assert [*report.good] == [0, 2, 3, 4, 5, 7, 8, 9]
    assert "  8 of 10 rows are usable: 0-0, 2-5, 7-9" in str(report).splitlines()


def test_a_quick_check_reads_the_headers_of_pictures_alone(dataset, monkeypatch):
    monkeypatch.setattr("gen.shardcheck.decode_pair", lambda *_: pytest.fail("decoded"))

    def another_size(members):
        members[2][1] = encode_png(np.zeros((20, 20, 3), np.uint8))

    rewrite(dataset, 2, another_size)
    data = bytearray(tars(dataset)[0].read_bytes())
    data[-1] ^= 1
    tars(dataset)[0].write_bytes(data)  # for a full check to find
    (problem,) = check_dataset(dataset, quick=True).problems
    assert "row 8 (noise-000002-00000): noise-000002-00000.lr.png is (20, 20) pixels" in problem


@pytest.mark.parametrize("quick", [True, False])
def test_a_picture_of_another_codec_than_its_name_says_is_named(quick, dataset):
    def change(members):
        members[0][1] = CODECS["ppm"].encode(Dataset(dataset)[4].hr)

    rewrite(dataset, 1, change, checksums=True)
    (problem,) = check_dataset(dataset, quick=quick).problems
    assert problem.endswith("row 4 (noise-000001-00000): noise-000001-00000.hr.png is a .ppm by its content")


def test_several_processes_find_the_same(dataset, monkeypatch):
    monkeypatch.setattr(gen.verify, "PARALLEL_BYTES", 0)
    monkeypatch.setattr(gen.verify, "CHUNK_SHARDS", 2)
    rewrite(dataset, 1, with_json(2, seed=1))
    tars(dataset)[2].unlink()
    rows = []
    alone, together = check_dataset(dataset, 4), check_dataset(dataset, 4, workers=2, on_rows=rows.append)
    assert str(together) == str(alone)
    assert together.good == alone.good
    assert rows == [4, 4, 2]
