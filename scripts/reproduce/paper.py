"""The paper's numbers, from `paper.yaml`, beside ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from train.evaluation.summaries import COLUMNS

FILE = Path(__file__).with_name("paper.yaml")
UNKNOWN = "not known here"
Ours = Mapping[tuple[str, str], Mapping[str, float]]
"""What was measured here: by system and measure, then by test set."""


@dataclass(frozen=True)
class PaperNumber:
    """What the paper reports of a system in one of its tables, or of its difference to `base`.

    values: one for each of `testsets`; without these the source does not say which sets they belong to. span: lowest
    and highest over the test sets, where it gives no more than that.
    """

    table: str
    system: str
    measure: str
    base: str | None
    testsets: tuple[str, ...]
    values: tuple[float, ...]
    span: tuple[float, float] | None
    note: str
    source: str

    def words(self) -> str:
        """The number and what it is of."""
        form = COLUMNS[self.measure][1].replace(":", ":+" if self.base else ":")
        if self.span:
            text = f"{form.format(self.span[0])} to {form.format(self.span[1])} over {len(self.testsets)} sets"
        elif self.testsets:
            text = ", ".join(f"{name} {form.format(v)}" for name, v in zip(self.testsets, self.values, strict=False))
        else:
            text = " and ".join(map(form.format, self.values)) + ", sets not named"
        return f"{self._quantity()}: {'; '.join(part for part in (text, self.note) if part)}"

    def ours(self, found: Ours) -> str:
        """The same quantity as it was measured here."""
        mine, base = found.get((self.system, self.measure)), found.get((self.base or "", self.measure))
        if mine is None or (self.base and base is None):
            return "not measured"
        form = COLUMNS[self.measure][1].replace(":", ":+" if self.base else ":")
        values = {name: value - (base[name] if base else 0) for name, value in mine.items() if not base or name in base}
        shown = {name: value for name, value in values.items() if name in self.testsets} or values
        return ", ".join(f"{name} {form.format(value)}" for name, value in shown.items())

    def _quantity(self) -> str:
        return COLUMNS[self.measure][0] + (f" less that of {self.base}" if self.base else "")


@cache
def paper_numbers() -> tuple[PaperNumber, ...]:
    """All that the file holds."""
    content = yaml.safe_load(FILE.read_text())
    return tuple(_number(entry, content["sources"]) for entry in content["numbers"])


def _number(entry: Mapping, sources: Mapping[str, str]) -> PaperNumber:
    return PaperNumber(
        table=entry["table"],
        system=entry["system"],
        measure=entry["measure"],
        base=entry.get("base"),
        testsets=tuple(entry.get("testsets", ())),
        values=tuple(entry.get("values", ())),
        span=(entry["from"], entry["to"]) if "from" in entry else None,
        note=entry.get("note", ""),
        source=sources[entry["source"]],
    )


def beside(table: str, systems: Sequence[str], found: Ours) -> str:
    """Markdown: what the paper reports of each system in one of its tables, and the same of ours."""
    known = [number for number in paper_numbers() if number.table == table]
    lines = ["The paper's numbers beside ours", "", "| system | the paper | here |", "|---|---|---|"]
    for system in systems:
        mine = [number for number in known if number.system == system]
        lines += [f"| {system} | {number.words()} | {number.ours(found)} |" for number in mine]
        lines += [] if mine else [f"| {system} | {UNKNOWN} | |"]
    sources = "; ".join(dict.fromkeys(number.source for number in known))
    return "\n".join([*lines, "", f"Source of what is known: {sources}."]) + "\n"
