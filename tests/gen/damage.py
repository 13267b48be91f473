"""Damage done to a dataset on purpose, for tests of what finds it."""

import hashlib
import io
import json
import tarfile
import zlib
from contextlib import suppress

from gen.verify import check_dataset
from shared.shards.format import Member, write_index
from shared.shards.manifest import load_manifest


def tars(folder):
    return [folder / entry.url for entry in load_manifest(folder).shardlist]


def sums_of(folder):
    return {
        name: digest for digest, name in (line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines())
    }


def edit_manifest(folder, change):
    """Change the manifest, and make SHA256SUMS agree."""
    path = folder / "manifest.json"
    values = json.loads(path.read_bytes())
    change(values)
    path.write_text(json.dumps(values))
    refresh_sums(folder)


def refresh_sums(folder):
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in sums_of(folder)]
    (folder / "SHA256SUMS").write_text("".join(lines))


def renew_checksums(members):
    """Make the json of whole rows agree with the bytes of their pictures."""
    for hr, record, lr in zip(members[::3], members[1::3], members[2::3], strict=False):
        with suppress(ValueError):
            values = json.loads(record[1])
            values |= {"hr_crc32": zlib.crc32(hr[1]), "lr_crc32": zlib.crc32(lr[1])}
            record[1] = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def write_members(path, members):
    """Write a tar of (name, bytes) and its index, whatever the names are."""
    index = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            index.append(Member(name.partition(".")[2], tar.offset + 512, len(data), name))
            tar.addfile(header, io.BytesIO(data))
    path.with_suffix(".idx").write_bytes(write_index(index))


def rewrite(folder, number, change, checksums=False):
    """Write shard `number` anew with `change(members)`, members a list of [name, bytes]; all hashes agree then."""
    path = tars(folder)[number]
    with tarfile.open(path) as tar:
        members = [[header.name, tar.extractfile(header).read()] for header in tar]
    change(members)
    if checksums:
        renew_checksums(members)
    write_members(path, members)
    data = path.read_bytes()

    def update(values):
        values["shardlist"][number] |= {
            "filesize": len(data),
            "md5sum": hashlib.md5(data).hexdigest(),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    edit_manifest(folder, update)


def with_json(row, /, **changes):
    """A change of one row's json, for `rewrite`."""

    def change(members):
        members[3 * row + 1][1] = json.dumps(json.loads(members[3 * row + 1][1]) | changes).encode()

    return change


def with_plan(row, edit):
    """A change of one row's plan, for `rewrite`."""

    def change(members):
        plan = json.loads(json.loads(members[3 * row + 1][1])["plan"])
        edit(plan)
        with_json(row, plan=json.dumps(plan))(members)

    return change


def problem_of(folder, usable=9):
    """The one problem of a dataset, and how many rows are usable in spite of it."""
    report = check_dataset(folder)
    assert len(report.problems) == 1, report.problems
    assert len(report.good) == usable
    return report.problems[0]
