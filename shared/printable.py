"""What strangers wrote, such as names of files, for a terminal or a page."""


def printable(text: str) -> str:
    """The text with an escape for what cannot be seen, or moves what can."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def short(value: object) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
