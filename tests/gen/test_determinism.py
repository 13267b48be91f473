"""Equal commands give equal bytes, however often, with however many workers, and a dataset grows by appending."""

from pathlib import Path

import numpy as np
import pytest

import gen.render
from gen.backends import degrade
from shared.degradation.plan import Plan
from shared.errors import RunError, UsageError
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset
from shared.storage.atomic import locked


def test_the_folder_holds_exactly_these_files(rendered, contents):
    digest = load_manifest(rendered).digest
    shards = [f"noise-x4-{digest}-{name}" for name in ("000000", "000001", "000002-n00002")]
    files = [f"{shard}.{ending}" for shard in shards for ending in ("idx", "tar")]
    assert sorted(contents(rendered)) == sorted([*files, "README.md", "SHA256SUMS", "config.yaml", "manifest.json"])
    assert sorted(path.name for path in rendered.iterdir() if path.name.startswith(".")) == [".done", ".lock"]


def test_the_same_command_twice_touches_nothing(render, dataset):
    def state():
        return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in dataset.rglob("*.*")}

    before = state()
    render(dataset.parent)
    assert state() == before
    assert len(before) == 15  # 6 shard files, 4 around them, 3 done records, the plan, the lock


@pytest.mark.parametrize("workers", ["2", "3"])
def test_the_number_of_workers_changes_no_byte(workers, start, rendered, contents, tmp_path):
    assert start(tmp_path, "--count", "10", "--workers", workers).wait(60) == 0
    assert contents(tmp_path / "noise") == contents(rendered)


def test_a_dataset_grows_by_appending(render, dataset, contents, tmp_path):
    before, old = contents(dataset), [dataset.joinpath(e.url).read_bytes() for e in load_manifest(dataset).shardlist]
    first_rows = [Dataset(dataset)[row] for row in range(10)]
    render(dataset.parent, "--count", "15")
    manifest, after = load_manifest(dataset), contents(dataset)
    assert [entry.nsamples for entry in manifest.shardlist] == [4, 4, 4, 3]
    assert (manifest.rows, manifest.generation) == (15, 2)
    assert [dataset.joinpath(e.url).read_bytes() for e in manifest.shardlist[:2]] == old[:2]  # full shards are final
    superseded = f"noise-x4-{manifest.digest}-000002-n00002"
    assert f"{superseded}.tar" in before
    assert {f"{superseded}.tar", f"{superseded}.idx"}.isdisjoint(after)
    assert not (dataset / ".done" / f"{superseded}.json").exists()
    for row, (hr, lr, meta) in enumerate(first_rows):
        grown = Dataset(dataset)[row]
        assert np.array_equal(grown.hr, hr)
        assert np.array_equal(grown.lr, lr)
        assert grown.row == meta


def test_growing_in_two_steps_or_at_once_gives_the_same_tars(render, dataset, contents, tmp_path):
    render(dataset.parent, "--count", "15")
    at_once = contents(render(tmp_path / "other", "--count", "15"))
    grown = contents(dataset)
    tars = [name for name in at_once if name.endswith((".tar", ".idx"))]
    assert len(tars) == 8
    assert [grown[name] for name in tars] == [at_once[name] for name in tars]


def test_a_smaller_count_changes_nothing(render, dataset, contents):
    before = contents(dataset)
    render(dataset.parent, "--count", "3")
    assert contents(dataset) == before


@pytest.mark.parametrize("ending", ["tar", "idx"])
def test_a_listed_file_that_was_deleted_comes_back_byte_for_byte(ending, render, dataset, contents):
    before = contents(dataset)
    sorted(dataset.glob(f"*.{ending}"))[1].unlink()
    render(dataset.parent)
    assert contents(dataset) == before


@pytest.mark.parametrize("options", [(), ("--usm",), ("--scale", "2"), ("--space", "realesrgan", "--subspace", "full")])
def test_every_row_rendered_from_its_stored_plan_is_its_lr(options, render, tmp_path):
    dataset = Dataset(render(tmp_path, *options))
    for hr, lr, row in (dataset[number] for number in range(10)):
        (again,) = degrade("cpu", [hr], [Plan.from_json(row.plan)], row.scale, "--usm" in options)
        assert np.array_equal(again, lr)


def test_a_validation_row_shows_the_same_crop_in_every_task(render, tmp_path):
    tasks = [Dataset(render(tmp_path, "--split", "val", "--subspace", name)) for name in ("mild", "noise", "severe")]
    for row in range(10):
        crops = [task[row].hr for task in tasks]
        assert all(np.array_equal(crop, crops[0]) for crop in crops)
        assert len({task[row].lr.tobytes() for task in tasks}) == 3


def test_training_crops_differ_between_tasks(render, tmp_path):
    mild, noise = (Dataset(render(tmp_path, "--subspace", name)) for name in ("mild", "noise"))
    corners = [{(d[row].row.hr_id, d[row].row.crop_y, d[row].row.crop_x) for row in range(10)} for d in (mild, noise)]
    assert len(corners[0] & corners[1]) <= 1


def test_subspace_all_renders_the_partition(hr, tmp_path):
    options = ["--hr", str(hr), "--out", str(tmp_path), "--count", "2", "--patch", "76", "--workers", "1"]
    assert gen.render.main([*options, "--partition", "1x3"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "b0n0", "b0n1", "b0n2"]


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--seed", "7"), "seed: 0 -> 7"),
        (("--patch", "80"), "patch: 76 -> 80"),
        (("--usm",), "usm: False -> True"),
        (("--rows-per-shard", "5"), "rows_per_shard: 4 -> 5"),
    ],
)
def test_another_recipe_in_the_same_folder_is_refused_by_name(options, difference, render, dataset, contents):
    before = contents(dataset)
    with pytest.raises(UsageError, match=f"holds a dataset of another recipe .*{difference}"):
        render(dataset.parent, *options)
    assert contents(dataset) == before


def test_other_photographs_are_another_recipe(render, dataset, picture, hr, tmp_path):
    other = tmp_path / "other photographs"
    for number, path in enumerate(sorted(hr.iterdir())):
        picture(other / path.name, 100 + number)
    with pytest.raises(UsageError, match="photographs: other images, or"):
        render(dataset.parent, "--hr", str(other))


def test_a_second_render_of_a_dataset_is_refused_while_the_first_is_at_work(command, rendered, hr, contents):
    before = contents(rendered)
    options = ["--subspace", "noise", "--hr", str(hr), "--out", str(rendered.parent), "--patch", "76"]
    with locked(rendered, "test"):
        second = command("gen.render", *options, "--rows-per-shard", "4", "--count", "10")
    assert second.returncode == 1
    assert "is being written by another process" in second.stderr
    assert contents(rendered) == before


def test_what_another_render_has_finished_meanwhile_is_seen(render, tmp_path, monkeypatch):
    """Between the announcement and the lock another command may grow the dataset: it must not shrink again."""
    announce = gen.render._announce

    def while_another_grows_it(*arguments):
        announce(*arguments)
        monkeypatch.setattr(gen.render, "_announce", announce)
        render(tmp_path, "--count", "15")

    monkeypatch.setattr(gen.render, "_announce", while_another_grows_it)
    folder = render(tmp_path, "--count", "10")
    assert load_manifest(folder).rows == 15


def test_the_manifest_tells_the_versions_the_shards_were_rendered_with(render, dataset, monkeypatch):
    monkeypatch.setattr("gen.shards.versions", lambda backend: {**load_manifest(dataset).versions, "numpy": "9.9"})
    real = load_manifest(dataset).versions["numpy"]
    render(dataset.parent)
    assert load_manifest(dataset).versions["numpy"] == real  # nothing was rendered
    sorted(dataset.glob("*.tar"))[0].unlink()
    render(dataset.parent)
    assert load_manifest(dataset).versions["numpy"] == ", ".join(sorted([real, "9.9"]))


def test_a_manifest_of_a_later_program_is_refused_in_words(render, dataset):
    text = (dataset / "manifest.json").read_text().replace(load_manifest(dataset).digest, "abcdef")
    (dataset / "manifest.json").write_text(text.replace('"usm": false', '"usm": false,\n  "novel": 1'))
    with pytest.raises(RunError, match="recipe field 'novel' is not in the format"):
        render(dataset.parent)


def test_a_dry_run_writes_nothing(render, tmp_path, capsys):
    render(tmp_path, "--dry-run")
    assert not list(tmp_path.iterdir())
    assert "10 rows, recipe" in capsys.readouterr().out


def test_the_card_names_photographs_and_files(rendered: Path):
    card = (rendered / "README.md").read_text()
    assert "| p3.png | 104 x 108 | not given |" in card or "| p3.png | 108 x 104 | not given |" in card
    assert f"- noise-x4-{load_manifest(rendered).digest}-00000[0-1].tar\n" in card
