"""Packs: JSON files that travel between teams, hostile until checked. Never a pickle.

A pack holds its format, its content under one name, and the sha256 of the content's canonical JSON.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn

from shared.records import canonical_json
from shared.storage.atomic import write_bytes
from shared.text import short

MAX_BYTES = 64 << 20
"""Larger files are refused unread: references of 4 tasks x 81 boundaries x 100 images are less than 1 MB."""


def write_pack(path: Path, pack_format: str, name: str, content: Any) -> None:
    """Write a pack whose content is plain data."""
    write_bytes(path, canonical_json({"format": pack_format, "sha256": _digest(content), name: content}))


def read_pack(path: Path, pack_format: str, name: str, kind: type) -> Any:
    """The content of a pack, of type `kind`. Raises ValueError for another file, and for one that was changed."""
    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != pack_format:
        found = values.get("format") if isinstance(values, dict) else None
        raise ValueError(f"format is {short(found)}, this program reads {pack_format!r}")
    if values.keys() != {"format", "sha256", name} or not isinstance(values[name], kind):
        raise ValueError(f"it must hold format, sha256 and a {kind.__name__} of {name}, nothing else")
    try:
        if values["sha256"] != _digest(values[name]):
            raise ValueError("its sha256 is not that of its content: it was changed or damaged")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return values[name]


def read_json(path: Path) -> Any:
    """JSON without NaN and infinity. Raises ValueError for anything else, and for more than `MAX_BYTES`."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.stat().st_size} bytes are more than {MAX_BYTES}")
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is no number")


def _digest(content: Any) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()
