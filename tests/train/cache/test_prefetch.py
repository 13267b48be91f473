"""Shards are fetched ahead, in the order of their use, and never displace what is in use."""

from dataclasses import replace

from shared.shards.cache import Prefetch, ShardRequest
from shared.shards.manifest import ShardEntry
from tests.train.cache.contents import kept, tar
from tests.train.web import Web


def wanted(web: Web, entries: list[ShardEntry], *spans: tuple[int, int]) -> list[ShardRequest]:
    return [ShardRequest(tar(web, entry), entry, *span) for entry, span in zip(entries, spans, strict=True)]


def test_shards_are_fetched_ahead_in_the_order_of_their_use(cache, web, entries) -> None:
    Prefetch(cache, wanted(web, entries, (0, 3), (2, 5), (4, 9), (8, 9)), step=0, threads=1).join()
    assert web.gets == [entry.url for entry in entries]


def test_fetching_ahead_never_displaces_what_is_in_use(cache, web, entries) -> None:
    cache = replace(cache, budget_bytes=sum(entry.filesize for entry in entries[:2]))
    prefetch = Prefetch(cache, wanted(web, entries, (0, 3), (2, 5), (4, 9), (8, 9)), step=0, threads=1)
    while len(kept(cache)) < 2:
        prefetch.advance(3)  # until the first is done with, there is no room for the third
    prefetch.stop()
    prefetch.join()
    assert web.gets == [entries[0].url, entries[1].url]
    prefetch = Prefetch(cache, wanted(web, entries, (0, 3), (2, 5), (4, 9), (8, 9))[1:], step=4, threads=1)
    prefetch.advance(6)
    prefetch.advance(9)
    prefetch.advance(10)
    prefetch.join()
    assert web.gets[-2:] == [entries[2].url, entries[3].url]


def test_what_cannot_be_had_does_not_stop_what_follows(cache, web, folder, entries) -> None:
    (folder / entries[1].url).unlink()
    Prefetch(cache, wanted(web, entries, (0, 3), (2, 5), (4, 9), (8, 9)), step=0, threads=2).join()
    assert kept(cache) == {entries[number].sha256 for number in (0, 2, 3)}
