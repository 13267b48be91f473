"""The log of an interval: what was measured and decided when it began, and what it trained on.

One `IntervalLog` is one line of intervals.jsonl, and in a checkpoint within the interval the `record` of state.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from shared.mixing.interval_record import IntervalRecord
from shared.rebalance.measurements import Measurements, describe
from shared.records import from_plain


@dataclass(frozen=True)
class IntervalLog:
    """Lists have one entry a task, in the order of `tasks`, and further entries for frozen plans (TGSR-style).

    step: optimiser steps before the interval. photographs: the HR image of each image, one list for all tasks or one
    for each. shared_db, reference_db: PSNR tables, dB, a list for each task. estimator, estimate: what the
    estimate was made with, and the estimate. p, c: volumes and coefficients that the policy decided; these and `record`
    are None in the last log, after which nothing was trained. totals: sums of the generator's losses and of the
    coefficients of the samples so far, while the interval is trained. losses, delivered_weights: mean losses and mean
    coefficients times volumes, once it is finished. fallback: samples made on the fly, by task, once it is finished.
    """

    step: int
    tasks: list[str]
    photographs: list[str | list[str]]
    shared_db: list[list[float]]
    reference_db: list[list[float]] | None = None
    estimator: dict[str, Any] | None = None
    estimate: dict[str, Any] | None = None
    p: list[float] | None = None
    c: list[float] | None = None
    moments: dict[str, Any] | None = None
    totals: list[list[float]] | None = None
    losses: list[float | None] | None = None
    delivered_weights: list[float] | None = None
    fallback: dict[str, int] = field(default_factory=dict)
    interval: int = 0
    record: IntervalRecord | None = None

    @staticmethod
    def of(measurements: Measurements, step: int) -> "IntervalLog":
        """The log of a boundary at which nothing is decided yet."""
        return IntervalLog(**describe(measurements, step))

    def to_json(self) -> dict[str, Any]:
        """Flat plain data; what is not known is left out."""
        values = {
            each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("record", "fallback")
        }
        values = {name: value for name, value in values.items() if value is not None}
        if self.record:
            decided = self.record.to_json()
            if decided.pop("tasks") != self.tasks:
                values["trained"] = self.record.tasks
            values |= decided
        return values | fallback_entries(self.fallback)

    @staticmethod
    def from_json(values: dict[str, Any], batch_size: int) -> "IntervalLog":
        """The log of a line or of a state, also of earlier versions. Raises ValueError for what is no log."""
        known = {each.name: values[each.name] for each in fields(IntervalLog) if values.get(each.name) is not None}
        known["fallback"] = _fallback(values)
        if "quotas" in values:
            known["record"] = _record(values, batch_size)
        log = from_plain(IntervalLog, known, "entry")
        if log.record:
            log.record.require_sound()
        return log


def _record(values: dict[str, Any], batch_size: int) -> dict[str, Any]:
    """What a line says of the loader's interval; earlier versions lack the number of steps and what was delivered."""
    quotas = from_plain(_Quotas, {"quotas": values["quotas"]}, "entry").quotas
    since = {"steps": sum(quotas) // batch_size, "delivered": [0] * len(quotas)}
    found = {**since, **values, "tasks": values.get("trained", values.get("tasks"))}
    return {each.name: found[each.name] for each in fields(IntervalRecord) if each.name in found}


@dataclass(frozen=True)
class _Quotas:
    quotas: list[int]


def _fallback(values: dict[str, Any]) -> dict[str, Any]:
    prefix = fallback_entries({"": 0}).popitem()[0]
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def fallback_entries(made: dict[str, int]) -> dict[str, int]:
    """Samples of each task that are made on the fly, as entries of the logs."""
    return {f"data/fallback/{task}": count for task, count in made.items()}


def made_on_the_fly(record: IntervalRecord, counts: list[int]) -> dict[str, int]:
    """How many of so many samples of each task are made on the fly."""
    found = zip(record.tasks, record.sources, counts, strict=True)
    return {task: 0 if source == "shards" else count for task, source, count in found}


def missing_intervals(records: Sequence[Mapping[str, Any]], step: int, interval_steps: int) -> list[int]:
    """First steps of the intervals before `step` that a log has no line of."""
    return sorted({*range(0, step, interval_steps)} - {record["step"] for record in records})
