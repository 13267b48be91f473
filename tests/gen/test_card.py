"""The dataset card names the listed tars by a few patterns, and no others."""

from fnmatch import fnmatchcase

import pytest

from gen.card import data_files, digit_patterns
from shared.shards.manifest import Manifest, ShardEntry


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0), (0, 9), (7, 12), (0, 99), (95, 105), (123, 4567), (0, 9999), (4999, 5000), (8, 9990)]
)
def test_patterns_match_the_numbers_between_and_no_others_in_order(low, high):
    patterns = digit_patterns(f"{low:04d}", f"{high:04d}")
    assert len(patterns) <= 2 * 4 + 1
    names = [f"{number:04d}" for number in range(10_000)]
    matching = [[name for name in names if fnmatchcase(name, pattern)] for pattern in patterns]
    assert [int(name) for found in matching for name in found] == list(range(low, high + 1))


def test_a_card_of_twenty_thousand_shards_is_short():
    urls = [f"noise-x4-a1b2c3-{number:06d}.tar" for number in range(12, 20_000)] + ["noise-x4-a1b2c3-020000-n00120.tar"]
    entries = [ShardEntry(url, 1, 1, "", "") for url in urls]
    manifest = Manifest("noise", "noise", "train", "a1b2c3", {}, len(urls), 1, "", {}, [], {}, entries)
    patterns = data_files(manifest)
    assert len(patterns) < 14
    assert patterns[-1] == urls[-1]
    stranger = ["noise-x4-a1b2c3-000011.tar", "noise-x4-a1b2c3-020000.tar", "noise-x4-a1b2c3-000012-n00120.tar"]
    matched = [url for url in urls + stranger if any(fnmatchcase(url, pattern) for pattern in patterns)]
    assert matched == urls
