"""`gen.verify` beyond the shards: manifests that lie, sums, rows rendered again, quick checks, the command."""

import shutil

import numpy as np
import pytest

import gen.shardcheck
import gen.verify
from gen.verify import check_dataset
from shared.errors import RunError, run_command
from shared.images import encode_png
from shared.shards.codecs import CODECS
from shared.shards.format import Row
from shared.shards.reader import Dataset
from tests.gen.damage import edit_manifest, problem_of, rewrite, tars, with_json, with_plan


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
    assert "to mend: delete the files named above, then run the render command again" in capsys.readouterr().out
    tar.unlink()
    render(dataset.parent)
    assert contents(dataset) == before
    assert gen.verify.main([str(dataset)]) == 0


def test_following_the_advice_mends_a_damaged_manifest(render, dataset, contents, capsys):
    before = contents(dataset)
    (dataset / "manifest.json").write_text("{")
    assert run_command(gen.verify.main, [str(dataset)]) == 1
    assert "to mend: delete the files named above, then run the render command again" in capsys.readouterr().out
    (dataset / "manifest.json").unlink()
    render(dataset.parent)
    assert contents(dataset) == before


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
