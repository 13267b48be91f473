"""What a file claims is checked against what it holds, before memory is taken for it."""

import os
import resource
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import RunError
from shared.images import encode_png
from shared.records import MAX_CONTAINERS, parse_json
from shared.shards.format import MAX_JSON_BYTES, Member, Row, decode_pair, group_rows, read_index, write_index
from shared.shards.manifest import Manifest, load_manifest
from shared.shards.reader import LostRowError, ShardFile, tar_members

ROW = Row("noise", "train", 0, 7, "a.png", "00", 3, 4, 76, 4, "{}", "paper", "CC0")
HR, LR = np.zeros((76, 76, 3), np.uint8), np.zeros((19, 19, 3), np.uint8)


def members(hr: int, json: int, lr: int, json_bytes: int = 100) -> list[Member]:
    key = "noise-000000-00000"
    sizes = {"hr.png": (hr, 1000), "json": (json, json_bytes), "lr.png": (lr, 200)}
    return [Member(extension, offset, size, f"{key}.{extension}") for extension, (offset, size) in sizes.items()]


def test_members_of_a_row_that_lie_far_apart_are_refused(tmp_path: Path) -> None:
    far = members(512, 2048, 3 << 30)
    with pytest.raises(ValueError, match="lie 3221223324 bytes apart: at most 65536"):
        group_rows(far)
    tar = tmp_path / "noise-x4-a1b2c3-000000.tar"
    with tar.open("wb") as file:
        os.truncate(file.fileno(), (3 << 30) + 1024)  # sparse: it takes no room
    index = write_index(far)
    apart = index.replace(b" json ", b"\njson ").replace(b" lr.png ", b"\nlr.png ").replace(b"v1.2 1", b"v1.2 3")
    for text in (index, apart):
        tar.with_suffix(".idx").write_bytes(text)
        with pytest.raises(LostRowError, match="bytes apart"):
            ShardFile(tar, 1)


def test_a_json_of_more_than_a_megabyte_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too large"):
        read_index(write_index(members(512, 2048, 8 << 20, MAX_JSON_BYTES + 1)))
    with pytest.raises(ValueError, match=f"the json of a row has {MAX_JSON_BYTES + 1} bytes"):
        Row.from_json(b"[" * (MAX_JSON_BYTES + 1))


def test_an_index_longer_than_its_rows_can_need_is_refused_unread(tmp_path: Path) -> None:
    tar = tmp_path / "noise-x4-a1b2c3-000000.tar"
    tar.write_bytes(bytes(10240))
    tar.with_suffix(".idx").write_bytes(b"v1.2 1\n" + b"x" * 9000)
    with pytest.raises(LostRowError, match="9007 bytes are more than 8192"):
        ShardFile(tar, 1)


def test_a_tar_whose_json_is_too_large_is_refused(tmp_path: Path) -> None:
    import tarfile

    header = tarfile.TarInfo("a.json")
    header.size = MAX_JSON_BYTES + 1
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT))
    with pytest.raises(ValueError, match=rf"'a\.json' is no plain file of at most {MAX_JSON_BYTES} bytes"):
        list(tar_members(tmp_path / "a.tar"))


def test_a_lone_surrogate_in_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        Row.from_json(ROW.to_json().replace(b'"a.png"', b'"\\ud800.png"'))
    assert Row.from_json(replace(ROW, hr_id='a"\n.png').to_json()).hr_id == 'a"\n.png'


def test_empty_lists_are_refused_before_they_are_made() -> None:
    text = "[" + "[]," * MAX_CONTAINERS + "0]"
    with pytest.raises(ValueError, match=f"more than {MAX_CONTAINERS} lists"):
        parse_json(text)
    assert len(parse_json("[" + "[      10101010]," * 2_000_00 + "0]")) == 200_001


def write_manifest(folder: Path, count: int) -> int:
    """A manifest of many HR images, as `save` writes it but without its minute of work; how many bytes it has."""
    empty = Manifest("noise", "noise", "train", "a1b2c3", {}, 0, 1, "CC0", {}, [], {}).to_json()
    one = '  {"height": 480, "id": "%036d/%08d.JPEG", "licence": "research only", "sha256": "%064x", "width": 640}'
    entries = ",\n".join(one % (number, number, number) for number in range(count))
    data = empty.replace(b'"photographs": []', b'"photographs": [\n' + entries.encode() + b"\n ]")
    (folder / "manifest.json").write_bytes(data)
    return len(data)


def test_a_long_manifest_may_hold_an_entry_for_each_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.records.MAX_CONTAINERS", 1000)
    write_manifest(tmp_path, 13_000)
    assert len(load_manifest(tmp_path).photographs) == 13_000


@pytest.mark.slow
def test_a_manifest_of_1_3_million_images_is_read_again(tmp_path: Path) -> None:
    assert write_manifest(tmp_path, 1_300_000) > 256 << 20
    assert len(load_manifest(tmp_path).photographs) == 1_300_000


def chunk(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(data) if size is None else size)
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
    )


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"iCCP", b"eXIf"])
def test_a_chunk_that_claims_4_gb_in_a_row_takes_no_memory(kind: bytes) -> None:
    header = struct.pack(">II", 76, 76) + bytes([8, 2, 0, 0, 0])
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(kind, bytes(40), 0xFFFFFFF0) + chunk(b"IEND", b"")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    meta = replace(ROW, hr_crc32=zlib.crc32(data), lr_crc32=zlib.crc32(encode_png(LR))).to_json()
    with pytest.raises(RunError, match=r"claims 4294967280 bytes, 5\d are left"):
        decode_pair(data, meta, encode_png(LR), "k")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
