"""Plain data from other people's files, checked once: JSON and YAML as text, and dataclasses made of them.

What is read has a bounded size, depth and number of values, finite numbers and Unicode text; errors are ValueErrors
that say what is wrong, so the caller adds the file's name.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from .text import short

C = TypeVar("C")
MAX_BYTES = 64 << 20
"""Larger files are refused unread, unless a caller allows more."""
MAX_YAML_BYTES = 1 << 20
MAX_DEPTH = 32
"""Deepest nesting of lists and objects."""
MAX_CONTAINERS = 1_000_000
"""Most lists and objects of a short text: an empty one takes 3 bytes of JSON and 60 of memory."""
MIN_CONTAINER_BYTES = 16
"""A longer text may hold one for each so many bytes: ours have 200 and more for each."""
MAX_DIGITS = 20
"""Of a whole number: those of 64 bits have no more."""


# ---- JSON and YAML


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """The JSON value in a file; see `parse_json`. Raises ValueError too for a file of more than `max_bytes`."""
    return parse_json(read_bytes(path, max_bytes))


def parse_json(data: bytes | str) -> Any:
    """JSON of UTF-8 text. Raises ValueError for anything else and for what no file of ours holds.

    That is NaN and infinity, whole numbers of more than 64 bits, lone surrogates, nesting deeper than `MAX_DEPTH`, and
    lists and objects of less than `MIN_CONTAINER_BYTES` on average, if there are more than `MAX_CONTAINERS`.
    """
    text = data if isinstance(data, str) else data.decode()
    most = max(MAX_CONTAINERS, len(text) // MIN_CONTAINER_BYTES)
    if text.count("[") + text.count("{") > most:
        raise ValueError(f"it holds more than {most} lists and objects")
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    escapes = "\\u" in text
    for depth, part in _containers(value):
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if escapes:
            for each in (*part, *part.values()) if isinstance(part, dict) else part:
                if isinstance(each, str):
                    each.encode()  # a UnicodeEncodeError, which is a ValueError, for a lone surrogate
    return value


def read_yaml(path: Path, max_bytes: int = MAX_YAML_BYTES) -> Any:
    """The YAML value in a file. Raises ValueError that says why when it is none, nests too deeply or uses aliases."""
    import yaml

    text = read_bytes(path, max_bytes).decode()
    depth = 0
    try:
        for event in yaml.parse(text, yaml.SafeLoader):  # not recursive, unlike everything after it
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it uses an alias (*name): write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError("it is nested too deeply")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: for digests and for files that must be equal byte for byte."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The content of a file. Raises ValueError for more than `max_bytes`, of which no more is read."""
    with path.open("rb") as file:  # one byte more than allowed tells that there is more, whatever kind of file it is
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it holds more than {max_bytes} bytes")
    return data


def _containers(value: Any) -> Iterator[tuple[int, Any]]:
    """Every list and object of a value, with its depth."""
    waiting = [(1, value)] if isinstance(value, (list, dict)) else []
    while waiting:
        depth, part = waiting.pop()
        yield depth, part
        inside = part.values() if isinstance(part, dict) else part
        waiting += [(depth + 1, each) for each in inside if isinstance(each, (list, dict))]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is no number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(short(text))


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"it holds a whole number of {len(text)} digits")
    return int(text)


# ---- records


def from_plain(record: Callable[..., C], values: Any, what: str = "field", complete: bool = False) -> C:
    """A dataclass from plain data: every field without a default is there, none besides, each of its type, all deep.

    A whole number passes for a float, a list for a tuple. `what` names a field in errors. complete: fields with a
    default must be there too. Raises ValueError that names the first field that is missing, superfluous or of another
    type, or whatever the dataclass itself raises.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{what}s are {short(values)}: they must be an object")
    types, needed = _types(record)
    for name in sorted((types.keys() if complete else needed) - values.keys()):
        raise ValueError(f"{what} {name!r} is missing")
    for name in sorted(values.keys() - types.keys()):
        raise ValueError(f"{what} {short(name)} is not in the format")
    typed = {
        name: value if type(value) is types[name] else _typed(value, types[name], f"{what} {name!r}")
        for name, value in values.items()  # the first case without a call: rows are read by the million
    }
    return record(**typed)


def _typed(value: Any, kind: Any, where: str) -> Any:
    """The value as one of that type. Raises ValueError that says where it is not."""
    if kind is Any or type(value) is kind or (kind is float and type(value) is int):
        return value
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(value, Mapping):
        return from_plain(kind, value, f"{where} field")  # type: ignore[arg-type]
    if origin in (Union, UnionType):
        for each in arguments:
            if _fits(value, each):
                return _typed(value, each, where)
    elif origin is Literal:
        if value in arguments:
            return value
    elif origin in (list, tuple) and isinstance(value, (list, tuple)):
        kinds = arguments[:1] * len(value) if origin is list or arguments[1:] == (...,) else arguments
        if len(kinds) == len(value):
            parts = enumerate(zip(value, kinds, strict=True))
            return origin(_typed(each, kind, f"{where}, element {i}") for i, (each, kind) in parts)
    elif origin is dict and isinstance(value, dict):
        key, inside = arguments
        return {_typed(k, key, f"{where}, key"): _typed(v, inside, f"{where}, {short(k)}") for k, v in value.items()}
    raise ValueError(f"{where} is {short(value)}: it must be {_name(kind)}")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of that type as far as its outermost type tells."""
    origin = get_origin(kind)
    if origin is Literal:
        return value in get_args(kind)
    if is_dataclass(kind):
        return isinstance(value, Mapping)
    return type(value) is (origin or kind) or (kind is float and type(value) is int)


def _name(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_name, get_args(kind)))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    if kind is NoneType:
        return "null"
    return "an object" if is_dataclass(kind) else getattr(get_origin(kind) or kind, "__name__", str(kind))


@lru_cache(maxsize=64)
def _types(record: Any) -> tuple[dict[str, Any], set[str]]:
    """The type of each field that a record is made of, and the fields that have no default."""
    hints, made_of = get_type_hints(record), [each for each in fields(record) if each.init]
    needed = {each.name for each in made_of if each.default is MISSING and each.default_factory is MISSING}
    return {each.name: hints[each.name] for each in made_of}, needed
