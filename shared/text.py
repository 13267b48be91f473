"""Numbers and foreign strings as text that a person reads."""

import re
from collections.abc import Sequence

BYTE_UNITS = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}
SECRET = re.compile(r"([?&][^=&]*(?:token|sig|key|secret|password|credential)[^=&]*=)[^&'\")>\],]*", re.IGNORECASE)
"""A parameter in the query of a url that opens what is behind it, such as X-Amz-Signature."""
TIME_UNITS = {"days": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0}


def quantity(value: float, units: dict[str, float]) -> str:
    """A number of three digits in the largest unit of which there are two at least, or else in the smallest."""
    name = next((name for name, size in units.items() if value >= 2 * size), [*units][-1])
    number = value / units[name]
    return f"{number:.0f} {name}" if number >= 100 else f"{number:.3g} {name}"


def printable(text: str) -> str:
    """The text with an escape for what cannot be seen, or moves what can."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def short(value: object) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 image`, `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def some_of(names: Sequence[str], most: int = 3) -> str:
    """The first of many names, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(printable(name) for name in names[:most]) + rest


def without_password(text: str) -> str:
    """The text with *** for the secrets of the urls in it: passwords, and tokens and signatures in queries.

    What a web address has in place of a user's name is a token as often as a name, and hidden too.
    """
    text = re.sub(r"(https?://)[^/\s:@]+@", r"\1***@", text)
    text = re.sub(r"([a-z][a-z0-9+.-]*://[^/\s:@]*):[^/\s]*@", r"\1:***@", text)
    return re.sub(r"[a-z][a-z0-9+.-]*://\S+", lambda url: SECRET.sub(r"\1***", url[0]), text)
