"""Datasets behind a url: the methods of `pathlib.Path` for all that fsspec opens (s3, gs, http, memory, ...).

An object appears whole or not at all, like a file that is renamed into place. Stores have neither locks nor renames.
All errors of a store's library become OSError.
"""

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from ..errors import UsageError
from ..text import without_password
from .web import get, redirects, timeouts

T = TypeVar("T")
HUB = "hf"
"""Hugging Face's hub: it is read in place, and written to by `gen.publish` alone, since each file would be a commit."""
READ_ONLY = ("http", "https")
"""Protocols that can be read by name, but neither written nor listed."""
MAX_FILE_BYTES = 256 << 20
"""Limit for files of a server or a store whose size nothing else bounds."""


class Found(NamedTuple):
    """A file in a listing. size: bytes. time: of its last change, seconds. etag: what a store calls this content."""

    size: int
    time: float
    etag: str = ""


@dataclass(frozen=True)
class Remote:
    """A file or a folder behind a url, with those verbs of `Path` that datasets need."""

    url: str

    def __post_init__(self) -> None:
        """Raises `UsageError` for a protocol that fsspec does not know or whose package is not installed."""
        _file_system(self.protocol, self.url)

    def __str__(self) -> str:
        """The url for people: without the password in it."""
        return without_password(self.url)

    def __repr__(self) -> str:
        return f"Remote({str(self)!r})"

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.url}/{name}")

    def __lt__(self, other: "Remote") -> bool:
        return self.url < other.url

    @property
    def protocol(self) -> str:
        """Such as s3."""
        return self.url.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.url).name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.url).stem

    @property
    def parent(self) -> "Remote":
        """The folder that holds it."""
        return Remote(self.url.rpartition("/")[0])

    def with_suffix(self, suffix: str) -> "Remote":
        """The same name with another ending."""
        return self.parent / f"{self.stem}{suffix}"

    def info(self) -> Found:
        """Raises FileNotFoundError when it is no file."""
        return self._call(lambda fs, path: _found(_file_only(fs.info(path))))

    def is_file(self) -> bool:
        """Whether it is a file, not a folder."""
        try:
            return bool(self.info())
        except FileNotFoundError:
            return False

    exists = is_file

    def is_dir(self) -> bool:
        """Whether there is anything below it; of a protocol that cannot list, always."""
        return self.protocol in READ_ONLY or self._call(lambda fs, path: bool(fs.isdir(path)))

    def folders(self) -> "list[Remote]":
        """The folders directly below it; none where listing is impossible."""
        if self.protocol in READ_ONLY:
            return []
        entries = self._call(lambda fs, path: fs.ls(path, detail=True))
        return sorted(
            self / PurePosixPath(entry["name"].rstrip("/")).name for entry in entries if entry["type"] == "directory"
        )

    def listing(self) -> dict[str, Found]:
        """The files directly below it, by name. Raises FileNotFoundError when there is no such folder."""
        entries = self._call(lambda fs, path: fs.ls(path, detail=True))
        return {PurePosixPath(entry["name"]).name: _found(entry) for entry in entries if entry["type"] == "file"}

    def files_below(self) -> "list[tuple[Remote, str]]":
        """The files below it, or those that match it as a glob pattern, in order, with their paths below the folder."""

        def find(fs: Any, path: str) -> list[tuple[str, str]]:
            pattern = re.search(r"[*?\[]", path)
            names = sorted(fs.glob(path) if pattern else fs.find(path))
            root = path[: pattern.start()] if pattern else path
            if pattern or names == [path]:
                root = root.rpartition("/")[0]
            return [(fs.unstrip_protocol(name), name[len(root) :].strip("/")) for name in names]

        return [(Remote(url), name) for url, name in self._call(find)]

    def open(self, mode: str) -> Any:
        """The file, to read it from its beginning to its end."""
        return self._call(lambda fs, path: fs.open(path, mode))

    def read_bytes(self, limit: int = MAX_FILE_BYTES) -> bytes:
        """All of a file. Raises OSError as soon as more than `limit` bytes are sent."""
        if self.protocol in READ_ONLY:
            return self._call(lambda fs, path: get(fs, path, 0, limit, whole=True))
        with tempfile.TemporaryDirectory() as folder:  # no store's library counts what it takes into memory
            self.download(local := Path(folder, "file"), limit)
            return local.read_bytes()

    def read_text(self) -> str:
        """All of a file of at most `MAX_FILE_BYTES` bytes, UTF-8."""
        return self.read_bytes().decode()

    def read_range(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end` - 1. Of a web server that knows no ranges the bytes before are dropped."""
        if self.protocol in READ_ONLY:
            return self._call(lambda fs, path: get(fs, path, start, end))
        options = {"cache_type": "none"} if self.protocol == HUB else {}  # it would fetch blocks of megabytes
        data = self._call(lambda fs, path: fs.cat_file(path, start=start, end=end, **options))
        return data if len(data) <= end - start else data[start:end]

    def write(self, data: bytes) -> None:
        """Put an object in place, whole."""
        self._call(lambda fs, path: fs.pipe_file(path, data))

    def upload(self, file: Path) -> Found:
        """Put a local file in place, whole; what the store has then. Raises OSError unless the size is right."""
        self._call(lambda fs, path: fs.put_file(os.fspath(file), path))
        if (found := self.info()).size != (size := file.stat().st_size):
            raise OSError(f"{self} has {found.size} bytes after an upload of {size}")
        return found

    def download(self, file: Path, limit: int | None = None) -> None:
        """Fetch it into a local file. Raises OSError as soon as more than `limit` bytes are sent (default: any)."""
        self._call(lambda fs, path: fs.get_file(path, os.fspath(file), callback=_counter(limit)))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove it."""
        if not missing_ok or self.exists():
            self._call(lambda fs, path: fs.rm_file(path))

    def _call(self, action: Callable[[Any, str], T]) -> T:
        """Do something with the file system and the path in its words."""
        fs = _file_system(self.protocol, self.url)
        try:
            return action(fs, fs._strip_protocol(self.url))
        except FileNotFoundError as error:
            raise FileNotFoundError(2, "no such file or bucket", str(self)) from error
        except Exception as error:  # botocore's, aiohttp's and many others' are no OSError
            raise OSError(f"{self}: {without_password(str(error)) or type(error).__name__}") from error


def _counter(limit: int | None) -> Any:
    """What fsspec tells how many bytes have come."""
    from fsspec import Callback

    class Counter(Callback):
        def set_size(self, size: int | None) -> None:
            self._compare(size or 0)

        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            self._compare(self.value)

        def _compare(self, bytes: int) -> None:
            if limit is not None and bytes > limit:
                raise ValueError(f"more bytes are sent than the {limit} that it may have")

    return Counter()


def _file_system(protocol: str, url: str) -> Any:
    """fsspec keeps one for each protocol and process; listings are never remembered, since others write too."""
    import fsspec

    options: dict[str, Any] = {}
    if protocol in READ_ONLY:
        options["client_kwargs"] = {"timeout": timeouts(), "trace_configs": [redirects()]}
    try:
        return fsspec.filesystem(protocol, use_listings_cache=False, **options)
    except (ImportError, ValueError) as error:
        hint = "the extras realsr-rebalance[s3] and [hf] hold the packages"
        raise UsageError(f"{without_password(url)} cannot be opened here: {error} ({hint})") from error


def _file_only(entry: dict[str, Any]) -> dict[str, Any]:
    if entry["type"] != "file":
        raise FileNotFoundError(entry["name"])
    return entry


def _found(entry: dict[str, Any]) -> Found:
    """What a store tells of an object; the names of time and etag differ between them."""
    changed = entry.get("LastModified") or entry.get("mtime") or entry.get("created")
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed or 0)
    etag = str(entry.get("ETag") or entry.get("etag") or "").strip('"')
    if not isinstance(entry.get("size"), int):
        raise OSError(f"{entry['name']}: its size is not told")
    return Found(entry["size"], seconds, etag)
