"""Packs: JSON that travels between teams, hostile until checked. Never a pickle.

A pack holds its format, its content under one name, and the sha256 of the content's canonical JSON.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from .records import canonical_json
from .text import short


def pack(pack_format: str, name: str, content: Any) -> bytes:
    """The file of a pack whose content is plain data."""
    return canonical_json({"format": pack_format, "sha256": _digest(content), name: content})


def unpack(values: Any, formats: Sequence[str], name: str, kind: type) -> Any:
    """The content, of type `kind`, of a pack that was read as JSON. Raises ValueError for another or a changed one."""
    found = values.get("format") if isinstance(values, dict) else None
    if found not in formats:
        raise ValueError(f"format is {short(found)}, this program reads {' and '.join(map(repr, formats))}")
    if values.keys() != {"format", "sha256", name} or not isinstance(values[name], kind):
        raise ValueError(f"it must hold format, sha256 and a {kind.__name__} of {name}, nothing else")
    try:
        if values["sha256"] != _digest(values[name]):
            raise ValueError("its sha256 is not that of its content: it was changed or damaged")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return values[name]


def _digest(content: Any) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()
