"""Append-only logs of a run: one JSON object a line, readable while the run is going on."""

import json
import math
import os
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..records import parse_json, read_bytes
from ..text import short
from .atomic import write_bytes

MAX_BYTES = 1 << 30
"""Larger logs are refused unread."""


class JsonLines:
    """A log file of JSON objects. A line cut by a crash is dropped when the log is next opened or read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: dict[str, Any]) -> None:
        """Add one line. Values that are not finite are written as null: JSON has no word for them."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(_finite(record)) + "\n")

    def sync(self) -> None:
        """Make durable what was added."""
        if self.path.is_file():
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def read(self, key: str | None = None) -> list[dict[str, Any]]:
        """All whole records; none when there is no file.

        key: a whole number that every record must hold. Raises `RunError` for a line that is no JSON object, or that
        lacks the number.
        """
        try:
            text = read_bytes(self.path, MAX_BYTES).decode() if self.path.is_file() else ""
            records = [parse_json(line) for line in text.split("\n")[:-1] if line]
            for record in records:
                if not isinstance(record, dict) or (key is not None and type(record.get(key)) is not int):
                    raise ValueError(f"a line is {short(record)}, no object" + (f" with a number {key}" if key else ""))
        except ValueError as error:
            raise RunError(f"{self.path} is no log of this program: restore or delete it ({error})") from error
        return records

    def rewind(self, key: str, limit: int) -> None:
        """Drop the records after the first `limit` of `key`, so that a resumed run does not log a step twice."""
        kept = [record for record in self.read(key) if record[key] <= limit]
        write_bytes(self.path, "".join(json.dumps(record) + "\n" for record in kept).encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
