"""HR images in tars, by patterns and behind urls: listed once, read by offset, with the licences beside them."""

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest

import gen.export
import gen.merge
import gen.render
import gen.verify
import shared.photos.archives
from gen.engines import absolute
from gen.engines.slurm import read_todo, write_todo
from gen.recipe import Recipe
from gen.specs import ShardSpec
from shared.errors import RunError, UsageError
from shared.photos.archives import list_hr_files, list_tar
from shared.photos.crops import HRImages
from shared.photos.find import HRImage, find_hr_images
from shared.photos.licences import NOT_GIVEN, Sources, Terms
from shared.photos.photo_cache import fetch, read
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset

PATCH = 76


def png(seed: int, height: int = 90, width: int = 84) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".png", cv2.blur(noise, (5, 5)))[1].tobytes()


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("REALSR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Output of img2dataset: two tars of three samples, each with a caption and a record."""
    for shard in range(2):
        members = {}
        for number in range(3):
            record = {
                "url": f"https://host/{number}",
                "license": "CC-BY-4.0",
                "caption": "a photo",
                "status": "success",
            }
            sample = f"{shard:05d}{number:04d}"
            members |= {f"{sample}.png": png(10 * shard + number), f"{sample}.txt": b"a photo"}
            members[f"{sample}.json"] = json.dumps(record).encode()
        make_tar(tmp_path / "hr" / f"{shard:05d}.tar", members)
    return tmp_path / "hr"


def ids(photos) -> list[str]:
    return [photo.id for photo in photos.photographs]


ALL = [f"{shard:05d}.tar/{shard:05d}{number:04d}.png" for shard in range(2) for number in range(3)]


def test_members_are_listed_with_offset_size_hash_and_terms(folder):
    members = list_tar(folder / "00001.tar")
    assert [member.id for member in members] == [f"00001{number:04d}.png" for number in range(3)]
    data = (folder / "00001.tar").read_bytes()
    for number, member in enumerate(members):
        content = data[member.offset : member.offset + member.size]
        assert content == png(10 + number) == member.read()
        assert hashlib.sha256(content).hexdigest() == member.sha256
        assert member.terms == Terms("CC-BY-4.0", "", f"https://host/{number}")
        assert member.caption == "a photo"


def test_a_folder_of_tars_gives_the_pixels_and_licences_of_its_members(folder):
    found = find_hr_images(str(folder), "train", PATCH)
    held_out = find_hr_images(str(folder), "val", PATCH)
    assert sorted(ids(found) + ids(held_out)) == ALL
    for photo in found.photographs:
        number = ALL.index(photo.id)
        expected = cv2.imdecode(np.frombuffer(png(10 * (number // 3) + number % 3), np.uint8), 1)[..., ::-1]
        assert np.array_equal(read(photo), expected)
        assert np.array_equal(fetch(photo)[0], expected)
        assert (photo.licence, photo.url) == ("CC-BY-4.0", f"https://host/{number % 3}")


def test_files_and_tars_may_lie_side_by_side_and_equal_bytes_count_once(folder):
    (folder / "photo.png").write_bytes(png(99))
    (folder / "copy.png").write_bytes(png(0))
    found = [find_hr_images(str(folder), split, PATCH) for split in ("train", "val")]
    assert sorted(ids(found[0]) + ids(found[1])) == sorted(["copy.png", "photo.png", *ALL[1:]])
    assert found[0].skipped == {"duplicate": 1}


@pytest.mark.parametrize("pattern", ["{}/*.tar", "{}/0000?.tar", "{}/../hr/**/*.tar"])
def test_a_glob_pattern_names_tars(pattern, folder):
    files = list_hr_files(pattern.format(folder), "hr").files
    assert [file.id.removeprefix("hr/") for file in files] == ALL


def test_a_tar_alone_is_an_hr_folder(folder):
    assert [file.id for file in list_hr_files(str(folder / "00000.tar"), "hr").files] == ALL[:3]


def test_terms_of_a_pattern_come_first_and_a_licence_for_all_comes_last(folder):
    sources = Sources((("*/000000000.png", Terms("CC0-1.0")),), Terms("mine"))
    make_tar(folder / "00002.tar", {"x.png": png(50)})
    photos = [p for s in ("train", "val") for p in find_hr_images(str(folder), s, PATCH, sources=sources).photographs]
    licences = {photo.id: photo.licence for photo in photos}
    assert licences[ALL[0]] == "CC0-1.0"
    assert licences[ALL[1]] == "CC-BY-4.0"
    assert licences["00002.tar/x.png"] == "mine"


def test_a_tar_is_read_once_and_again_when_it_has_changed(folder, monkeypatch):
    before = find_hr_images(str(folder), "train", PATCH)
    opened = []
    monkeypatch.setattr(shared.photos.archives, "_members", lambda file, path: opened.append(path) or iter(()))
    assert find_hr_images(str(folder), "train", PATCH) == before
    assert opened == []
    make_tar(folder / "00001.tar", {"y.png": png(77)})
    find_hr_images(str(folder), "train", PATCH)
    assert opened == [str(folder / "00001.tar")]


def test_without_a_cache_the_same_is_found(folder, monkeypatch):
    before = find_hr_images(str(folder), "train", PATCH)
    monkeypatch.setenv("REALSR_CACHE", "")
    assert find_hr_images(str(folder), "train", PATCH) == before


@pytest.mark.parametrize("url", ["memory://bucket/hr", "memory://bucket/hr/*.tar"])
def test_tars_behind_a_url_give_the_same_images(url, folder):
    store = fsspec.filesystem("memory")
    try:
        for tar in folder.iterdir():
            store.pipe_file(f"/bucket/hr/{tar.name}", tar.read_bytes())
        here, there = (find_hr_images(where, "train", PATCH) for where in (str(folder), url))
        assert here.digest() == there.digest()
        assert ids(here) == ids(there)
        for one, other in zip(here.photographs, there.photographs, strict=True):
            assert np.array_equal(read(one), read(other))
    finally:
        store.rm("/bucket", recursive=True)


def test_images_behind_a_url_need_no_tar(tmp_path):
    store = fsspec.filesystem("memory")
    try:
        for number in range(3):
            store.pipe_file(f"/plain/a/p{number}.png", png(number))
            (tmp_path / "a").mkdir(exist_ok=True)
            (tmp_path / "a" / f"p{number}.png").write_bytes(png(number))
        there = find_hr_images("memory://plain", "train", PATCH)
        assert there.digest() == find_hr_images(str(tmp_path), "train", PATCH).digest()
    finally:
        store.rm("/plain", recursive=True)


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
@pytest.mark.parametrize("name", ["a.tar", "a.png"])
def test_a_store_that_fails_changes_no_list(kind, name, tmp_path, monkeypatch):
    """What is passed over enters no dataset, so a fault of the network must not look like damage."""
    store = fsspec.filesystem("memory")
    tar = make_tar(tmp_path / "a.tar", {f"{n}.png": png(n) for n in range(3)})

    def fail(*_, **__):
        raise kind("connection lost")

    try:
        store.pipe_file(f"/flaky/{name}", tar.read_bytes() if name == "a.tar" else png(0))
        monkeypatch.setattr(type(store), "_open", fail)
        monkeypatch.setattr(type(store), "cat_file", fail)
        with pytest.raises(RunError, match=f"{name} cannot be read: .*connection lost; run the command again"):
            find_hr_images("memory://flaky", "train", PATCH)
    finally:
        monkeypatch.undo()
        store.rm("/flaky", recursive=True)


# --- the commands -------------------------------------------------------------------------------------------------


def render(hr: str, out: Path, *options: str) -> Path:
    sizes = ["--patch", "76", "--rows-per-shard", "4", "--workers", "1", "--count", "6"]
    assert gen.render.main(["--subspace", "noise", "--hr", hr, "--out", str(out), *sizes, *options]) == 0
    return out / "noise"


def test_a_dataset_of_tars_is_rendered_verified_and_grown(folder, tmp_path, capsys):
    dataset = render(str(folder), tmp_path / "out")
    assert gen.verify.main([str(dataset), "--rerender", "6"]) == 0
    manifest = load_manifest(dataset)
    assert {photo["id"] for photo in manifest.photographs} < {*ALL}
    assert manifest.licence == "CC-BY-4.0"
    assert {entry["url"] for entry in manifest.attributions} <= {f"https://host/{number}" for number in range(3)}
    make_tar(folder / "00009.tar", {"new.png": png(123)})
    render(str(folder), tmp_path / "out", "--count", "9")  # the dataset keeps its list
    assert "without" in capsys.readouterr().out
    assert load_manifest(dataset).photographs == manifest.photographs


def test_captions_are_carried_into_the_manifest_and_from_there_into_triplets(folder, tmp_path):
    record = json.dumps({"caption": "why"}).encode()
    make_tar(folder / "00002.tar", {"x.png": png(50), "y.png": png(51), "y.json": record})
    dataset = render(str(folder), tmp_path / "out", "--count", "12")
    manifest = load_manifest(dataset)
    shown = {photo["id"] for photo in manifest.photographs}
    known = {**dict.fromkeys(ALL, "a photo"), "00002.tar/y.png": "why"}
    assert manifest.captions == {name: text for name, text in known.items() if name in shown}
    assert gen.export.main([str(dataset), "--format", "triplets", "--out", str(tmp_path / "pairs")]) == 0
    for row, text in enumerate(sorted((tmp_path / "pairs" / "noise" / "tag").iterdir())):
        assert text.read_text() == known.get(Dataset(dataset).meta(row).hr_id, "")
    assert row == 11


def test_without_captions_the_manifest_has_no_such_key(tmp_path):
    make_tar(tmp_path / "hr" / "a.tar", {f"{n}.png": png(n) for n in range(3)})
    dataset = render(str(tmp_path / "hr"), tmp_path / "out")
    assert "captions" not in json.loads((dataset / "manifest.json").read_bytes())


def test_a_merge_keeps_captions(folder, tmp_path):
    for number, rows in enumerate(("0:4", "4:6")):
        sizes = ["--patch", "76", "--rows-per-shard", "4", "--workers", "1", "--rows", rows]
        out = str(tmp_path / f"part{number}")
        assert gen.render.main(["--subspace", "noise", "--hr", str(folder), "--out", out, *sizes]) == 0
    parts = [str(tmp_path / f"part{number}" / "noise") for number in (0, 1)]
    assert gen.merge.main([str(tmp_path / "merged" / "noise"), *parts]) == 0
    whole = render(str(folder), tmp_path / "whole")
    assert (tmp_path / "merged" / "noise" / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()
    assert load_manifest(whole).captions


def test_tars_and_the_files_in_them_give_the_same_rows(folder, tmp_path):
    """But for the digest: ids are other paths."""
    unpacked = tmp_path / "unpacked"
    for name in ALL:
        number = ALL.index(name)
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_bytes(png(10 * (number // 3) + number % 3))
    one = render(str(folder), tmp_path / "a", "--val-hr", str(folder / "00001.tar"))
    other = render(str(unpacked), tmp_path / "b", "--val-hr", str(unpacked / "00001.tar"), "--licence", "CC-BY-4.0")
    urls = [[entry.sha256 for entry in load_manifest(dataset).shardlist] for dataset in (one, other)]
    assert urls[0] == urls[1]


def test_a_place_in_a_tar_survives_the_way_to_a_worker(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    photos = HRImages(find_hr_images("hr", "train", PATCH).photographs)
    spec = ShardSpec("out", Recipe("paper", "2x2", "noise", "train", "", patch=PATCH), photos, 0, 4)
    (again,) = read_todo(write_todo([spec]))
    moved = absolute(spec)
    monkeypatch.chdir("/")
    expected = [read(photo).tobytes() for photo in find_hr_images(str(folder), "train", PATCH).photographs]
    for sent in (again, moved):
        assert [read(photo).tobytes() for photo in sent.photographs] == expected


def test_a_url_stays_a_url_on_the_way_to_a_worker():
    photo = HRImage("x.png", "memory://bucket/a.tar", "0" * 64, 80, 80, 6400, "mine", offset=512, size=10)
    spec = ShardSpec("out", Recipe("paper", "2x2", "noise", "train", "", patch=PATCH), HRImages((photo,)), 0, 4)
    assert [sent.photographs[0].path for sent in (absolute(spec), *read_todo(write_todo([spec])))] == [photo.path] * 2


# --- what is passed over or refused -------------------------------------------------------------------------------


def test_names_that_lead_elsewhere_hidden_members_and_links_are_no_images(tmp_path):
    tar = make_tar(
        tmp_path / "a.tar",
        {"../x.png": png(1), "/y.png": png(2), "ok/z.png": png(3), "ok/._z.png": b"mac", "t.txt": b""},
    )
    with tarfile.open(tar, "a") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert [member.id for member in list_tar(tar)] == ["ok/z.png"]


@pytest.mark.parametrize("size", [100, 9000])
def test_a_tar_that_is_cut_is_passed_over_by_name(size, folder):
    data = (folder / "00001.tar").read_bytes()
    (folder / "00001.tar").write_bytes(data[:size])
    found = find_hr_images(str(folder), "train", PATCH)
    assert found.skipped == {"tar files that cannot be read to the end": 1}
    assert any("00001.tar" in note for note in found.notes)


def test_members_by_the_name_of_low_resolution_or_validation_are_ignored(tmp_path):
    make_tar(tmp_path / "hr" / "train.tar", {f"{n}.png": png(n) for n in range(4)})
    make_tar(tmp_path / "hr" / "val.tar", {f"{n}.png": png(10 + n) for n in range(4)})
    make_tar(tmp_path / "hr" / "train_LR.tar", {f"{n}.png": png(20 + n) for n in range(4)})
    found = [find_hr_images(str(tmp_path / "hr"), split, PATCH) for split in ("train", "val")]
    assert sorted(ids(found[0]) + ids(found[1])) == [f"train.tar/{n}.png" for n in range(4)]


def test_a_tar_that_changes_while_a_command_works_is_noticed(folder):
    photos = find_hr_images(str(folder), "train", PATCH).photographs
    last = [photo for photo in photos if photo.path.endswith("00001.tar")][-1]
    data = bytearray((folder / "00001.tar").read_bytes())
    data[last.offset + 60] ^= 1
    (folder / "00001.tar").write_bytes(data)
    with pytest.raises(RunError, match=r"00001.tar/.* in .*00001.tar has changed since it was listed"):
        read(last)


def test_a_record_that_is_no_json_leaves_the_licence_open(tmp_path):
    records = {"a": b"{", "b": b"[1]", "c": json.dumps({"license": 3}).encode(), "d": b"[" * 5000}
    members = {f"{name}.png": png(n) for n, name in enumerate(records)}
    tar = make_tar(tmp_path / "a.tar", members | {f"{name}.json": data for name, data in records.items()})
    assert {member.terms.licence for member in list_tar(tar)} == {NOT_GIVEN}


@pytest.mark.parametrize(
    ("hr", "message"),
    [
        ("/nowhere", "hr is '/nowhere': no such folder"),
        ("/nowhere/*.tar", "hr is '/nowhere/.*': no file matches the pattern"),
        ("memory://nothing", "hr is 'memory://nothing': there is no file"),
    ],
)
def test_a_place_without_anything_is_refused(hr, message):
    with pytest.raises(UsageError, match=message):
        find_hr_images(hr, "train", PATCH)


def test_compressed_archives_are_named_since_they_cannot_be_read_by_offset(folder):
    shutil.copy(folder / "00000.tar", folder / "shard-00.tar.gz")
    assert any("shard-00.tar.gz" in note for note in find_hr_images(str(folder), "train", PATCH).notes)
