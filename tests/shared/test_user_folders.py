"""Folders of the user: private whatever stands in their place, and there for a user with neither a home nor a name."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from shared.errors import RunError, UsageError
from shared.photos.photo_cache import photo_cache_folder
from shared.shards.cache import default_folder
from shared.storage.places import staging_folder
from shared.storage.remote import Remote
from shared.user_folders import cache_folder, expand_home, private_folder

ROOT = Path(__file__).parents[2]
STRANGER = 12345
"""A user id that no password file has."""
NO_HOME = ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "USER", "LOGNAME", "LNAME", "USERNAME")


@pytest.fixture
def shared_folder(tmp_path, monkeypatch) -> Path:
    """A folder for temporary files in which others may write."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_the_temporary_folder_is_private(shared_folder):
    folder = private_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert private_folder().stat().st_mode & 0o777 == 0o700


def test_a_link_in_its_place_is_not_followed(shared_folder, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (shared_folder / f"realsr-rebalance-{os.getuid()}").symlink_to(victim)
    with pytest.raises(RunError, match="is a link or belongs to another user: remove it, or set TMPDIR"):
        staging_folder(Remote("memory://bucket/x"))
    assert list(victim.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_in_its_place_is_refused(shared_folder):
    (shared_folder / f"realsr-rebalance-{os.getuid()}").mkdir()
    os.chown(shared_folder / f"realsr-rebalance-{os.getuid()}", STRANGER, STRANGER)
    with pytest.raises(RunError, match="belongs to another user"):
        private_folder()


@pytest.mark.parametrize("home", ["there", "with caches", "nowhere"])
def test_caches_are_in_the_home_folder_where_that_can_hold_them(home, shared_folder, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("REALSR_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / home))
    if home != "nowhere":
        (tmp_path / home).mkdir()
    if home == "with caches":
        (tmp_path / home / ".cache").mkdir()
        (tmp_path / home).chmod(0o500)
    caches = private_folder() / "cache" if home == "nowhere" else tmp_path / home / ".cache"
    assert cache_folder("shards") == default_folder() == caches / "realsr-rebalance/shards"
    assert photo_cache_folder() == caches / "realsr-rebalance/photographs"


def test_a_home_that_is_unknown_is_an_error_in_words():
    with pytest.raises(UsageError, match="~nobody-at-all/x: Could not determine home directory; write the path out"):
        expand_home("~nobody-at-all/x")


LIBRARIES = """
import getpass, sys, warnings
warnings.simplefilter("error")
from shared.errors import run_command

def main(argv):
    import logging, matplotlib, numba
    logging.getLogger("matplotlib").addHandler(logging.StreamHandler())
    import compiled_here
    assert compiled_here.double(2.0) == 4.0
    from shared.photos.photo_cache import photo_cache_folder
    from shared.shards.cache import default_folder
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir
    for folder in (matplotlib.get_cachedir(), matplotlib.get_configdir(), photo_cache_folder(), default_folder()):
        print(folder)
    default_cache_dir()

sys.exit(run_command(main))
"""


@pytest.fixture
def strangers_folder():
    """A folder of the user `STRANGER`, who may pass through all that are above it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        if os.getuid() == 0:
            os.chown(folder, STRANGER, STRANGER)
        yield Path(folder)


@pytest.fixture
def as_stranger(strangers_folder, tmp_path):
    """as_stranger(*words) runs a command as a user without an entry in the password file, who may read what we read."""
    readable = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    user = ["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups", *readable]
    if not shutil.which("setpriv") or subprocess.run([*user, "true"], capture_output=True).returncode:
        pytest.skip("only root, with setpriv, can become another user")
    environment = {name: value for name, value in os.environ.items() if name not in NO_HOME}
    environment |= {"TMPDIR": str(strangers_folder), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    environment.pop("REALSR_CACHE", None)

    def run(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([*user, *words], cwd=strangers_folder, env=environment, capture_output=True, text=True)

    return run


def test_libraries_keep_their_files_in_the_private_folder_of_a_user_without_a_home(
    as_stranger, strangers_folder, tmp_path
):
    (tmp_path / "compiled_here.py").write_text(
        "import numba\n\n\n@numba.njit(cache=True)\ndef double(x):\n    return 2.0 * x\n"
    )
    ended = as_stranger(sys.executable, "-c", LIBRARIES)
    assert (ended.returncode, ended.stderr) == (0, "")
    caches = strangers_folder / f"realsr-rebalance-{STRANGER}" / "cache"
    assert {Path(line).is_relative_to(caches) for line in ended.stdout.splitlines()} == {True}
    assert [*caches.glob("numba/**/*.nbi")]
    assert {path.name.partition("_")[0] for path in strangers_folder.iterdir()} <= {caches.parent.name, "torchinductor"}
    assert caches.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_may_not_be_written_to_is_refused_before_any_image_is_read(as_stranger, tmp_path):
    (tmp_path / "ours").mkdir()
    out = f"{tmp_path}/ours/new/shards"
    ended = as_stranger(sys.executable, "-m", "gen.render", "--subspace", "noise", "--out", out)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: out is '{out}': {tmp_path}/ours cannot be written to; give another folder\n"


def test_a_user_without_a_home_is_told_to_write_paths_out(as_stranger):
    ended = as_stranger(sys.executable, "-m", "gen.status", "~/shards")
    assert (ended.returncode, ended.stderr) == (2, "error: ~: Could not determine home directory; write the path out\n")
