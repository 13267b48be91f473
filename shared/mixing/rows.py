"""Which stored row a task shows next: keyed permutations with a bounded working set, also while a dataset grows.

A larger `--count` appends rows to a dataset; the first ones stay as they are. A loader takes the new rows up between
two intervals and keeps in its state at which ordinal it did. So the order of all rows, before and after, is a function
of the state, and a resumed run finds it again whatever has been rendered since.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..seeds import permutation
from ..shards.manifest import Manifest


class RowOrder:
    """The row of every ordinal of one task: each row once per epoch, in a keyed order with a bounded working set.

    Per epoch the shards are permuted and taken `window` at a time; within a window all rows are permuted together. So
    at any moment rows come from at most `window` shards.
    """

    def __init__(self, shard_rows: Sequence[int], seed: int, task: str, window: int) -> None:
        """shard_rows: rows of each shard. task: its name, part of the key."""
        self._starts = np.concatenate([[0], np.cumsum(shard_rows)])
        self._rows = np.asarray(shard_rows)
        self._key = (seed, "rows", task)
        self._window = window
        self._epoch_windows = lru_cache(maxsize=2)(self._make_windows)
        self._window_rows = lru_cache(maxsize=2)(self._make_rows)

    def take(self, first: int, count: int) -> np.ndarray:
        """Rows, by their number in the dataset, of the ordinals first .. first + count - 1, int64 [count]."""
        parts, end = [np.empty(0, np.int64)], first + count
        while first < end:
            epoch, position = divmod(first, int(self._starts[-1]))
            _, ends = self._epoch_windows(epoch)
            window = int(np.searchsorted(ends, position, side="right"))
            before = int(ends[window - 1]) if window else 0
            parts.append(self._window_rows(epoch, window)[position - before :][: end - first])
            first += len(parts[-1])
        return np.concatenate(parts)

    def _make_windows(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray]:
        """The shards of each window of an epoch, and the position where each window ends."""
        shards = permutation(len(self._rows), *self._key, epoch)
        windows = [shards[i : i + self._window] for i in range(0, len(shards), self._window)]
        return windows, np.cumsum([self._rows[window].sum() for window in windows])

    def _make_rows(self, epoch: int, window: int) -> np.ndarray:
        shards = self._epoch_windows(epoch)[0][window]
        rows = np.concatenate([np.arange(self._starts[shard], self._starts[shard + 1]) for shard in shards])
        return rows[permutation(len(rows), *self._key, epoch, window)]


@dataclass(frozen=True)
class DatasetVersion:
    """What a dataset held when a loader took it up.

    first: samples that the task had taken from its shards before. rows: number of rows. digest: of the recipe.
    shards, full: number and identity of the full shards, which are final. identity: of all shards.
    """

    first: int
    rows: int
    digest: str
    shards: int
    full: str
    identity: str

    @staticmethod
    def of(manifest: Manifest, first: int) -> "DatasetVersion":
        """The version that begins with a dataset as it is now."""
        sizes = [entry.nsamples for entry in manifest.shardlist]
        shards = len(sizes) - (sizes[-1:] != [manifest.recipe.get("rows_per_shard")])
        full = manifest.identity(shards)
        return DatasetVersion(first, manifest.rows, manifest.digest, shards, full, manifest.identity())

    def is_current(self, manifest: Manifest) -> bool:
        """Whether the dataset still holds these rows and no others."""
        return manifest.rows == self.rows and manifest.identity() == self.identity

    def has_grown_to(self, manifest: Manifest) -> bool:
        """Whether the dataset has gained rows since: same recipe, same first shards, more rows."""
        same = manifest.digest == self.digest and manifest.identity(self.shards) == self.full
        return same and manifest.rows > self.rows

    def continues_as(self, manifest: Manifest) -> bool:
        """Whether the dataset holds these rows still, perhaps with more after them."""
        return self.is_current(manifest) or self.has_grown_to(manifest)


class GrowingOrder:
    """The row of every ordinal of a task through all versions of its dataset.

    When a dataset has grown, the current epoch is finished, then the new rows are visited once, then come epochs of all
    rows. Each of these stretches is a `RowOrder` with its bounded window of shards.
    """

    def __init__(
        self, versions: Sequence[DatasetVersion], manifest: Manifest, seed: int, key: str, window: int
    ) -> None:
        """manifest: of the dataset as it is now. key, window: as for `RowOrder`."""
        sizes = np.array([entry.nsamples for entry in manifest.shardlist])
        starts = np.cumsum(sizes) - sizes

        def order(first: int, end: int, key: str) -> RowOrder:
            inside = np.minimum(starts + sizes, end) - np.maximum(starts, first)
            return RowOrder(inside[inside > 0].tolist(), seed, key, window)

        rows = versions[0].rows
        begin, epochs = 0, 0  # of the last stretch, which repeats; of the oldest rows, before it
        stretches = [(0, 0, order(0, rows, key))]
        for version in versions[1:]:
            grown = version.rows
            finished = -(-max(0, version.first - begin) // rows)
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
        """Samples taken after `ordinals` samples, as if all rows had been visited as often as those most visited."""
        return ordinals + self._ahead
