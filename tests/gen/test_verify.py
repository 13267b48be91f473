"""`gen.verify` finds every kind of damage in a shard, names file and row, and says what is still usable."""

import tarfile

import pytest

import gen.shardcheck
import gen.verify
from gen.verify import check_dataset
from shared.command import next_step
from shared.shards.manifest import load_manifest
from tests.gen.damage import problem_of, refresh_sums, rewrite, tars, with_json, with_plan


def test_a_whole_dataset_passes(rendered, capsys):
    assert gen.verify.main([str(rendered), "--rerender", "4"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{rendered}: 10 rows in 3 shards, recipe {load_manifest(rendered).digest}",
        "  note: rendered 4 rows again: 4 equal (same library versions and kind of machine)",
        "  10 of 10 rows are usable",
        next_step("export", rendered, "--out", "pairs"),
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
