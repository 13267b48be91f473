"""Publishing to a hub on loopback and reading from it; each command in a process of its own, as HF_ENDPOINT asks."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import gen.publish
import gen.render
from shared.errors import RunError, UsageError
from shared.shards.manifest import load_manifest
from shared.storage.places import writable_place
from tests.gen.conftest import ROOT, SMALL
from tests.gen.hub import Hub

pytest.importorskip("huggingface_hub", reason="the optional extra hf is not installed")


@pytest.fixture(scope="module")
def made(hr, tmp_path_factory) -> Path:
    """Two datasets of pictures with a licence."""
    out = tmp_path_factory.mktemp("made") / "shards"
    for split in ("train", "val"):
        options = ["--subspace", "noise", "--split", split, "--hr", str(hr), "--out", str(out), "--count", "10"]
        assert gen.render.main([*options, "--licence", "CC0-1.0", *SMALL]) == 0
    return out


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy to change."""
    return shutil.copytree(made, tmp_path / "shards")


@pytest.fixture
def hub():
    server = Hub()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def call(hub, tmp_path):
    """call(module, *options) runs a command against the hub: exit code, output, errors."""

    def run(module: str, *options: str) -> tuple[int, str, str]:
        names = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_x", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        environment = {**os.environ, **names, "HF_HOME": str(tmp_path / "hf")}
        line = [sys.executable, "-m", module, *options]
        done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    return run


def visible(folder: Path) -> dict[str, bytes]:
    """What shall be on the hub, by path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if not re.search(r"(^|/)\.", name)}


def test_all_datasets_go_up_shards_before_the_files_that_name_them(hub, call, made):
    code, said, errors = call("gen.publish", str(made), "me/pairs")
    assert code == 0, errors
    assert "2 datasets, 20 pairs" in said
    assert hub.files == visible(made)
    assert [entry["name"] for entry in hub.created] == ["pairs"]
    names = [name for commit in hub.commits for name in commit]
    last_shard = max(n for n, name in enumerate(names) if name.endswith((".tar", ".idx")))
    assert last_shard < min(n for n, name in enumerate(names) if name.endswith((".json", ".md")))
    assert b"config_name: noise" in hub.files["README.md"]


def test_what_was_published_is_read_in_place_by_ranges(hub, call, made):
    code, _, errors = call("gen.publish", str(made), "me/pairs")
    assert code == 0, errors
    code, said, errors = call("gen.verify", "hf://datasets/me/pairs", "--quick")
    assert code == 0, errors
    assert said.count("10 of 10 rows are usable") == 2
    code = (
        "import hashlib, sys; from shared.shards.reader import Dataset; from shared.storage.places import place;"
        "print(hashlib.sha256(Dataset(place(sys.argv[1]))[7].hr.tobytes()).hexdigest())"
    )
    hub.ranges.clear()
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    there, here = (
        subprocess.run([sys.executable, "-c", code, where], cwd=ROOT, env=environment, capture_output=True, text=True)
        for where in ("hf://datasets/me/pairs/noise", str(made / "noise"))
    )
    assert there.stdout == here.stdout != "", there.stderr
    sizes = [int(last) - int(first) + 1 for first, last in (span[6:].split("-") for span in hub.ranges)]
    assert max(sizes) < 60_000  # a row, and not the blocks of megabytes that fsspec reads ahead


@pytest.mark.parametrize("pattern", ["hr", "hr/*.tar"])
def test_hr_images_are_rendered_from_tars_on_the_hub(pattern, hub, call, hr, tmp_path):
    tar = tmp_path / "here" / "a.tar"
    tar.parent.mkdir()
    with tarfile.open(tar, "w") as archive:
        for path in sorted(hr.iterdir()):
            archive.add(path, path.name)
    hub.files["hr/a.tar"] = tar.read_bytes()
    options = ["--subspace", "noise", "--count", "5", *SMALL]
    code, _, errors = call(
        "gen.render", "--hr", f"hf://datasets/me/pairs/{pattern}", "--out", str(tmp_path / "there"), *options
    )
    assert code == 0, errors
    assert gen.render.main(["--hr", str(tar.parent), "--out", str(tmp_path / "local"), *options]) == 0
    manifests = [(tmp_path / out / "noise" / "manifest.json").read_bytes() for out in ("there", "local")]
    assert manifests[0] == manifests[1]


def test_an_upload_that_broke_off_is_finished_by_the_same_command(hub, call, made):
    hub.refuse_after = 2
    code, _, errors = call("gen.publish", str(made), "me/pairs", "--quick")
    assert code == 1
    assert "the hub did not take datasets/me/pairs" in errors
    assert "Traceback" not in errors
    assert "noise/manifest.json" not in hub.files
    hub.refuse_after, before = None, len(hub.blobs)
    assert before == 2
    assert call("gen.publish", str(made), "me/pairs", "--quick")[0] == 0
    assert hub.files == visible(made)
    commits = len(hub.commits)
    assert call("gen.publish", str(made), "me/pairs", "--quick")[0] == 0
    assert len(hub.commits) == commits  # nothing has changed


def test_a_tar_that_no_manifest_lists_and_hidden_files_stay_here(hub, call, folder):
    (folder / "noise" / "noise-x4-000000-000000.tar").write_bytes(b"stray")
    (folder / ".secret").write_text("x")
    assert call("gen.publish", str(folder), "me/pairs", "--quick")[0] == 0
    assert not [name for name in hub.files if "000000-000000" in name or name.startswith(".")]


def test_a_single_dataset_is_a_repository_of_its_own(hub, call, made):
    assert call("gen.publish", str(made / "noise"), "me/pairs")[0] == 0
    assert hub.files == visible(made / "noise")


def test_a_dry_run_uploads_nothing(made, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert gen.publish.main([str(made), "me/pairs", "--dry-run"]) == 0
    assert "2 datasets, 20 pairs" in capsys.readouterr().out


# --- what is refused ----------------------------------------------------------------------------------------------


def test_pictures_without_a_licence_are_not_published(rendered, made, tmp_path):
    with pytest.raises(UsageError, match=r"no licence was given for \d of \d pictures, such as p\d.png; render with"):
        gen.publish.main([str(rendered), "me/pairs"])


def test_a_damaged_dataset_is_not_published(folder):
    tar = sorted((folder / "noise").glob("*.tar"))[0]
    data = bytearray(tar.read_bytes())
    data[3000] ^= 1
    tar.write_bytes(data)
    with pytest.raises(RunError, match=r"noise has .* problems, listed above: nothing was uploaded"):
        gen.publish.main([str(folder), "me/pairs", "--workers", "1"])


def test_a_readme_of_ones_own_must_name_the_configurations(folder):
    (folder / "README.md").write_text("# Mine\n")
    with pytest.raises(UsageError, match="has no `configs` in its header"):
        gen.publish.main([str(folder), "me/pairs", "--quick"])
    assert (folder / "README.md").read_text() == "# Mine\n"


@pytest.mark.parametrize("repo", ["pairs", "me/pairs/noise", "me/pa irs", "https://x/y"])
def test_a_repository_is_a_name_in_a_namespace(repo, made):
    with pytest.raises(UsageError, match="it must be NAME/REPO"):
        gen.publish.main([str(made), repo])


def test_without_the_package_the_extra_is_named(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'realsr-rebalance\[hf\]'"):
        gen.publish.main([str(made), "me/pairs", "--quick"])


def test_a_render_to_the_hub_is_refused_with_the_command_to_use():
    with pytest.raises(UsageError, match=r"out is 'hf://datasets/me/x': give a folder, and upload .* publish"):
        writable_place("hf://datasets/me/x", "out")
    with pytest.raises(UsageError, match="publish"):
        gen.render.main(["--out", "hf://datasets/me/x"])


def test_the_hubs_manifest_is_the_one_here(hub, call, made):
    assert call("gen.publish", str(made), "me/pairs", "--quick")[0] == 0
    assert json.loads(hub.files["noise/manifest.json"])["digest"] == load_manifest(made / "noise").digest
