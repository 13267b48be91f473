"""The state of a mixing loader: plain data without a rank in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import RunError
from .interval_record import IntervalRecord
from .rows import DatasetVersion
from .samples import LostRow

FORMAT = "realsr-mixing-v1"


@dataclass
class LoaderState:
    """What a loader must remember.

    tasks: names. versions: of each dataset, which rows were taken up when. hr: identity of the HR pool. interval, step:
    number of the interval, and its batches that are done. consumed: samples of each task in finished intervals. read:
    how many of these came from its shards. lost: rows of each task's dataset that could not be read in finished
    intervals. record: the interval under way, or the last one. is_open: whether it is under way.
    """

    tasks: Sequence[str]
    versions: dict[str, list[DatasetVersion]]
    hr: str | None = None
    interval: int = 0
    step: int = 0
    consumed: dict[str, int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    lost: dict[str, list[int]] = field(default_factory=dict)
    record: IntervalRecord | None = None
    is_open: bool = False

    def __post_init__(self) -> None:
        self.consumed = {name: self.consumed.get(name, 0) for name in self.tasks}

    @property
    def steps(self) -> int:
        """Batches of the interval under way."""
        return self.record.steps if self.record and self.is_open else 0

    @property
    def quotas(self) -> list[int]:
        """Quotas of the interval under way."""
        return self.record.quotas if self.record and self.is_open else []

    @property
    def substituted(self) -> list[int]:
        """Samples of each task, in the interval under way, that show another row than theirs."""
        return self.record.substituted if self.record else []

    @property
    def lost_now(self) -> list[tuple[int, int]]:
        """(task number, row) of the rows that could not be read in the interval under way."""
        return self.record.lost if self.record else []

    def known_lost(self, tasks: Sequence[str]) -> set[tuple[int, int]]:
        """(task number, row) of the rows that were found lost before the interval under way."""
        return {(tasks.index(name), row) for name, rows in self.lost.items() for row in rows}

    def begin(self, record: IntervalRecord) -> None:
        """Begin an interval."""
        self.record, self.is_open, self.step = record, True, 0

    def note(self, found: Sequence[LostRow]) -> None:
        """Enter rows that could not be read."""
        assert self.record
        substituted = list(self.record.substituted)
        for task, _ in {(entry.task, entry.ordinal) for entry in found}:
            substituted[task] += 1
        lost = sorted({*self.record.lost, *((entry.owner, entry.row) for entry in found)})
        self.record = replace(self.record, substituted=substituted, lost=lost)

    def end(self, found: Sequence[tuple[Sequence[tuple[int, int]], Sequence[int]]]) -> None:
        """End the interval. found: lost rows, and samples that were substituted, of each rank."""
        record = self.record
        assert record
        lost = sorted({(owner, row) for rows, _ in found for owner, row in rows})
        substituted = [sum(counts) for counts in zip(*(counts for _, counts in found), strict=True)]
        for name, source, quota in zip(self.tasks, record.sources, record.quotas, strict=True):
            self.consumed[name] += quota
            if source == "shards":
                self.read[name] = self.read.get(name, 0) + quota
        for owner, row in lost:
            known = self.lost.setdefault(self.tasks[owner], [])
            self.lost[self.tasks[owner]] = sorted({*known, row})
        self.record = replace(record, delivered=record.quotas, substituted=substituted, lost=lost)
        self.is_open, self.interval, self.step = False, self.interval + 1, 0

    def to_json(self, record: IntervalRecord | None) -> dict[str, Any]:
        """Plain data. record: the interval so far. A finished interval that was not ended yet counts as ended."""
        state = self
        if self.is_open and self.step == self.steps:
            state = replace(self, consumed=dict(self.consumed), read=dict(self.read), lost=dict(self.lost))
            state.end([(self.lost_now, self.substituted)])
        return {
            "format": FORMAT,
            "tasks": list(state.tasks),
            "interval": state.interval,
            "step": state.step,
            "consumed": dict(state.consumed),
            "read": dict(state.read),
            "generations": {name: [each.to_json() for each in versions] for name, versions in state.versions.items()},
            "lost": {name: list(rows) for name, rows in state.lost.items()},
            "hr": state.hr,
            "record": record.to_json() if record and state.is_open else None,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any], rank: int = 0) -> "LoaderState":
        """The inverse of `to_json`. rank: what one rank has counted in an interval is taken over by the first alone.

        Raises `RunError` for another format, and for values that are no state.
        """
        if values.get("format") != FORMAT:
            raise RunError(f"the state has format {values.get('format')!r}: this program reads {FORMAT!r}")
        try:
            record = IntervalRecord.from_json(values["record"]) if values["record"] else None
            if record and rank:
                record = replace(record, substituted=[0] * len(record.tasks), lost=[])
            versions = {
                name: [DatasetVersion(**each) for each in found] for name, found in values["generations"].items()
            }
            numbers = (values["interval"], values["step"])
            state = LoaderState(
                tuple(values["tasks"]),
                versions,
                values["hr"],
                *numbers,
                dict(values["consumed"]),
                dict(values["read"]),
                {name: list(rows) for name, rows in values["lost"].items()},
                record,
                record is not None,
            )
            if not all(isinstance(number, int) and number >= 0 for number in (*numbers, *state.consumed.values())):
                raise ValueError("a number is not an integer, or negative")
            if state.step > state.steps or not all(state.versions.values()):
                raise ValueError("its step is beyond the interval, or a dataset has no version")
            return state
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise RunError(f"the state of the loader is damaged: {error}") from error
