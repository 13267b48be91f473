"""The card above the datasets: a pure function of their manifests; `datasets` opens one configuration a task."""

import shutil

import numpy as np
import pytest
import yaml

import gen.merge
import gen.render
from gen.card import MARKER, write_folder_card
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset
from shared.storage.places import place
from tests.gen.conftest import SMALL


@pytest.fixture(scope="module")
def made(hr, tmp_path_factory):
    """Two tasks, one of them with a validation set."""
    out = tmp_path_factory.mktemp("shards")
    for subspace, split in (("noise", "train"), ("mild", "train"), ("noise", "val")):
        options = ["--subspace", subspace, "--split", split, "--hr", str(hr), "--out", str(out), "--count", "6"]
        assert gen.render.main([*options, "--licence", "CC-BY-4.0", *SMALL]) == 0
    return out


@pytest.fixture
def folder(made, tmp_path):
    """A copy to change."""
    return shutil.copytree(made, tmp_path / "shards")


def header(folder) -> dict:
    _, text, _ = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(text)


def test_datasets_offers_one_configuration_a_task_with_train_and_validation(made, tmp_path):
    import datasets

    assert datasets.get_dataset_config_names(str(made)) == ["mild", "noise"]
    splits = datasets.load_dataset(str(made), "noise", cache_dir=str(tmp_path))
    assert {name: rows.num_rows for name, rows in splits.items()} == {"train": 6, "validation": 6}
    for split, name in (("train", "noise"), ("validation", "noise-val")):
        for row, pair in enumerate(Dataset(made / name)):
            assert splits[split][row]["json"]["row"] == row
            assert np.array_equal(np.asarray(splits[split][row]["lr.png"]), pair.lr)
    assert list(datasets.load_dataset(str(made), "mild", cache_dir=str(tmp_path))) == ["train"]


def test_the_card_names_every_dataset_and_a_licence_that_all_share(made):
    text = (made / "README.md").read_text()
    for name in ("noise", "noise-val", "mild"):
        manifest = load_manifest(made / name)
        assert f"| [{name}]({name}/README.md) | {manifest.subspace} |" in text
        assert f"| paper, 2x2 | {manifest.digest} |" in text
    assert header(made)["license"] == "cc-by-4.0"
    assert MARKER in text.splitlines()


def test_the_card_depends_on_the_manifests_alone(folder):
    text = (folder / "README.md").read_text()
    (folder / "README.md").unlink()
    write_folder_card(folder)
    assert (folder / "README.md").read_text() == text


def test_a_dataset_that_goes_or_grows_changes_the_card(folder, hr):
    shutil.rmtree(folder / "mild")
    options = ["--subspace", "noise", "--hr", str(hr), "--out", str(folder), "--licence", "CC-BY-4.0"]
    assert gen.render.main([*options, "--count", "10", *SMALL]) == 0
    assert [config["config_name"] for config in header(folder)["configs"]] == ["noise"]
    files = header(folder)["configs"][0]["data_files"][0]["path"]
    assert files[-1] == f"noise/{load_manifest(folder / 'noise').shardlist[-1].url}"


def test_a_merge_writes_the_card(hr, tmp_path):
    for number, rows in enumerate(("0:4", "4:8")):
        out = tmp_path / f"part{number}"
        options = ["--subspace", "noise", "--hr", str(hr), "--out", str(out), "--rows", rows]
        assert gen.render.main([*options, *SMALL]) == 0
    merged = tmp_path / "shards" / "noise"
    assert gen.merge.main([str(merged), *(str(tmp_path / f"part{number}" / "noise") for number in (0, 1))]) == 0
    assert "| noise | train | 8 |" in (tmp_path / "shards" / "README.md").read_text()


@pytest.mark.parametrize("text", ["# My own words\n", "", f"quoting {MARKER}\n"])
def test_a_readme_without_the_marker_line_is_never_overwritten(text, folder):
    (folder / "README.md").write_text(text)
    write_folder_card(folder)
    assert (folder / "README.md").read_text() == text


def test_words_of_ones_own_go_once_the_marker_line_is_back(folder):
    text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(f"{MARKER}\nold\n")
    write_folder_card(folder)
    assert (folder / "README.md").read_text() == text


def test_folders_that_are_no_datasets_or_have_another_name_are_left_out(folder):
    text = (folder / "README.md").read_text()
    shutil.copytree(folder / "noise", folder / "copy-of-noise")
    (folder / "broken").mkdir()
    (folder / "broken" / "manifest.json").write_text("{")
    (folder / "photos").mkdir()
    write_folder_card(folder)
    assert (folder / "README.md").read_text() == text


def test_a_folder_without_datasets_gets_no_card(tmp_path):
    write_folder_card(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_photographs_without_a_licence_leave_the_header_without_one(folder, hr):
    options = ["--subspace", "severe", "--hr", str(hr), "--out", str(folder), "--count", "2"]
    assert gen.render.main([*options, *SMALL]) == 0
    assert "license" not in header(folder)


def test_two_commands_that_finish_at_once_leave_the_card_of_both(folder, monkeypatch):
    """The other command commits its dataset after this one has read the manifests."""
    import gen.card

    both, waiting = (folder / "README.md").read_text(), folder.parent / "mild"
    shutil.move(folder / "mild", waiting)
    write_text = gen.card.write_text

    def late(path, text):
        if waiting.exists():
            shutil.move(waiting, folder / "mild")
        write_text(path, text)

    monkeypatch.setattr(gen.card, "write_text", late)
    write_folder_card(folder)
    assert (folder / "README.md").read_text() == both


def test_behind_a_url_there_is_a_card_too(hr):
    import fsspec

    options = ["--subspace", "noise", "--hr", str(hr), "--out", "memory://cards", "--count", "2"]
    assert gen.render.main([*options, *SMALL]) == 0
    assert MARKER in (place("memory://cards") / "README.md").read_text()
    fsspec.filesystem("memory").rm("/cards", recursive=True)
