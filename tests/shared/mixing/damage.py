"""Stored rows and shards that cannot be read."""

from pathlib import Path

from shared.shards.manifest import load_manifest


def tar(folder: Path, shard: int) -> Path:
    """The tar of a shard."""
    return folder / load_manifest(folder).shardlist[shard].url


def flip_a_bit(folder: Path, shard: int, row: int) -> None:
    """Damage a row's HR image."""
    path = tar(folder, shard)
    line = path.with_suffix(".idx").read_text().splitlines()[1 + row].split(" ")
    data = bytearray(path.read_bytes())
    data[int(line[1]) + int(line[2]) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Leave the beginning of a tar."""
    path.write_bytes(path.read_bytes()[:3000])
