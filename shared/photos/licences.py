"""Licence and attribution of HR images, as the user states them. What was not given is called so, never guessed."""

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError

NOT_GIVEN = "not given"
MAX_TEXT = 10_000


@dataclass(frozen=True)
class Terms:
    """licence: as given, or `not given`. attribution: who is to be named, and url: where it came from; may be empty."""

    licence: str = NOT_GIVEN
    attribution: str = ""
    url: str = ""


@dataclass(frozen=True)
class Sources:
    """Terms by glob pattern of an image's path below its folder (`*` also crosses folders); `default` for the rest."""

    entries: tuple[tuple[str, Terms], ...] = ()
    default: Terms = Terms()

    def __bool__(self) -> bool:
        """Whether anything was given."""
        return self != Sources()

    def check(self, ids: Iterable[str]) -> None:
        """Raises `UsageError` for a pattern that matches no image, and for two that match one image and differ."""
        unused, names = {pattern for pattern, _ in self.entries}, list(ids)
        for name in names:
            matching = [(pattern, terms) for pattern, terms in self.entries if fnmatch.fnmatchcase(name, pattern)]
            unused -= {pattern for pattern, _ in matching}
            for pattern, terms in matching[1:]:
                first, its_terms = matching[0]
                if terms != its_terms:
                    raise UsageError(
                        f"{name!r} is matched by two sources that differ, {first!r} ({its_terms.licence}) and "
                        f"{pattern!r} ({terms.licence}): make the patterns narrower"
                    )
        if unused:
            raise UsageError(
                f"source pattern {min(unused)!r} matches none of the {len(names)} images: it is compared with the "
                "path below the HR folder"
            )

    def terms(self, name: str, own: Terms = Terms()) -> Terms:
        """The terms of one image. own: what its archive says; they come after those of a pattern."""
        default = own if own.licence != NOT_GIVEN else self.default
        return next((terms for pattern, terms in self.entries if fnmatch.fnmatchcase(name, pattern)), default)


NO_SOURCES = Sources()


def read_sources(file: str | None, licence: str | None) -> Sources:
    """What `--sources` and `--licence` say together: the licence is that of images without a source of their own.

    file: YAML or JSON, a list of {pattern, licence, attribution, url}; the last two may be absent.
    Raises `UsageError` that names the entry and the key when it is anything else.
    """
    default = Terms() if licence is None else Terms(_text(licence, "licence"))
    if file is None:
        return Sources((), default)
    try:
        entries = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"sources is {file!r}: no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"sources {file} is neither YAML nor JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"sources {file} must be a list of entries with pattern and licence")
    return Sources(tuple(_entry(entry, f"sources {file}, entry {n}") for n, entry in enumerate(entries, 1)), default)


def _entry(entry: Any, where: str) -> tuple[str, Terms]:
    known = {"pattern", *(field.name for field in fields(Terms))}
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {entry!r}: it must have the keys pattern and licence")
    for key in entry:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}; known are {', '.join(sorted(known))}")
    for key in ("pattern", "licence"):
        if key not in entry:
            raise UsageError(f"{where}: key {key!r} is missing")
    values = {key: _text(value, f"{where}: {key}") for key, value in entry.items()}
    return values.pop("pattern"), Terms(**values)


def _text(value: Any, where: str) -> str:
    """One line of text."""
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where} is {value!r}: it must be text, and not empty")
    if len(value) > MAX_TEXT:
        raise UsageError(f"{where} has {len(value)} characters: it may have {MAX_TEXT}, since every row repeats it")
    return " ".join(value.split())
