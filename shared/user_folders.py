"""Folders of the user who runs a command: caches and temporary files, also where that user has no home."""

import os
import pwd
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from .errors import RunError, UsageError


def expand_home(text: str) -> Path:
    """The path with the user's home folder for `~` at its beginning. Raises `UsageError` when that is unknown."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text}: {str(error).rstrip('.')}; write the path out") from error


def cache_folder(name: str) -> Path:
    """Folder of that name in the user's caches: $XDG_CACHE_HOME, or ~/.cache, or `private_folder` without a home.

    Raises `RunError` as `private_folder` does.
    """
    return _caches() / "realsr-rebalance" / name


def private_folder() -> Path:
    """This user's folder for temporary files, which no other user may read or write.

    Raises `RunError` when another user has put a link or a folder of that name there first.
    """
    folder = Path(tempfile.gettempdir()) / f"realsr-rebalance-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise RunError(f"{folder} is a link or belongs to another user: remove it, or set TMPDIR to a folder of yours")
    if found.st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def lead_libraries_to_caches() -> None:
    """Numba, Matplotlib, PyTorch and others keep files in the home folder of a user who has a name.

    In a container the user may have neither: then they warn, fail, or make a folder that is called `~`. The variables
    that they read hold for the workers of a command, too. Raises `RunError` as `private_folder` does.
    """
    if _home_caches() is None:
        caches = _caches()
        os.environ["XDG_CACHE_HOME"] = str(caches)
        os.environ.setdefault("MPLCONFIGDIR", str(caches / "matplotlib"))
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", str(os.getuid()))


def _caches() -> Path:
    return _home_caches() or private_folder() / "cache"


def _home_caches() -> Path | None:
    """What the environment names, or ~/.cache; None when that is neither there nor can be made."""
    if named := os.environ.get("XDG_CACHE_HOME"):
        return expand_home(named)
    with suppress(UsageError):
        caches = expand_home("~/.cache")
        if caches.is_dir() or os.access(caches.parent, os.W_OK):
            return caches
    return None
