"""One look at a folder while others write to it."""

import os
from contextlib import contextmanager

from shared.storage.places import listing


def test_a_listing_has_the_files_of_a_folder_with_their_sizes(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "a.tar").write_bytes(b"abc")
    assert {name: found.size for name, found in listing(tmp_path).items()} == {"a.tar": 3}
    assert listing(tmp_path / "none") == {}


def test_what_vanishes_during_a_look_hides_nothing_else(tmp_path, monkeypatch):
    for name in ("a.json", ".tmp-b.json", "c.json"):
        (tmp_path / name).touch()
    scandir = os.scandir

    @contextmanager
    def renamed_meanwhile(folder):
        with scandir(folder) as entries:
            found = list(entries)
        (tmp_path / ".tmp-b.json").unlink()
        yield found

    monkeypatch.setattr(os, "scandir", renamed_meanwhile)
    assert sorted(listing(tmp_path)) == ["a.json", "c.json"]
