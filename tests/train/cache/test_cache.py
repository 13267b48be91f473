"""The cache of a node: every shard is fetched once, verified, and the longest unused one makes room."""

import errno
import hashlib
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from shared.errors import RunError
from shared.shards.cache import FORGIVEN_SECONDS, ShardCache
from shared.shards.manifest import ShardEntry
from shared.shards.reader import Dataset, LostRowError
from shared.storage.remote import Remote
from shared.storage.retry import RetryPolicy
from tests.train.cache.contents import kept, leftovers, tar
from tests.train.web import Answer, cut_off, endless, flipped, gone, slow, unavailable


def test_rows_through_the_cache_are_those_of_the_folder(cache, web, folder) -> None:
    local, remote = Dataset(folder), Dataset(Remote(f"{web.url}/noise"), open_shard=cache.open)
    for row in (0, 27, 9, 8, 20):
        mine, expected = remote[row], local[row]
        assert (mine.hr == expected.hr).all()
        assert (mine.lr == expected.lr).all()
        assert mine.row == expected.row
    tars = [name for name in web.gets if name.endswith(".tar")]
    assert sorted(tars) == sorted(entry.url for entry in local.manifest.shardlist)  # each once
    assert not [name for name in web.gets if name.endswith(".idx")]  # made anew from the verified tar


def test_what_is_kept_is_the_file_with_its_index_and_asks_for_nothing(cache, web, folder, entries) -> None:
    for _ in range(3):
        path = cache.fetch(tar(web, entries[0]), entries[0])
    assert web.gets == [entries[0].url]
    assert path.read_bytes() == (folder / entries[0].url).read_bytes()
    assert path.with_suffix(".idx").read_bytes() == (folder / entries[0].url).with_suffix(".idx").read_bytes()
    assert path.name == f"{entries[0].sha256}.tar"


def test_equal_shards_of_different_names_are_one_file(cache, web, folder, entries) -> None:
    shutil.copy(folder / entries[0].url, folder / "other.tar")
    cache.fetch(tar(web, entries[0]), entries[0])
    cache.fetch(tar(web, replace(entries[0], url="other.tar")), replace(entries[0], url="other.tar"))
    assert web.gets == [entries[0].url]


def test_equal_names_of_different_shards_are_two_files(cache, web, folder, entries) -> None:
    first = cache.fetch(tar(web, entries[0]), entries[0])
    shutil.copy(folder / entries[1].url, folder / entries[0].url)
    second = cache.fetch(tar(web, entries[0]), replace(entries[1], url=entries[0].url))
    assert first.read_bytes() != second.read_bytes()


@pytest.mark.parametrize("trouble", [unavailable, cut_off, flipped])
def test_trouble_on_the_way_is_waited_out(trouble: Answer, cache, web, entries, waits) -> None:
    web.answers[entries[0].url] = [trouble, trouble]
    assert cache.open(tar(web, entries[0]), entries[0])[3].row.row == 3
    assert waits == [0.5, 1.0]
    assert leftovers(cache) == []


def test_a_slow_server_is_waited_for(cache, web, entries, waits) -> None:
    web.answers[entries[0].url] = [slow]
    assert cache.open(tar(web, entries[0]), entries[0])[3].row.row == 3
    assert waits == []


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (unavailable, r"could not be had in up to 6 attempts: .*503"),
        (cut_off, "could not be had in up to 6 attempts"),
        (flipped, "has sha256 [0-9a-f]{64}, its manifest says [0-9a-f]{64}"),
        (endless, "more bytes are sent than the [0-9]+ that it may have"),
    ],
)
def test_trouble_that_stays_loses_the_shard_by_its_url(trouble: Answer, message, cache, web, entries, waits) -> None:
    web.answers[entries[0].url] = [trouble] * 6
    with pytest.raises(LostRowError, match=message) as caught:
        cache.fetch(tar(web, entries[0]), entries[0])
    assert str(tar(web, entries[0])) in str(caught.value)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert kept(cache) == set()
    assert leftovers(cache) == []


def test_an_absent_shard_is_not_asked_for_again(cache, web, folder, entries, waits) -> None:
    (folder / entries[0].url).unlink()
    for _ in range(2):
        with pytest.raises(LostRowError, match=rf"{entries[0].url} is not there, though its manifest lists it"):
            cache.fetch(tar(web, entries[0]), entries[0])
    assert waits == []
    assert len(web.gets) == 1


def test_a_shard_that_could_not_be_had_is_asked_for_again_after_a_while(cache, web, entries) -> None:
    web.answers[entries[0].url] = [gone]
    with pytest.raises(LostRowError, match="is not there"):
        cache.fetch(tar(web, entries[0]), entries[0])
    before = time.time() - FORGIVEN_SECONDS - 1
    (refusal,) = cache.folder.glob(f"{entries[0].sha256}-*.lost")
    os.utime(refusal, (before, before))
    cache.fetch(tar(web, entries[0]), entries[0])
    assert kept(cache) == {entries[0].sha256}


def test_what_one_url_has_lost_another_may_have(cache, web, entries) -> None:
    web.answers[entries[0].url] = [gone]
    with pytest.raises(LostRowError, match="is not there"):
        cache.fetch(tar(web, entries[0]), entries[0])
    mirror = Remote(tar(web, entries[0]).url.replace("127.0.0.1", "localhost"))
    assert cache.open(mirror, entries[0])[0].row.row == 0


def test_a_clock_that_was_ahead_makes_no_shard_lost_for_longer(cache, web, entries) -> None:
    web.answers[entries[0].url] = [gone]
    with pytest.raises(LostRowError, match="is not there"):
        cache.fetch(tar(web, entries[0]), entries[0])
    (refusal,) = cache.folder.glob("*.lost")
    os.utime(refusal, (time.time() + 1e6, time.time() + 1e6))
    cache.fetch(tar(web, entries[0]), entries[0])
    assert kept(cache) == {entries[0].sha256}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_cache_on_a_file_system_without_locks_works(number, cache, web, entries, monkeypatch, capsys) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", no_lock)
    for entry in entries[:2]:
        assert len(cache.open(tar(web, entry), entry)) == entry.nsamples
    assert capsys.readouterr().err.count("lies on a file system without locks") == 1


def test_a_damaged_page_of_a_kept_shard_is_fetched_again_once(cache, web, entries) -> None:
    path = cache.fetch(tar(web, entries[0]), entries[0])
    data = bytearray(path.read_bytes())
    shard = cache.open(tar(web, entries[0]), entries[0])
    member = shard._rows[3][0]
    data[member.offset + member.size // 2] ^= 1
    path.write_bytes(data)
    assert shard[2].row.row == 2
    assert shard[3].row.row == 3
    assert web.gets == [entries[0].url] * 2
    assert path.read_bytes() != bytes(data)
    path.write_bytes(data)
    with pytest.raises(LostRowError, match="checksum"):
        shard[3]  # the disk damages what it is given: one renewal is enough


def test_the_lock_file_of_another_user_is_locked_read_only(cache, web, entries, monkeypatch) -> None:
    cache.folder.mkdir()
    opened = os.open

    def forbidden(path, flags, *mode):
        if flags & os.O_CREAT and ".lock-" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(RunError, match=r"cache of shards cannot be used: .*lock-.*; give a folder to --cache that you"):
        cache.fetch(tar(web, entries[0]), entries[0])
    for name in (entries[0].sha256[:3], "room"):
        (cache.folder / f".lock-{name}").write_bytes(b"")
    cache.fetch(tar(web, entries[0]), entries[0])
    assert kept(cache) == {entries[0].sha256}


@pytest.mark.parametrize("sha256", ["", "../../escaped", "A" * 64, "0" * 63])
def test_a_hash_that_is_none_names_no_file(sha256: str, cache, web, entries) -> None:
    with pytest.raises(LostRowError, match="gives no sha256, so it cannot be verified"):
        cache.fetch(tar(web, entries[0]), replace(entries[0], sha256=sha256))
    assert web.gets == []


@pytest.mark.parametrize("change", [-512, 512])
def test_a_size_that_the_manifest_lies_about_is_found(change: int, cache, web, entries) -> None:
    entry = replace(entries[0], filesize=entries[0].filesize + change)
    with pytest.raises(LostRowError, match=r"more bytes are sent than|bytes, its manifest says"):
        cache.fetch(tar(web, entry), entry)
    assert kept(cache) == set()


def test_a_whole_file_that_is_no_shard_is_refused(cache, web, folder, entries) -> None:
    data = b"#!/bin/sh\n" * 200
    (folder / "evil.tar").write_bytes(data)
    entry = ShardEntry("evil.tar", 8, len(data), "", hashlib.sha256(data).hexdigest())
    with pytest.raises(LostRowError, match=r"evil\.tar is not a shard of this format"):
        cache.open(tar(web, entry), entry)
    assert kept(cache) == set()


# ---- room


def test_the_longest_unused_shard_makes_room(cache, web, entries) -> None:
    sizes = [entry.filesize for entry in entries]
    cache = replace(cache, budget_bytes=sizes[0] + sizes[1] + sizes[2])
    for number, entry in enumerate(entries[:3]):
        path = cache.fetch(tar(web, entry), entry)
        os.utime(path, (number, number))
    assert cache.touch(entries[0])  # used again
    cache.fetch(tar(web, entries[3]), entries[3])
    assert kept(cache) == {entries[number].sha256 for number in (0, 2, 3)}
    assert {path.stem for path in cache.folder.glob("*.idx")} == kept(cache)
    cache.fetch(tar(web, entries[1]), entries[1])
    assert sum(path.stat().st_size for path in cache.folder.glob("*.tar")) <= cache.budget_bytes


def test_shards_that_are_fetched_at_once_stay_within_the_budget(cache, web, entries, monkeypatch) -> None:
    cache = replace(cache, budget_bytes=max(entry.filesize for entry in entries[:2]))
    both, download = threading.Barrier(2, timeout=30), Remote.download

    def together(*arguments) -> None:
        download(*arguments)
        both.wait()  # each has claimed its room before either is kept

    monkeypatch.setattr(Remote, "download", together)
    threads = [threading.Thread(target=cache.fetch, args=(tar(web, entry), entry)) for entry in entries[:2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept(cache)) == 1
    assert leftovers(cache) == []


def test_a_shard_that_was_dropped_while_it_is_read_stays_readable(cache, web, entries) -> None:
    cache = replace(cache, budget_bytes=entries[0].filesize + 1)
    opened = cache.open(tar(web, entries[0]), entries[0])
    cache = replace(cache, budget_bytes=entries[1].filesize)
    cache.open(tar(web, entries[1]), entries[1])
    assert kept(cache) == {entries[1].sha256}
    assert opened[7].row.row == 7


def test_a_shard_larger_than_the_cache_is_refused_with_the_remedy(cache, web, entries) -> None:
    with pytest.raises(RunError, match="more than the 100 of the cache: raise --cache-gb"):
        replace(cache, budget_bytes=100).fetch(tar(web, entries[0]), entries[0])


def test_a_full_disk_is_no_lost_shard(cache, web, entries, waits, monkeypatch) -> None:
    def download(self: Remote, file: Path, limit: int | None = None) -> None:
        raise OSError(f"{self}: full") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Remote, "download", download)
    with pytest.raises(RunError, match=r"no room for shards in .*cache: free some space or lower --cache-gb") as caught:
        cache.fetch(tar(web, entries[0]), entries[0])
    assert not isinstance(caught.value, LostRowError)
    assert waits == []


def test_a_disk_that_is_full_and_has_room_again(small_disk, cache, web, entries, waits) -> None:
    disk = small_disk(f"size={entries[0].filesize // 2}")
    cache = replace(cache, folder=disk)
    with pytest.raises(RunError, match=r"no room for shards in .*disk: free some space or lower --cache-gb"):
        cache.fetch(tar(web, entries[0]), entries[0])
    assert waits == []
    assert leftovers(cache) == [*kept(cache)] == []
    subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
    assert cache.open(tar(web, entries[0]), entries[0])[3].row.row == 3


def rows_as(uid: int, cache: ShardCache, tar: Remote, entry: ShardEntry, send: Connection) -> None:
    """Read of a shard's row 3 as that user, without decoders: a module that is imported later may be out of reach."""
    tar.read_range(0, 1)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    try:
        send.send(cache.open(tar, entry).meta(3).row)
    except LostRowError as error:
        send.send(str(error))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o777, 0o1777], ids=["all remove all", "each removes their own"])
def test_two_users_of_one_folder(mode: int, web, folder, entries) -> None:
    """The second uses what the first has kept, and drops it for room where the folder lets them."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)

    def row(uid: int, number: int) -> object:
        arguments = (uid, cache, tar(web, entries[number]), entries[number], send)
        process = context.Process(target=rows_as, args=arguments)
        process.start()
        process.join()
        return receive.recv() if receive.poll() else process.exitcode

    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(mode)
        cache = ShardCache(Path(place), entries[0].filesize + entries[1].filesize // 2, RetryPolicy(()))
        assert [row(12345, 0), row(12346, 0), row(12346, 1)] == [3, 3, 11]
        assert kept(cache) == {entries[1].sha256} | ({entries[0].sha256} if mode & 0o1000 else set())
        os.truncate(cache.folder / f"{entries[1].sha256}.tar", 100)
        damaged = row(12345, 1)
        assert "is cut short" in str(damaged) if mode & 0o1000 else damaged == 11


def test_what_a_killed_process_left_is_swept_and_its_claim_ends(cache, web, entries) -> None:
    cache.folder.mkdir()
    leftover = cache.folder / f".tmp-node-1-{entries[1].sha256}.{1 << 40}"
    leftover.touch()
    os.utime(leftover, (0, 0))
    for entry in entries:
        cache.fetch(tar(web, entry), entry)
    assert len(kept(cache)) == 4
    assert leftovers(cache) == []


def test_a_shard_that_a_disk_has_cut_is_fetched_again(cache, web, entries) -> None:
    path = cache.fetch(tar(web, entries[0]), entries[0])
    os.truncate(path, 5000)
    assert cache.open(tar(web, entries[0]), entries[0])[0].row.row == 0
    assert web.gets == [entries[0].url] * 2


# ---- many processes


def test_processes_and_threads_share_one_download(cache, web, folder, entries) -> None:
    context = multiprocessing.get_context("fork")
    cache = ShardCache(cache.folder, cache.budget_bytes)
    web.answers[entries[0].url] = [slow]
    processes = [context.Process(target=cache.fetch, args=(tar(web, entries[0]), entries[0])) for _ in range(3)]
    threads = [threading.Thread(target=cache.fetch, args=(tar(web, entries[0]), entries[0])) for _ in range(3)]
    for each in (*processes, *threads):
        each.start()
    for each in (*processes, *threads):
        each.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert web.gets == [entries[0].url]
    assert cache.fetch(tar(web, entries[0]), entries[0]).read_bytes() == (folder / entries[0].url).read_bytes()


# ---- ahead of the training
