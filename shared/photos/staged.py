"""Archives that cannot be read by offset, staged once as plain tars: compressed tars, what a command writes, LMDBs.

The staged tar lies beside the photo cache under the address, the size and the time of the archive, so that reading it
again costs nothing. It may be deleted: the next command stages it again.
"""

import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import RunError, UsageError
from ..records import canonical_json
from ..storage.atomic import temporary_beside
from ..storage.places import address, info, place
from ..text import without_password
from ..user_folders import private_folder
from .archives import MAX_MEMBER_BYTES
from .photo_cache import photo_cache_folder

PIPE = "pipe:"
"""Begins a source that is a command of the shell, whose output is a tar."""
STAGED = "staged"
"""Folder of the staged tars."""
DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


def staged_tar(source: str) -> Path:
    """A plain tar of what is in a compressed tar (a path or a url) or in the output of `pipe:COMMAND`.

    A command is run each time, because nothing tells whether it would write the same again. Raises `RunError` when the
    archive cannot be read to its end.
    """
    if source.startswith(PIPE):
        return _staged([source], lambda: _of_stream(_piped(source)), source, again=True)
    where = place(source)
    found = info(where)
    identity = [address(where), found.size, found.time, found.etag]
    return _staged(identity, lambda: _of_stream(where.open("rb")), source)


def staged_lmdb(folder: Path) -> Path:
    """A plain tar of the PNG images of an LMDB, named by their keys. Raises `RunError` when it cannot be read."""
    try:
        import lmdb
    except ImportError as error:
        raise UsageError(f"{folder} needs the package lmdb: pip install 'realsr-rebalance[lmdb]'") from error
    try:
        data = folder / "data.mdb"
        found = info(data)

        def members() -> Iterator[tuple[str, bytes]]:
            with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin() as transaction:
                for key, value in transaction.cursor():
                    yield f"{key.decode()}.png", value

        return _staged([address(data.resolve()), found.size, found.time], members, str(folder))
    except (FileNotFoundError, lmdb.Error, UnicodeDecodeError) as error:
        raise RunError(f"{folder} is not an LMDB of images: {error}") from error


def _staged(identity: list[Any], members: Any, source: str, again: bool = False) -> Path:
    folder = (photo_cache_folder() or private_folder()) / STAGED
    tar = folder / f"{hashlib.sha256(canonical_json(identity)).hexdigest()}.tar"
    if tar.is_file() and not again:
        return tar
    folder.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(tar)
    try:
        with tarfile.open(temporary, "w") as archive:
            _write(archive, members())
        temporary.replace(tar)
    except DAMAGED as error:
        raise RunError(
            f"{without_password(source)} cannot be read to its end: {error or type(error).__name__}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return tar


def _write(archive: tarfile.TarFile, members: Iterable[tuple[str, bytes]]) -> None:
    for name, data in members:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


def _of_stream(stream: Any) -> Iterator[tuple[str, bytes]]:
    """Name and content of each regular member of a tar, compressed or not, in one pass."""
    with stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() and member.size <= MAX_MEMBER_BYTES else None
            if content:
                yield member.name, content.read()
        while stream.read(1 << 16):  # a command that is left before its end would fail
            pass


def _piped(source: str) -> Any:
    from webdataset.gopen import gopen

    return gopen(source)
