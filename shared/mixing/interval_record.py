"""What happened in an interval, as plain data."""

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class IntervalRecord:
    """One interval of a `MixingLoader`; lists have one entry a task, in the order of `tasks`.

    quotas: samples to deliver over all ranks. sources: shards, fly or gpu. rows: stored rows in use. missing: shards
    that could not be had, by task; such a task is served on the fly. delivered: samples delivered so far, over all
    ranks. substituted: samples that show another row because theirs could not be read. lost: (task number, row) of rows
    that could not be read in this interval. The last two cover all ranks once the interval has ended, before that this
    rank alone.
    """

    interval: int
    steps: int
    tasks: list[str]
    quotas: list[int]
    sources: list[str]
    rows: list[int]
    missing: dict[str, list[str]]
    delivered: list[int]
    substituted: list[int]
    lost: list[tuple[int, int]]

    def to_json(self) -> dict[str, Any]:
        """Plain data with the field names as keys."""
        return {**asdict(self), "lost": [list(entry) for entry in self.lost]}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "IntervalRecord":
        """The inverse of `to_json`; further keys are ignored. Raises KeyError for a missing one."""
        known = {each.name: values[each.name] for each in fields(IntervalRecord)}
        return IntervalRecord(**{**known, "lost": [(int(owner), int(row)) for owner, row in values["lost"]]})
