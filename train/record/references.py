"""Files of references: the trace in a reference's run folder, and the pack that holds the traces of all tasks."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from shared.errors import RunError
from shared.rebalance.references import Trace, pack_references, unpack_references
from shared.records import canonical_json, read_json
from shared.storage.atomic import write_bytes

TRACE = "trace.json"
PACK = "references.json"
PILOT = "pilot"
"""Folder of the short references in a run folder."""


def save_trace(trace: Trace, folder: Path) -> None:
    """Write the trace of a reference into its run folder."""
    write_bytes(folder / TRACE, canonical_json(asdict(trace)))


def load_trace(folder: Path) -> Trace | None:
    """The trace in a reference's run folder; None when there is none. Raises `RunError` when it cannot be read."""
    path = folder / TRACE
    if not path.is_file():
        return None
    try:
        return Trace.from_json(read_json(path))
    except ValueError as error:
        raise RunError(f"{path} is not a trace of a reference: {error}") from error


def load_traces(place: Path) -> Iterator[Trace]:
    """The traces of a pack, or those in the folders below a folder, by their names, as they are read."""
    if place.is_file():
        yield from load_pack(place).values()
    else:
        yield from filter(None, map(load_trace, sorted(place.glob("*/"))))


def save_pack(traces: Sequence[Trace], path: Path) -> None:
    """Write a reference pack."""
    write_bytes(path, pack_references(traces))


def load_pack(path: Path) -> dict[str, Trace]:
    """The traces of a pack by task. Raises `RunError` for a file that is not a pack or is damaged."""
    try:
        return unpack_references(read_json(path))
    except ValueError as error:
        raise RunError(f"{path} is not a reference pack: {error}") from error
