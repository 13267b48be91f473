"""A shard travels with the crops of its rows, not with the list of HR images that they are drawn from."""

import pickle
from dataclasses import replace

import pytest

from gen.dataset import DatasetPlan
from gen.engines import absolute
from gen.recipe import Recipe
from shared.photos.crops import HRImages
from shared.photos.find import HRImage

RECIPE = Recipe("paper", "2x2", "noise", "train", "0" * 64, patch=76, rows_per_shard=8)


@pytest.fixture
def specs(tmp_path):
    """Three shards of twenty rows, from ten thousand HR images."""
    images = [HRImage(f"{n}.png", f"hr/{n}.png", f"{n:064x}", 80, 90, 1 + n % 7, "CC0-1.0") for n in range(10_000)]
    return DatasetPlan(RECIPE, 20).specs(tmp_path, images)


def test_what_travels_is_small_and_draws_the_same_crops(specs):
    whole = len(pickle.dumps(specs[0].photographs))
    for spec in specs:
        data = pickle.dumps(spec)
        assert len(data) < whole / 100
        there = pickle.loads(data)
        assert list(there.crops()) == list(spec.crops())
        assert (there.name, there.row_numbers, there.tar) == (spec.name, spec.row_numbers, spec.tar)
        assert pickle.dumps(there) == data
        assert list(replace(there, rows=2).crops()) == list(spec.crops())[:2]


def test_shards_of_a_dataset_share_one_list_and_its_sums(specs):
    assert {id(spec.photographs) for spec in specs} == {id(specs[0].photographs)}
    assert isinstance(specs[0].photographs, HRImages)
    ends = specs[0].photographs.ends
    list(specs[1].crops())
    assert specs[1].photographs.ends is ends
    assert ends[-1] == sum(image.weight for image in specs[0].photographs)
    assert "ends" not in vars(pickle.loads(pickle.dumps(specs[0].photographs)))


def test_in_another_folder_its_crops_are_found_too(specs, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    crops = list(absolute(specs[0].alone()).crops())
    assert [crop.photograph.path for crop in crops] == [
        str(tmp_path / crop.photograph.path) for crop in specs[0].crops()
    ]


def test_a_shard_that_is_only_named_has_no_crops(tmp_path):
    (named,) = DatasetPlan(RECIPE, 3).specs(tmp_path)
    assert list(named.crops()) == []
    assert pickle.loads(pickle.dumps(named)) == named
