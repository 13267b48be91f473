"""Licences and attribution come from the user alone, reach every row, and are never claimed without being given."""

import json

import pytest
import yaml

import gen.verify
from shared.errors import UsageError
from shared.photos.licences import Terms, read_sources
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset

SOURCES = [
    {"pattern": "p[0-2].png", "licence": "CC-BY-4.0", "attribution": "A. Painter", "url": "https://example.org/a"},
    {"pattern": "p3.png", "licence": "research only", "attribution": "The | Lab"},
]


@pytest.fixture
def sources(tmp_path):
    """sources(entries) writes a sources file."""

    def write(entries) -> str:
        (tmp_path / "sources.yaml").write_text(yaml.safe_dump(entries))
        return str(tmp_path / "sources.yaml")

    return write


def header(folder) -> dict:
    """The part of the card that Hugging Face reads."""
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_without_a_licence_none_is_claimed(rendered):
    manifest, card = load_manifest(rendered), (rendered / "README.md").read_text()
    assert {photo["licence"] for photo in manifest.photographs} == {"not given"}
    assert {Dataset(rendered)[row].row.licence for row in range(10)} == {"not given"}
    assert manifest.attributions == []
    assert "No licence was given for 5 of 5" in card
    assert "license" not in header(rendered)


def test_one_licence_for_a_folder_reaches_every_row_and_the_card(render, tmp_path):
    folder = render(tmp_path, "--licence", " CC-BY-4.0 ")
    assert {Dataset(folder)[row].row.licence for row in range(10)} == {"CC-BY-4.0"}
    assert load_manifest(folder).licence == "CC-BY-4.0"
    assert header(folder)["license"] == "cc-by-4.0"
    assert "not given" not in (folder / "README.md").read_text()
    assert gen.verify.main([str(folder)]) == 0


def test_each_picture_has_the_terms_of_its_source(render, sources, tmp_path):
    folder = render(tmp_path / "out", "--sources", sources(SOURCES))
    manifest, card = load_manifest(folder), (folder / "README.md").read_text()
    expected = {f"p{n}.png": "CC-BY-4.0" for n in range(3)} | {"p3.png": "research only"}
    licences = {photo["id"]: photo["licence"] for photo in manifest.photographs}
    assert licences == {name: expected.get(name, "not given") for name in licences}
    for row in (Dataset(folder)[number].row for number in range(10)):
        assert row.licence == licences[row.hr_id]
    named = [{**entry, "photographs": [n for n in entry["photographs"] if n in licences]} for entry in NAMED]
    assert manifest.attributions == [entry for entry in named if entry["photographs"]]
    assert "* A. Painter, https://example.org/a (CC-BY-4.0; photographs: " in card
    assert "No licence was given for " in card
    assert "license" not in header(folder)  # one picture at least has none
    assert gen.verify.main([str(folder)]) == 0


NAMED = [
    {
        "attribution": "A. Painter",
        "url": "https://example.org/a",
        "licence": "CC-BY-4.0",
        "photographs": [f"p{n}.png" for n in range(3)],
    },
    {"attribution": "The | Lab", "url": "", "licence": "research only", "photographs": ["p3.png"]},
]


def test_the_licence_is_that_of_pictures_without_a_source_of_their_own(render, sources, tmp_path):
    folder = render(tmp_path / "out", "--sources", sources(SOURCES), "--licence", "CC0-1.0")
    licences = {photo["id"]: photo["licence"] for photo in load_manifest(folder).photographs}
    assert set(licences.values()) <= {"CC-BY-4.0", "research only", "CC0-1.0"}
    assert licences.keys() & {"p4.png", "p5.png"}
    assert {licences.get(name, "CC0-1.0") for name in ("p4.png", "p5.png")} == {"CC0-1.0"}
    assert header(folder)["license"] == "other"


def test_another_licence_is_another_dataset_because_rows_hold_it(render, tmp_path):
    folder = render(tmp_path, "--licence", "CC0-1.0")
    digest = load_manifest(folder).digest
    with pytest.raises(UsageError, match=r"holds a dataset of another recipe .*photographs: "):
        render(tmp_path, "--licence", "CC-BY-4.0")
    assert load_manifest(render(tmp_path / "other", "--licence", "CC-BY-4.0")).digest != digest


def test_another_attribution_changes_manifest_and_card_but_no_shard(render, sources, contents, tmp_path):
    entry = {"pattern": "*", "licence": "CC0-1.0", "attribution": "A. Painter"}
    folder = render(tmp_path / "out", "--sources", sources([entry]))
    before = contents(folder)
    render(tmp_path / "out", "--sources", sources([{**entry, "attribution": "B. Painter"}]))
    changed = {name for name, value in contents(folder).items() if before[name] != value}
    assert changed == {"README.md", "SHA256SUMS", "manifest.json"}
    assert gen.verify.main([str(folder)]) == 0


def test_one_sources_file_serves_train_and_validation_folders(render, sources, hr, picture, tmp_path):
    picture(tmp_path / "v" / "valid" / "x.png", 9)
    entries = [{"pattern": "p*", "licence": "A"}, {"pattern": "valid/*", "licence": "B"}]
    options = ("--sources", sources(entries), "--val-hr", str(tmp_path / "v"))
    assert load_manifest(render(tmp_path / "out", *options)).licence == "A"
    assert load_manifest(render(tmp_path / "out", *options, "--split", "val")).licence == "B"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"pattern": "q*", "licence": "A"}], r"source pattern 'q\*' matches none of the 6 images"),
        (
            [{"pattern": "p*", "licence": "A"}, {"pattern": "*1.png", "licence": "B"}],
            r"'p1.png' is matched by two sources that differ, 'p\*' \(A\) and '\*1.png' \(B\)",
        ),
        ([{"pattern": "*"}], "entry 1: key 'licence' is missing"),
        ([{"pattern": "*", "licence": "A"}, {"licence": "A"}], "entry 2: key 'pattern' is missing"),
        ([{"pattern": "*", "licence": "A", "author": "B"}], "unknown key 'author'"),
        ([{"pattern": "*", "licence": 4}], "licence is 4: it must be text"),
        ([{"pattern": "*", "licence": " "}], "licence is ' ': it must be text, and not empty"),
        (["*"], r"entry 1 is '\*': it must have the keys"),
        ({}, "must be a list of entries"),
    ],
)
def test_a_sources_file_that_cannot_be_meant_is_refused(entries, message, render, sources, tmp_path):
    with pytest.raises(UsageError, match=message):
        render(tmp_path / "out", "--sources", sources(entries))
    assert not (tmp_path / "out").exists()


def test_two_entries_that_agree_may_overlap(render, sources, tmp_path):
    entries = [{"pattern": "p*", "licence": "A"}, {"pattern": "*1.png", "licence": "A"}]
    assert load_manifest(render(tmp_path / "out", "--sources", sources(entries))).licence == "A"


def test_a_sources_file_may_be_json(tmp_path):
    (tmp_path / "sources.json").write_text(json.dumps(SOURCES))
    read = read_sources(str(tmp_path / "sources.json"), None)
    assert read.terms("p1.png") == Terms("CC-BY-4.0", "A. Painter", "https://example.org/a")
    assert read.terms("else.png") == Terms()


def test_misuse_of_the_flags_is_named(render, tmp_path):
    with pytest.raises(UsageError, match="licence is '': it must be text"):
        render(tmp_path, "--licence", "")
    with pytest.raises(UsageError, match="no such file"):
        render(tmp_path, "--sources", str(tmp_path / "none.yaml"))
    (tmp_path / "broken.yaml").write_text("- {pattern: [")
    with pytest.raises(UsageError, match="neither YAML nor JSON"):
        render(tmp_path, "--sources", str(tmp_path / "broken.yaml"))
    with pytest.raises(UsageError, match="scikit-image have their own"):
        render(tmp_path, "--hr", "photos", "--licence", "CC0-1.0")
