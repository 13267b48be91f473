"""Records from other people's JSON: every field there, none besides, each of its own type."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, get_origin, get_type_hints


def require_fields(record: type, values: Mapping[str, Any], what: str) -> None:
    """Check that `values` can make a `record`, a dataclass; `what` names a field in the error.

    Raises ValueError that names the first field that is missing, superfluous or of another type.
    """
    names, kinds = _sorted_types(record)
    if tuple(values) == names and tuple(map(type, values.values())) == kinds:  # as our own JSON always is
        return
    types = field_types(record)
    for name in sorted(types.keys() ^ values.keys()):
        raise ValueError(f"{what} {name!r} is {'missing' if name in types else 'not in the format'}")
    for name, value in values.items():
        if type(value) is not types[name]:
            raise ValueError(f"{what} {name!r} is {value!r}: it must be {types[name].__name__}")


@lru_cache(maxsize=16)
def _sorted_types(record: type) -> tuple[tuple[str, ...], tuple[type, ...]]:
    types = field_types(record)
    return tuple(sorted(types)), tuple(types[name] for name in sorted(types))


@lru_cache(maxsize=16)
def field_types(record: type) -> dict[str, type]:
    """Type of each field; of a generic one, such as `list[str]`, what it is before the brackets."""
    return {name: get_origin(hint) or hint for name, hint in get_type_hints(record).items()}


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: for digests and for files that must be equal byte for byte."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"
