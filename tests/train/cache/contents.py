"""What lies in a cache, and where its shards come from."""

from shared.shards.cache import ShardCache
from shared.shards.manifest import ShardEntry
from shared.storage.remote import Remote
from tests.train.web import Web


def tar(web: Web, entry: ShardEntry) -> Remote:
    return Remote(f"{web.url}/noise/{entry.url}")


def kept(cache: ShardCache) -> set[str]:
    return {path.stem for path in cache.folder.glob("*.tar")}


def leftovers(cache: ShardCache) -> list[str]:
    return [path.name for path in cache.folder.iterdir() if path.name.startswith(".tmp")]
