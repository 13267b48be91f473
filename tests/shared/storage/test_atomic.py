"""Files are whole or absent, and a folder has one writer."""

import os
import subprocess
import sys

import pytest

from shared.storage.atomic import atomic_write, locked, remove_temporaries, write_bytes, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole_and_not_before(tmp_path):
    with atomic_write(tmp_path / "new" / "a.bin") as file:
        file.write(b"first half")
        file.flush()
        (temporary,) = names(tmp_path / "new")
        assert temporary.startswith(".tmp-")
        assert temporary.endswith("-a.bin")
    assert names(tmp_path / "new") == ["a.bin"]


@pytest.mark.parametrize("accident", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_accident_leaves_the_old_file_and_nothing_else(accident, tmp_path):
    write_bytes(tmp_path / "a", b"old")

    def write():
        with atomic_write(tmp_path / "a") as file:
            file.write(b"new")
            raise accident

    with pytest.raises(accident):
        write()
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_disk_that_cannot_sync_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(tmp_path / "a", b"data")
    assert names(tmp_path) == []


def test_the_data_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr("os.fsync", lambda _: events.append("sync"))
    replace = type(tmp_path).replace
    monkeypatch.setattr(type(tmp_path), "replace", lambda *a: events.append("rename") or replace(*a))
    write_bytes(tmp_path / "a", b"data")
    assert events == ["sync", "rename", "sync"]


def test_equal_content_is_not_written_again(tmp_path):
    write_text(tmp_path / "a", "é")
    before = (tmp_path / "a").stat()
    write_bytes(tmp_path / "a", "é".encode())
    after = (tmp_path / "a").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_text(tmp_path / "a", "e")
    assert (tmp_path / "a").read_bytes() == b"e"


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    for name in (".tmp-1-a.tar", ".tmp-99-b.json", "a.tar", ".lock", ".done"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path)
    assert names(tmp_path) == [".done", ".lock", "a.tar"]
    remove_temporaries(tmp_path / "no such folder")


def lock_elsewhere(folder, then="pass"):
    """What happens when another process asks for the lock: its exit code, and what it says."""
    code = "import os; from pathlib import Path; from shared.storage.atomic import locked\n"
    code += f"with locked(Path({str(folder)!r}), 'second'): {then}"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_folder_has_one_writer(tmp_path):
    with locked(tmp_path / "new", "first"):
        code, message = lock_elsewhere(tmp_path / "new")
        assert code == 1
        assert "is being written by another process (second): wait for it or stop it" in message
        assert lock_elsewhere(tmp_path / "other") == (0, "")
    assert lock_elsewhere(tmp_path / "new") == (0, "")


def test_a_lock_ends_with_its_process_however_it_ends(tmp_path):
    assert lock_elsewhere(tmp_path, then="os._exit(9)")[0] == 9
    with locked(tmp_path, "next"):
        pass


def test_a_child_that_outlives_the_writer_does_not_hold_its_lock(tmp_path):
    linger = "os.fork() or (os.read(int(os.environ['HELD']), 1), os._exit(0))"
    reader, writer = os.pipe()
    code = "import os; from pathlib import Path; from shared.storage.atomic import locked\n"
    code += f"with locked(Path({str(tmp_path)!r}), 'x'): {linger}"
    environment = {**os.environ, "HELD": str(reader)}
    assert subprocess.run([sys.executable, "-c", code], timeout=60, env=environment, pass_fds=[reader]).returncode == 0
    assert lock_elsewhere(tmp_path) == (0, "")
    os.close(writer)  # lets the child go
    os.close(reader)


def test_locking_does_not_touch_the_lock_file(tmp_path):
    with locked(tmp_path, "x"):
        pass
    before = (tmp_path / ".lock").stat().st_mtime_ns
    with locked(tmp_path, "x"):
        pass
    assert (tmp_path / ".lock").stat().st_mtime_ns == before
