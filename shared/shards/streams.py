"""Datasets as streams of the `webdataset` library, for pipelines that are built on it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..storage.places import Place, address, info, place
from .manifest import dataset_name, load_manifest


def as_webdataset(shards: str | Path, task: str, *, split: str = "train", **options: Any) -> Any:
    """A `webdataset.WebDataset` over the shards of a task; its items have the keys hr.png, json and lr.png.

    The shards are those that the manifest lists. fsspec opens them, so s3 and hf work too, which webdataset alone does
    not read, and a tar of another size than the manifest says is an error instead of lost samples.

    Args:
        shards: folder or url that holds the datasets, as for `MixingLoader`.
        task: name of the task.
        split: train or val.
        options: options of `webdataset.WebDataset`, such as shardshuffle=100 (default: the shards in their order).

    Raises `RunError` when there is no such dataset, and while iterating when a shard cannot be read.
    """
    from webdataset import WebDataset
    from webdataset.cache import StreamingOpen

    folder = place(str(shards)) / dataset_name(task, split)
    sizes = {address(folder / entry.url): entry.filesize for entry in load_manifest(folder).shardlist}
    # More workers than shards are no error: some of them then yield nothing.
    dataset = WebDataset(list(sizes), **{"shardshuffle": False, "empty_check": False, **options})
    opener = _Opener(folder, sizes)
    dataset.pipeline = [opener if isinstance(stage, StreamingOpen) else stage for stage in dataset.pipeline]
    return dataset


@dataclass(frozen=True)
class _Opener:
    """The stage of a webdataset pipeline that opens shards. sizes: bytes by url."""

    folder: Place
    sizes: dict[str, int]

    def __call__(self, shards: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        import fsspec

        for shard in shards:
            url = shard["url"]
            try:
                size = info(place(url)).size
                if size != self.sizes[url]:
                    raise RunError(f"{url} has {size} bytes, its manifest says {self.sizes[url]}: render it again")
                yield {**shard, "stream": fsspec.open(url, "rb").open(), "local_path": url}
            except OSError as error:
                raise RunError(f"{url} is listed in the manifest but cannot be read: {error}") from error
