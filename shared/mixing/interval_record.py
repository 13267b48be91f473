"""What happened in an interval, as plain data."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from ..records import from_plain
from ..text import short


@dataclass(frozen=True)
class IntervalRecord:
    """One interval of a `MixingLoader`; lists have one entry a task, in the order of `tasks`.

    quotas: samples to deliver over all ranks. sources: shards, fly or gpu. rows: stored rows in use. missing: shards
    that could not be had, by task; such a task is served on the fly. delivered: samples delivered so far, over all
    ranks. substituted: samples that show another row because theirs could not be read. lost: (task number, row) of rows
    that could not be read in this interval. The last two cover all ranks once the interval has ended, before that this
    rank alone; of the steps before a state was saved they hold what was counted on the rank that saved it.
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

    def require_sound(self) -> None:
        """Raises ValueError unless lists have one entry a task, numbers are 0 or more, and sources are known."""
        counts = {name: getattr(self, name) for name in ("quotas", "rows", "delivered", "substituted")}
        for name, numbers in counts.items():
            if len(numbers) != len(self.tasks) or min(numbers, default=0) < 0:
                raise ValueError(f"{name} are {short(numbers)}: they must be 0 or more, one for each of {self.tasks}")
        if len(self.sources) != len(self.tasks) or not {*self.sources} <= {"shards", "fly", "gpu"}:
            raise ValueError(f"sources are {short(self.sources)}: they must be shards, fly or gpu, one a task")
        if not all(0 <= owner < len(self.tasks) and row >= 0 for owner, row in self.lost):
            raise ValueError(f"lost are {short(self.lost)}: they must be numbers of a task and of a row")

    def to_json(self) -> dict[str, Any]:
        """Plain data with the field names as keys."""
        return {**asdict(self), "lost": [list(entry) for entry in self.lost]}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "IntervalRecord":
        """The inverse of `to_json`; further keys are ignored. Raises KeyError for a missing one, else ValueError."""
        record = from_plain(IntervalRecord, {each.name: values[each.name] for each in fields(IntervalRecord)}, "entry")
        record.require_sound()
        return record
