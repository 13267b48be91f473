"""What options affect, and what follows from it: what may change on resume, what runs must share to be compared.

An option says it once (`shared/config.py`):

* samples: which samples a network is trained on, and how many at a time
* losses: which network learns from them, and how
* mixture: in which shares tasks are mixed; a run on one task has none
* chance: initial weights, the order of samples, rounding: another draw of the same training
* length: how far training goes; a run can be lengthened
* speed: how fast, with which logs, checkpoints and limits; no sample and no loss
* place: where files lie, and which of the networks a command trains
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from typing import Any, TypeVar, get_type_hints

from .errors import UsageError
from .text import short

C = TypeVar("C")
LAST_VERSION_BEFORE = "0.1"
"""The last version that had the options which classes list as `removed`."""
IDENTICAL = ("samples", "losses", "mixture", "chance")
"""What must be as it was for a run to go on with the same samples and losses."""
COMPARABLE = ("samples", "losses")
"""What two runs must share so that equal steps mean equal training."""


def affecting(settings: type, *effects: str) -> list[str]:
    """Names of the options that affect any of these, in their order."""
    return [each.name for each in fields(settings) if each.metadata.get("affects") in effects]


def is_by_content(settings: type, name: str) -> bool:
    """Whether an option names a file or folder that is compared by content, wherever it lies."""
    return bool(settings.__dataclass_fields__[name].metadata.get("by_content"))  # type: ignore[attr-defined]


def absent_values(settings: type) -> dict[str, Any]:
    """The options that older versions did not have, with the values that they had in effect."""
    values = {each.name: each.metadata.get("absent", MISSING) for each in fields(settings)}
    return {name: value for name, value in values.items() if value is not MISSING}


def to_plain(settings: Any) -> dict[str, Any]:
    """Settings as plain data, without the options that have the value which their absence means."""
    absent, plain = absent_values(type(settings)), {}
    for each in fields(settings):
        value = getattr(settings, each.name)
        if each.name not in absent or value != absent[each.name]:
            plain[each.name] = to_plain(value) if is_dataclass(value) and not isinstance(value, type) else value
    return plain


def completed(settings: type, saved: Mapping[str, Any], source: object) -> dict[str, Any]:
    """Settings that an older version saved, as plain data with every option of this one.

    source: the file, for errors. Raises `UsageError` for an option that this version no longer has and that was in use,
    or that it does not know.
    """
    saved = without_removed(settings, saved, source)
    values = {**asdict(settings()), **{name: _plain(value) for name, value in absent_values(settings).items()}}
    for name, kind in _nested(settings).items():
        if isinstance(saved.get(name), Mapping):
            saved = {**saved, name: completed(kind, saved[name], source)}
    for name in saved:
        if name not in values:
            raise UsageError(
                f"{source} has an option {short(name)} that this version does not know: continue with the version that "
                "wrote it"
            )
    return {**values, **saved}


def with_kept_rules(settings: C, begun: Mapping[str, Any]) -> C:
    """Settings in which the default of an option gives way to what its absence meant, where a run was begun so.

    begun: plain data, of `completed`. So the command that began an old run resumes it, whatever defaults are now.
    """
    absent, defaults = absent_values(type(settings)), type(settings)()
    kept = {
        name: value
        for name, value in absent.items()
        if getattr(settings, name) == getattr(defaults, name) != value
        and begun.get(name, _plain(value)) == _plain(value)
    }
    return replace(settings, **kept) if kept else settings  # type: ignore[type-var]


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def without_removed(settings: type, saved: Mapping[str, Any], source: object) -> dict[str, Any]:
    """The values of a file without options that were removed since and had no effect.

    Raises `UsageError` for one that had: only the version that it names can go on with it.
    """
    removed: Mapping[str, Any] = getattr(settings, "removed", {})
    for name, off in removed.items():
        if saved.get(name, off) != off:
            raise UsageError(
                f"{source} has {name} = {short(saved[name])}, an option that was removed: "
                f"version {LAST_VERSION_BEFORE} can continue it; for a new run leave the option out"
            )
    kept = {name: value for name, value in saved.items() if name not in removed}
    for name, kind in _nested(settings).items():
        if isinstance(kept.get(name), Mapping):
            kept[name] = without_removed(kind, kept[name], source)
    return kept


def _nested(settings: type) -> dict[str, type]:
    """The options that are settings themselves."""
    return {
        name: kind for name, kind in get_type_hints(settings).items() if isinstance(kind, type) and is_dataclass(kind)
    }
