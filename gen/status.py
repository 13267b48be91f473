"""Show how far renders are: done, failed and pending shards, pairs a second, time left.

PATH is one dataset folder, or a folder of datasets, or the url of either. It reads only what is stored there, so it
works for every engine and from any machine that sees the folder. The exit code is 0 if all is complete, 1 if
something is missing or failed, 2 for wrong usage.

Examples:
realsr status shards
realsr status s3://bucket/shards --watch
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from gen.dataset import PLAN, DatasetPlan, finished_or_listed
from gen.specs import DONE_FOLDER, DoneShard, FailedShard, ShardSpec, failed, finished_shards
from shared.command import next_step, spelling
from shared.config import argument, option, parse
from shared.errors import UsageError, run_command
from shared.shards.manifest import MANIFEST, load_manifest
from shared.storage.places import Place, folders_below, listing, place
from shared.storage.remote import READ_ONLY, Remote
from shared.text import TIME_UNITS, printable, quantity

SHOWN = 10
"""Reasons printed for one dataset; the others are counted."""


@dataclass(frozen=True)
class StatusSettings:
    """What `gen.status` can be asked for."""

    path: str = argument("dataset folder, or a folder of datasets, or the url of either")
    watch: bool = option(False, "print the progress repeatedly until all is rendered or Ctrl-C")
    json: bool = option(False, "print one line of JSON for each dataset, for other programs")
    interval: float = option(2.0, "seconds between two lines of --watch")


@dataclass
class DatasetProgress:
    """How far one dataset is. Polling is incremental: `look` reads only records that are new.

    started: time of the latest render command. done: record and time of each finished shard, by name; in a copy without
    `.done/` those that its manifest lists, without timings. failed: by name.
    """

    folder: Place
    rows: int
    started: float
    pending: dict[str, ShardSpec]
    done: dict[str, tuple[DoneShard, float]] = field(default_factory=dict)
    failed: dict[str, FailedShard] = field(default_factory=dict)
    committed: bool = False

    @staticmethod
    def of(folder: Place) -> "DatasetProgress | None":
        """Progress of a folder that a render was planned for, else None. Raises `RunError` for an unreadable plan."""
        plan, records = DatasetPlan.load(folder), listing(folder / DONE_FOLDER)
        if plan is None:
            return None
        started = records[PLAN].time if PLAN in records else 0.0
        progress = DatasetProgress(folder, plan.rows, started, {spec.name: spec for spec in plan.specs(folder)})
        progress.look(finished_or_listed)
        return progress

    def look(self, finished: Callable[..., dict[str, DoneShard]] = finished_shards) -> None:
        """Read what has been written since the last look."""
        new = finished(self.folder, [*self.pending.values()])
        records = listing(self.folder / DONE_FOLDER)
        for name, done in new.items():
            record = records.get(f"{name}.json")
            self.done[name] = done, record.time if record else 0.0
            del self.pending[name]
        reasons = {name: failed(spec) for name, spec in self.pending.items() if f"{name}.failed.json" in records}
        self.failed = {name: reason for name, reason in reasons.items() if reason}
        if not (self.pending or self.committed) and (self.folder / MANIFEST).is_file():
            listed = {entry.url for entry in load_manifest(self.folder).shardlist}
            self.committed = listed >= {f"{name}.tar" for name in self.done}

    @property
    def rows_done(self) -> int:
        """Rows of the finished shards."""
        return sum(record.entry.nsamples for record, _ in self.done.values())

    def worker_rate(self) -> float:
        """Pairs a second of one worker, over all finished shards; 0 while there is none."""
        seconds = sum(record.seconds for record, _ in self.done.values())
        return self.rows_done / seconds if seconds else 0.0

    def rate(self) -> float:
        """Pairs a second of all workers since the latest render command; 0 while it has finished no shard.

        The clock runs from the beginning of its first shard to the end of its last: a queue before it does not count.
        """
        recent = [(record, end) for record, end in self.done.values() if end >= self.started and record.seconds]
        if not recent:
            return 0.0
        begin = min(end - record.seconds for record, end in recent)
        seconds = max(end for _, end in recent) - begin
        return sum(record.entry.nsamples for record, _ in recent) / seconds if seconds > 0 else 0.0

    def seconds_left(self) -> float | None:
        """Time left at the rate of the latest render command; None while that is not known."""
        rate = self.rate()
        return (self.rows - self.rows_done) / rate if self.pending and rate else None

    def to_json(self) -> str:
        """One line: counts of shards and rows, rates in pairs a second, time left in seconds or null, failures."""
        values = {
            "folder": str(self.folder),
            "shards": len(self.done) + len(self.pending),
            "shards_done": len(self.done),
            "shards_failed": len(self.failed),
            "rows": self.rows,
            "rows_done": self.rows_done,
            "committed": self.committed,
            "pairs_per_second": self.rate(),
            "pairs_per_second_of_a_worker": self.worker_rate(),
            "seconds_left": self.seconds_left(),
            "failed": {name: asdict(record) for name, record in self.failed.items()},
        }
        return json.dumps(values)

    def __str__(self) -> str:
        total = len(self.done) + len(self.pending)
        parts = [
            f"{self.folder}: {len(self.done)} of {total} shards done",
            f"{len(self.failed)} failed, {len(self.pending) - len(self.failed)} pending",
            f"{self.rows_done} of {self.rows} rows",
        ]
        if self.worker_rate():
            parts.append(f"{self.worker_rate():.1f} pairs/s a worker")
        if (left := self.seconds_left()) is not None:
            parts.append(f"{self.rate():.1f} pairs/s in all, {quantity(left, TIME_UNITS)} left at this rate")
        if not self.pending and not self.committed:
            parts.append("to be committed: run the same render command again")
        lines = ["; ".join(parts)]
        for name, record in list(self.failed.items())[:SHOWN]:
            tried = f"{record.attempts} attempt{'s' if record.attempts > 1 else ''}"
            lines.append(f"  failed: {name} ({tried}): {' '.join(record.reason.split())}")
        if (hidden := len(self.failed) - SHOWN) > 0:
            lines.append(f"  ... and {hidden} more failed")
        return "\n".join(map(printable, lines))


def main(argv: list[str]) -> int:
    """The command; see `StatusSettings`. Returns the exit code."""
    settings = parse(StatusSettings, argv, spelling("status"), __doc__ or "")
    if settings.interval <= 0:
        raise UsageError(f"interval is {settings.interval}: it must be more than 0 seconds")
    datasets = find_progress(place(settings.path))
    show = DatasetProgress.to_json if settings.json else str
    print(*map(show, datasets), sep="\n", flush=True)
    try:
        while settings.watch and not all(progress.committed for progress in datasets):
            was_rendered = not any(progress.pending for progress in datasets)
            height = sum(str(progress).count("\n") + 1 for progress in datasets)
            time.sleep(settings.interval)
            for progress in datasets:
                progress.look()
            if sys.stdout.isatty() and not settings.json:  # over the table before
                print(f"\x1b[{height}A\x1b[J", end="")
            print(*map(show, datasets), sep="\n", flush=True)
            if was_rendered:  # for a whole interval, so nobody is about to commit it
                break
    except KeyboardInterrupt:
        print()
    complete = all(progress.committed for progress in datasets)
    if not settings.json:
        print(next_step("verify", settings.path) if complete else "next: run the render command again")
    return 0 if complete else 1


def find_progress(path: Place) -> list[DatasetProgress]:
    """Progress of the dataset at `path`, or of those directly below it. Raises `UsageError` when there is none."""
    if isinstance(path, Remote) and path.protocol in READ_ONLY:
        raise UsageError(
            f"path is {str(path)!r}: what is behind {path.protocol} cannot be listed; run it at the source"
        )
    if not path.is_dir():
        raise UsageError(f"path is {str(path)!r}: no such folder")
    if progress := DatasetProgress.of(path):
        return [progress]
    if found := [progress for folder in folders_below(path) if (progress := DatasetProgress.of(folder))]:
        return found
    raise UsageError(f"{path} holds no dataset that was begun: begin one with {spelling('render')}")


if __name__ == "__main__":
    sys.exit(run_command(main))
