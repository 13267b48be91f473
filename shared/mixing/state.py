"""The state of a mixing loader: plain data without a rank in it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import RunError
from ..records import from_plain
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

    tasks: tuple[str, ...]
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

    def known_lost(self) -> set[tuple[int, int]]:
        """(task number, row) of the rows that were found lost before the interval under way."""
        return {(self.tasks.index(name), row) for name, rows in self.lost.items() for row in rows}

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
        now_lost = sorted({(owner, row) for rows, _ in found for owner, row in rows})
        substituted = [sum(counts) for counts in zip(*(counts for _, counts in found), strict=True)]
        self.consumed, self.read = self._counted(record.quotas)
        lost = {name: list(rows) for name, rows in self.lost.items()}
        for owner, row in now_lost:
            name = self.tasks[owner]
            lost[name] = sorted({*lost.get(name, []), row})
        self.lost = lost
        self.record = replace(record, delivered=record.quotas, substituted=substituted, lost=now_lost)
        self.is_open, self.interval, self.step = False, self.interval + 1, 0

    def after(self, delivered: Sequence[int]) -> "LoaderState":
        """A copy in which so many samples of each task, of the interval under way, are already in the past."""
        consumed, read = self._counted(delivered)
        return replace(self, consumed=consumed, read=read)

    def _counted(self, delivered: Sequence[int]) -> tuple[dict[str, int], dict[str, int]]:
        """`consumed` and `read` with so many samples more."""
        assert self.record
        consumed, read = dict(self.consumed), dict(self.read)
        for name, source, count in zip(self.tasks, self.record.sources, delivered, strict=True):
            consumed[name] += count
            if source == "shards":
                read[name] = read.get(name, 0) + count
        return consumed, read

    def identity(self) -> dict[str, Any]:
        """What is the same on all ranks when an interval begins."""
        return {**self.to_json(), "record": self.quotas}

    # ---- JSON

    def to_json(self, record: IntervalRecord | None = None) -> dict[str, Any]:
        """Plain data. record: the interval so far. A finished interval that was not ended yet counts as ended."""
        state = self
        if self.is_open and self.step == self.steps:
            state = replace(self)
            state.end([(self.lost_now, self.substituted)])
        return {
            "format": FORMAT,
            "tasks": list(state.tasks),
            "interval": state.interval,
            "step": state.step,
            "consumed": dict(state.consumed),
            "read": dict(state.read),
            "generations": {name: [asdict(each) for each in versions] for name, versions in state.versions.items()},
            "lost": {name: list(rows) for name, rows in state.lost.items()},
            "hr": state.hr,
            "record": record.to_json() if record and state.is_open else None,
        }

    @staticmethod
    def from_json(values: Any, rank: int = 0) -> "LoaderState":
        """The inverse of `to_json`. rank: what one rank has counted in an interval is taken over by the first alone.

        Raises `RunError` for another format, and for values that are no state.
        """
        found = values.get("format") if isinstance(values, Mapping) else None
        if found != FORMAT:
            raise RunError(f"the state has format {found!r}: this program reads {FORMAT!r}")
        try:
            state = _from_json(values)
            _require_sound(state)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"the state of the loader is damaged: {error!r}") from error
        if state.record and rank:
            state.record = replace(state.record, substituted=[0] * len(state.tasks), lost=[])
        return state


def _from_json(values: Mapping[str, Any]) -> LoaderState:
    plain = {name: values[name] for name in ("tasks", "interval", "step", "read", "lost", "hr")}
    consumed = {name: values["consumed"][name] for name in values["tasks"]}
    state = from_plain(LoaderState, {**plain, "consumed": consumed, "versions": values["generations"]}, "entry")
    state.record = IntervalRecord.from_json(values["record"]) if values["record"] else None
    state.is_open = state.record is not None
    return state


def _require_sound(state: LoaderState) -> None:
    """Raises ValueError for a state that no loader has written."""
    counts = [state.interval, state.step, *state.consumed.values(), *state.read.values()]
    counts += [row for rows in state.lost.values() for row in rows]
    counts += [version.shards for found in state.versions.values() for version in found]
    if min(counts) < 0:
        raise ValueError("a number is negative")
    if state.record and (state.record.tasks, state.record.interval) != (list(state.tasks), state.interval):
        raise ValueError("its record is of other tasks or of another interval")
    if not {*state.read, *state.lost, *state.versions} <= {*state.tasks}:
        raise ValueError("it names a task that is not there")
    if state.step > state.steps:
        raise ValueError("its step is beyond the interval")
    for found in state.versions.values():
        rows, first = [version.rows for version in found], [0, *(version.first for version in found)]
        if not rows or rows != sorted({*rows}) or rows[0] <= 0 or first != sorted(first):
            raise ValueError("the versions of a dataset do not grow")
