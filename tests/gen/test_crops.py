"""Decoded photographs that are kept change no byte, and a shard needs their files no longer."""

import pytest

import shared.photos.photo_cache


@pytest.fixture
def decodings(monkeypatch):
    """Ids of the photographs that are decoded, as a list that fills."""
    ids, read = [], shared.photos.photo_cache.read
    monkeypatch.setattr(
        shared.photos.photo_cache, "read", lambda photograph: ids.append(photograph.id) or read(photograph)
    )
    return ids


@pytest.mark.parametrize("gigabytes", ["16", "0.00006", "0"])  # all, two of six, none
@pytest.mark.parametrize("options", [(), ("--multiscale", "--patch", "76")])
def test_no_byte_depends_on_what_is_kept(gigabytes, options, render, contents, tmp_path, monkeypatch):
    expected = contents(render(tmp_path / "without", *options))
    monkeypatch.setenv("REALSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REALSR_CACHE_GB", gigabytes)
    assert contents(render(tmp_path / "first", *options)) == expected
    assert contents(render(tmp_path / "again", *options)) == expected


def test_a_photograph_is_decoded_once_a_machine_when_it_is_kept(render, decodings, tmp_path, monkeypatch):
    monkeypatch.setenv("REALSR_CACHE", str(tmp_path / "cache"))
    render(tmp_path / "out", "--count", "24")
    assert len(decodings) == len(set(decodings)) > 0
    decodings.clear()
    render(tmp_path / "again", "--count", "24")
    assert decodings == []


def test_a_photograph_is_decoded_once_a_shard_when_it_is_not(render, decodings, tmp_path, monkeypatch):
    monkeypatch.setattr("gen.render._calibrate", lambda spec: (0.009, 120e3))
    render(tmp_path / "out", "--count", "40", "--rows-per-shard", "40")
    assert len(decodings) == len(set(decodings)) > 0
