"""The shard format: names, the json of a row, the index, and what is refused when it comes from a stranger."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

from shared.errors import RunError
from shared.images import encode_png
from shared.records import canonical_json
from shared.shards.codecs import CODECS
from shared.shards.format import (
    FORMAT,
    Member,
    Row,
    decode_pair,
    group_rows,
    num_shards,
    read_index,
    row_key,
    row_members,
    shard_name,
    write_index,
)
from shared.shards.manifest import Manifest, ShardEntry, dataset_name, load_manifest

ROW = Row("noise", "train", 0, 7, "a.png", "00", 3, 4, 76, 4, "{}", "paper", "CC0")
MEMBERS = [
    Member("hr.png", 512, 1000, "noise-000000-00000.hr.png"),
    Member("json", 2048, 100, "noise-000000-00000.json"),
    Member("lr.png", 3072, 200, "noise-000000-00000.lr.png"),
    Member("hr.png", 4096, 1000, "noise-000000-00001.hr.png"),
    Member("json", 5632, 100, "noise-000000-00001.json"),
    Member("lr.png", 6656, 200, "noise-000000-00001.lr.png"),
]
INDEX = (
    b"v1.2 2\n"
    b"hr.png 512 1000 noise-000000-00000.hr.png json 2048 100 noise-000000-00000.json"
    b" lr.png 3072 200 noise-000000-00000.lr.png\n"
    b"hr.png 4096 1000 noise-000000-00001.hr.png json 5632 100 noise-000000-00001.json"
    b" lr.png 6656 200 noise-000000-00001.lr.png\n"
)


def test_names():
    assert shard_name("noise", 4, "a1b2c3", 12) == "noise-x4-a1b2c3-000012"
    assert row_key("noise", 12, 345) == "noise-000012-00345"
    assert dataset_name("noise", "train") == "noise"
    assert dataset_name("noise", "val") == "noise-val"


@pytest.mark.parametrize(("rows", "shards"), [(0, 0), (1, 1), (499, 1), (500, 1), (501, 2), (1000, 2)])
def test_shards_that_rows_fill(rows, shards):
    assert num_shards(rows, 500) == shards


def test_the_index_is_one_line_a_row():
    assert write_index(MEMBERS) == INDEX
    assert read_index(INDEX) == MEMBERS
    assert read_index(write_index([])) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"v1.2 2", b"v1.2 3"),
        (b"v1.2 2", b"v1.1 2"),
        (b"v1.2 2\n", b""),
        (b" 512 ", b" 0 "),  # inside a header
        (b" 512 ", b" 513 "),
        (b" 512 ", b" -512 "),
        (b" 512 ", b" 1e3 "),
        (b" 2048 ", b" 1024 "),  # overlaps its neighbour
        (b" 1000 ", b" 99999999999 "),
        (b" 1000 ", b" " + b"9" * 5000 + b" "),
        (b"noise-000000-00000.hr.png", b"../../noise.hr.png"),
        (b"noise-000000-00000.hr.png", b"/etc/noise.hr.png"),
        (b"noise-000000-00000.hr.png", b"noise-000000-00000.json"),  # not its extension
        (b"noise-000000-00000.hr.png", b"hr.png"),
        (b" lr.png 6656 200 ", b" lr.png 6656 "),
        (b"\n", b"\n\n"),
        (b"noise-000000-00000.hr.png", b"noise-\xff.hr.png"),
        (b" ", b"  "),
    ],
)
def test_an_index_that_cannot_be_true_is_refused(old, new):
    assert old in INDEX
    with pytest.raises(ValueError, match=r"index|utf-8"):
        read_index(INDEX.replace(old, new, 1))


def test_members_are_grouped_into_rows():
    assert group_rows(MEMBERS) == [tuple(MEMBERS[:3]), tuple(MEMBERS[3:])]
    for wrong in (MEMBERS[1:], MEMBERS[:5], [*MEMBERS[1:], MEMBERS[0]], [*MEMBERS[:3], *MEMBERS[3:5], MEMBERS[2]]):
        with pytest.raises(ValueError, match="member"):
            group_rows(wrong)


def test_a_row_is_flat_json_with_sorted_keys():
    assert ROW.to_json() == (
        b'{"crop_x":4,"crop_y":3,"format":"realsr-pairs-v2","hr_crc32":0,"hr_id":"a.png","hr_sha256":"00",'
        b'"licence":"CC0","lr_crc32":0,"patch":76,"plan":"{}","row":7,"scale":4,"seed":0,"space":"paper","split":"train","subspace":"noise"}'
    )
    assert Row.from_json(ROW.to_json()) == ROW


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"row": "7"}, "json key 'row' is '7': it must be int"),
        ({"row": 7.0}, "json key 'row' is 7.0: it must be int"),
        ({"row": True}, "json key 'row' is True: it must be int"),
        ({"plan": {}}, "json key 'plan' is {}: it must be str"),
        ({"licence": None}, "json key 'licence' is None: it must be str"),
        ({"b": 1, "a": 1}, "json key 'a' is not in the format"),
        ({"format": "realsr-pairs-v1"}, f"format is 'realsr-pairs-v1': this program reads '{FORMAT}'"),
        ({"patch": 77}, "patch is 77, scale 4"),
        ({"patch": -76}, "patch is -76, scale 4"),
        ({"patch": 1 << 20}, "patch is 1048576, scale 4"),
        ({"scale": 0}, "patch is 76, scale 0"),
        ({"scale": -4}, "patch is 76, scale -4"),
    ],
)
def test_a_json_of_another_shape_is_refused_by_key(changes, words):
    with pytest.raises(ValueError, match=words.replace("{", r"\{").replace("}", r"\}")):
        Row.from_json(json.dumps(json.loads(ROW.to_json()) | changes).encode())


@pytest.mark.parametrize("key", sorted(json.loads(ROW.to_json())))
def test_a_json_without_a_key_is_refused_by_key(key):
    values = json.loads(ROW.to_json())
    del values[key]
    with pytest.raises(ValueError, match=f"json key '{key}' is missing"):
        Row.from_json(json.dumps(values).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b"{", b"\xff", b"[" * 100_000])
def test_bytes_that_are_no_row_are_refused(data):
    with pytest.raises(ValueError, match=r"."):
        Row.from_json(data)


def test_a_pair_survives_its_bytes():
    hr = np.random.default_rng(0).integers(0, 256, (76, 76, 3), dtype=np.uint8)
    lr = hr[::4, ::4].copy()
    members = row_members("png", encode_png(hr), lr, ROW)
    assert list(members) == ["hr.png", "json", "lr.png"]
    pair = decode_pair(members["hr.png"], members["json"], members["lr.png"], "k")
    assert np.array_equal(pair.hr, hr)
    assert np.array_equal(pair.lr, lr)
    assert pair.row == replace(ROW, hr_crc32=zlib.crc32(members["hr.png"]), lr_crc32=zlib.crc32(members["lr.png"]))


def test_a_picture_of_another_size_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setitem(CODECS, "png", replace(CODECS["png"], decode=lambda *_: pytest.fail("decoded")))
    hr = bytearray(encode_png(np.zeros((76, 76, 3), np.uint8)))
    hr[16:24] = b"\x00\x00\xff\xff" * 2  # the header claims 65535 x 65535
    with pytest.raises(
        RunError, match=r"row k is damaged: k\.hr\.png is \(65535, 65535\) pixels: the row says 76 x 76"
    ):
        decode_pair(bytes(hr), ROW.to_json(), b"", "k")


@pytest.mark.parametrize("damage", [lambda png: png[:40], lambda png: b"GIF89a" + png[6:], lambda png: png[:-30]])
def test_a_damaged_picture_is_refused_by_row(damage):
    members = row_members("png", encode_png(np.zeros((76, 76, 3), np.uint8)), np.zeros((19, 19, 3), np.uint8), ROW)
    with pytest.raises(RunError, match="row k is damaged: "):
        decode_pair(damage(members["hr.png"]), members["json"], members["lr.png"], "k")


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    assert (
        canonical_json({"b": 1, "a": "é"})
        == canonical_json({"a": "é", "b": 1})
        == '{\n "a": "é",\n "b": 1\n}\n'.encode()
    )


ENTRY = ShardEntry("noise-x4-a1b2c3-000000.tar", 4, 10240, "0" * 32, "0" * 64)
MANIFEST = Manifest(
    "noise", "noise", "train", "a1b2c3", {"patch": 76}, 4, 1, "CC0", {"numpy": "2"}, [{"id": "a"}], {}, [ENTRY]
)


def test_a_manifest_survives_its_file(tmp_path):
    MANIFEST.save(tmp_path)
    assert load_manifest(tmp_path) == MANIFEST
    assert json.loads((tmp_path / "manifest.json").read_bytes())["__kind__"] == "wids-shard-index-v1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "other"}, "format is 'other'"),
        ({"rows": 5}, "rows is 5, the shards hold 4"),
        ({"rows": "4"}, "field 'rows' is '4': it must be int"),
        ({"rows": 4.0}, "field 'rows' is 4.0: it must be int"),
        ({"recipe": []}, "field 'recipe' is .*: it must be dict"),
        ({"photographs": {}}, "field 'photographs' is {}: it must be list"),
        ({"versions": None}, "field 'versions' is None: it must be dict"),
        ({"generation": True}, "field 'generation' is True: it must be int"),
        ({"shardlist": 3}, "not a manifest"),
        ({"shardlist": [3]}, "not a manifest"),
        ({"shardlist": [{"url": "a.tar"}]}, "not a manifest"),
    ],
)
def test_a_manifest_of_another_shape_is_refused(changes, words, tmp_path):
    values = json.loads(MANIFEST.to_json()) | changes
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match=words):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "../noise.tar"},
        {"url": "/etc/noise.tar"},
        {"url": "sub/noise.tar"},
        {"url": "http://example.org/noise.tar"},
        {"url": "noise.tar\n"},
        {"url": ".tar"},
        {"url": "noise.tar.gz"},
        {"url": 3},
        {"nsamples": -4},
        {"nsamples": 0},
        {"nsamples": "4"},
        {"filesize": -1},
        {"filesize": 1.5},
        {"sha256": None},
    ],
)
def test_a_hostile_shard_entry_is_refused(changes, tmp_path):
    values = json.loads(MANIFEST.to_json())
    values["shardlist"][0] |= changes
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"manifest\.json is not a manifest of this format"):
        load_manifest(tmp_path)


def test_a_shard_listed_twice_is_refused(tmp_path):
    values = json.loads(MANIFEST.to_json()) | {"rows": 8}
    values["shardlist"] *= 2
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match="a shard is listed twice"):
        load_manifest(tmp_path)


def test_a_folder_without_a_manifest_says_how_to_get_one(tmp_path):
    with pytest.raises(RunError, match=r"manifest\.json is missing; render one with realsr render"):
        load_manifest(tmp_path)


def test_the_identity_of_a_manifest_is_that_of_its_rows(tmp_path):
    from dataclasses import replace

    renamed = replace(MANIFEST, name="other", shardlist=[replace(ENTRY, url="other.tar")])
    other = replace(MANIFEST, shardlist=[replace(ENTRY, sha256="1" * 64)])
    assert renamed.identity() == MANIFEST.identity() != other.identity()
