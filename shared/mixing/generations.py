"""Datasets that grow during a run: which rows a task draws from since when, and in which order.

A larger `--count` appends rows; the first ones stay as they are. A run takes the new ones up at a boundary only, and
remembers in its state at which ordinal that was. So the order of all its samples, before and after, is a function of
the state, and a resumed run finds it again whatever has been rendered since.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..shards.manifest import Manifest
from .tickets import RowOrder


@dataclass(frozen=True)
class Generation:
    """What a dataset held when a run took it up.

    first: samples that the task had taken from its shards before. rows: in the dataset. digest: of its recipe.
    shards, full: number and identity of its full shards, which are final. identity: of all its shards.
    """

    first: int
    rows: int
    digest: str
    shards: int
    full: str
    identity: str

    def is_that_of(self, manifest: Manifest) -> bool:
        """Whether a dataset still holds these rows and no others."""
        return manifest.rows == self.rows and manifest.identity() == self.identity

    def is_before(self, manifest: Manifest) -> bool:
        """Whether a dataset has grown since: same recipe, same first shards, more rows."""
        same = manifest.digest == self.digest and manifest.identity(self.shards) == self.full
        return same and manifest.rows > self.rows

    def plain(self) -> dict[str, Any]:
        """For the state of a run."""
        return asdict(self)


def generation_of(manifest: Manifest, first: int) -> Generation:
    """The generation that begins with a dataset as it is now."""
    sizes = [entry.nsamples for entry in manifest.shardlist]
    shards = len(sizes) - (sizes[-1:] != [manifest.recipe.get("rows_per_shard")])
    return Generation(
        first, manifest.rows, manifest.digest, shards, manifest.identity(shards), manifest.identity()
    )  # fmt: skip


def identity_of(found: Manifest | str) -> str:
    """Of a dataset, or of what has none and is named by its identity."""
    return found if isinstance(found, str) else found.identity()


def is_continued(name: str, begun: str, found: Manifest | str, feed: dict[str, Any]) -> bool:
    """Whether a run may go on with what it draws from as it is now. name: task/split. begun: identity at its begin.

    feed: the state of the run's feed, which knows what rows it has taken up since.
    """
    task, _, split = name.partition("/")
    if split == "train" and isinstance(found, Manifest) and (known := feed.get("generations", {}).get(task)):
        last = Generation(**known[-1])
        return last.is_that_of(found) or last.is_before(found)
    return identity_of(found) == begun


class GrowingOrder:
    """The row of every ordinal of a task through all generations of its dataset.

    When a dataset has grown, the epoch at hand is finished, then the new rows are visited once, then come epochs of all
    rows. Each of these stretches is a `RowOrder`, with its bounded window of shards.
    """

    def __init__(self, generations: Sequence[Generation], manifest: Manifest, seed: int, key: str, window: int) -> None:
        """manifest: of the dataset as it is now. key, window: as for `RowOrder`."""
        sizes = np.array([entry.nsamples for entry in manifest.shardlist])
        starts = np.cumsum(sizes) - sizes

        def order(first: int, end: int, key: str) -> RowOrder:
            inside = np.minimum(starts + sizes, end) - np.maximum(starts, first)
            return RowOrder(inside[inside > 0].tolist(), seed, key, window)

        rows = generations[0].rows
        begin, epochs = 0, 0  # of the last stretch, which repeats; of the oldest rows, before it
        stretches = [(0, 0, order(0, rows, key))]
        for generation in generations[1:]:
            grown = generation.rows
            finished = -(-max(0, generation.first - begin) // rows)
            begin, epochs = begin + finished * rows, epochs + finished
            if epochs:
                stretches.append((begin, rows, order(rows, grown, f"{key}, rows from {rows}")))
                begin += grown - rows
            stretches.append((begin, 0, order(0, grown, f"{key} of {grown} rows")))
            rows = grown
        self._stretches, self._rows = stretches, rows
        self._ahead = epochs * rows - begin

    def take(self, first: int, count: int) -> np.ndarray:
        """Rows of the ordinals first .. first + count - 1, int64 [count]."""
        ends = [begin for begin, _, _ in self._stretches[1:]] + [first + count]
        parts = [np.empty(0, np.int64)]
        for (begin, offset, order), end in zip(self._stretches, ends, strict=True):
            low, high = max(first, begin), min(first + count, end)
            if low < high:
                parts.append(offset + order.take(low - begin, high - low))
        return np.concatenate(parts)

    def visits(self, ordinals: int) -> int:
        """Samples taken by then, as if all rows had been visited as often as those most visited."""
        return ordinals + self._ahead
