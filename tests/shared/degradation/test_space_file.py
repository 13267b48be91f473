"""Spaces from files: both dialects, what is equal to a built-in space, and every way in which a file can be wrong."""

import json
import re

import pytest
import yaml

from shared.degradation.definition import FILE_PREFIX, from_definition, own_definition, space_of, to_definition
from shared.degradation.partition import partition
from shared.degradation.plan import draw_plan
from shared.degradation.presets import SPACES, get_space
from shared.degradation.space_file import find_space, print_space, read_space
from shared.degradation.validation import violations
from shared.errors import UsageError
from tests.shared.degradation.option_files import PASD, REALESRGAN, STABLESR, changed


@pytest.fixture
def read(tmp_path):
    """read(values or text) is the space of a file with that content."""

    def run(content):
        path = tmp_path / "my.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return find_space(str(path))

    return run


def edited(entry: str, value) -> dict:
    """The definition of `paper` with another value of an entry such as blur1.sigma."""
    part, _, key = entry.partition(".")
    values = to_definition(get_space("paper"))
    values[part] = {**values[part], key: value} if key else value
    return values


MINE = edited("noise1.gaussian_sigma_255", [2, 9])


# --- what equals a built-in space ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "name"), [(REALESRGAN, "realesrgan"), (PASD, "pasd"), (STABLESR, "stablesr")])
def test_a_published_option_file_is_the_built_in_space_in_every_number(options, name, read):
    assert read(options) == get_space(name)


@pytest.mark.parametrize("name", SPACES)
def test_a_printout_read_again_is_the_same_space(name, read):
    assert read(print_space(get_space(name))) == get_space(name)


def test_a_printout_may_be_put_in_another_order(read):
    values = yaml.safe_load(print_space(get_space("paper")))
    shuffled = {part: values[part] for part in reversed(values)}
    shuffled["resize1"] = {**values["resize1"], "directions": {"up": 0.1, "keep": 0.7, "down": 0.2}}
    shuffled["final"] = {**values["final"], "modes": ["bicubic", "area", "bilinear"]}
    assert read(shuffled) == get_space("paper")


# --- names and partitions -----------------------------------------------------------------------------------------


def test_another_space_is_named_by_its_content_and_not_by_its_path(read, tmp_path):
    space = read(MINE)
    assert re.fullmatch(r"file-[0-9a-f]{12}", space.name)
    elsewhere = tmp_path / "other" / "name.yml"
    elsewhere.parent.mkdir()
    elsewhere.write_text("# a comment\npartition: 1x2\n" + yaml.safe_dump(MINE))
    assert read_space(elsewhere).name == space.name
    assert read(edited("noise1.gaussian_sigma_255", [2, 9.5])).name != space.name
    assert from_definition(MINE).name == "file-1fb33a3279bb"  # frozen: names seed draws


def test_the_default_partition_is_that_of_the_file_or_of_its_dialect(read):
    assert read(MINE).default_partition == "2x2"
    assert read({"partition": "noise:3", **MINE}).default_partition == "noise:3"
    assert read({**to_definition(get_space("paper")), "partition": "full"}).default_partition == "full"
    assert read(changed(REALESRGAN, "noise_range", [1, 20])).default_partition == "full"


@pytest.mark.parametrize("cut", ["2x2", "full", "3x2", "resize:2", "jpeg:4"])
def test_partitions_cut_it_as_any_space(cut, read):
    for subspace in partition(read(MINE), cut):
        for row in range(50):
            plan = draw_plan(subspace, seed=0, split="train", row=row, height=256, width=256)
            assert not violations(plan, subspace)


# --- what a recipe holds ------------------------------------------------------------------------------------------


def test_a_recipe_holds_the_definition_of_a_file_and_nothing_of_a_built_in_space(read):
    space = read(MINE)
    recipe = {"space": space.name, "definition": json.loads(own_definition(space))}
    assert space_of(json.loads(json.dumps(recipe, sort_keys=True))) == space
    assert own_definition(get_space("paper")) == ""
    assert space_of({"space": "paper"}) == get_space("paper")


def test_a_definition_that_is_not_that_of_its_name_is_refused(read):
    with pytest.raises(UsageError, match="space is 'file-000000000000': its definition is that of file-"):
        space_of({"space": "file-000000000000", "definition": MINE})
    with pytest.raises(UsageError, match="unknown space 'file-1fb33a3279bb'"):
        space_of({"space": "file-1fb33a3279bb"})


def test_no_built_in_space_has_the_name_of_a_file():
    assert not [name for name in SPACES if name.startswith(FILE_PREFIX)]


# --- our dialect, wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**MINE, "blurr1": {}}, r"unknown key 'blurr1': did you mean blur1\?"),
        (edited("blur1.sgima", [1, 2]), r"unknown key 'blur1.sgima': did you mean blur1.sigma\?"),
        ({k: v for k, v in MINE.items() if k != "jpeg2"}, "lacks jpeg2.low, jpeg2.high: write down all numbers"),
        (edited("jpeg1", [30, 95]), r"jpeg1 is \[30, 95\]: it must have the entries low, high"),
        (edited("blur1.sigma", 2.0), r"blur1.sigma is 2.0: it must be \[low, high\]"),
        (edited("blur1.sigma", [3, 1]), r"blur1.sigma is \[3, 1\]: .* low not above high"),
        (edited("blur1.sigma", [0, 1]), r"blur1.sigma is 0: it must be \[low, high\], both from 0.01 to 50"),
        (edited("blur1.sigma", ["a", 1]), "blur1.sigma is 'a'"),
        (edited("blur1.sigma", [float("nan"), 1]), "blur1.sigma is nan"),
        (edited("blur1.sinc", 1.1), "blur1.sinc is 1.1: it must be a probability from 0 to 1"),
        (edited("blur1.sinc", True), "blur1.sinc is True"),
        (edited("blur1.families", {"iso": 0.5, "aniso": 0.4}), "probabilities sum to 0.9, not to 1"),
        (
            edited("blur1.families", {"iso": 0.5, "round": 0.5}),
            "blur1.families is .*: it must give a probability to iso",
        ),
        (edited("blur1.sizes", [8]), "blur1.sizes holds 8: its entries must be 3, 5"),
        (edited("blur1.sizes", [23]), "blur1.sizes holds 23"),
        (edited("blur1.sizes", [7, 7]), "blur1.sizes holds 7: .* each at most once"),
        (edited("blur1.sizes", [7.0]), "blur1.sizes holds 7.0"),
        (edited("blur1.beta_plateau", [1.5, 2]), r"blur1.beta_plateau is \[1.5, 2.0\]: it must contain 1"),
        (edited("resize1.factor", [0.2, 0.9]), "no factor for the direction up, whose probability is 0.1"),
        (edited("resize1.modes", ["nearest"]), "resize1.modes holds 'nearest'"),
        (edited("resize1.modes", []), r"resize1.modes is \[\]: it must be a list of area, bilinear or bicubic"),
        (edited("noise1.kinds", {"gaussian": 1.2}), "noise1.kinds, gaussian, is 1.2"),
        (edited("jpeg1.low", 0), "jpeg1.low is 0: it must be a JPEG quality, a whole number from 1 to 100"),
        (edited("jpeg1.low", 96), "jpeg1.low is 96: it must not be above 95"),
        (edited("jpeg1.high", 70.5), "jpeg1.high is 70.5"),
        ({**MINE, "partition": "2x"}, "unknown partition '2x'"),
        ({**MINE, "partition": 4}, "partition is 4: it must be a name"),
        ({"partition": "2x2"}, "lacks blur1.sigma"),
    ],
)
def test_a_wrong_entry_is_refused_by_file_name_and_rule(values, message, read):
    with pytest.raises(UsageError, match=rf"my\.yaml: .*{message}"):
        read(values)


def test_probabilities_of_0_and_other_ways_to_write_a_number_make_no_other_space(read):
    values = edited("resize1.directions", {"down": 0.3, "keep": 0.7, "up": 0})
    same = edited("resize1.directions", {"keep": 0.7, "down": 0.3})
    values["jpeg1"], values["final"] = {"low": 30.0, "high": 95}, {**values["final"], "sinc": 1}
    same["final"] = {**same["final"], "sinc": 1.0}
    assert read(values) == read(same)


# --- the field's dialect, wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (changed(PASD, "blur_sigma2", None), "it lacks blur_sigma2: an option file must have the keys of both stages"),
        ({**PASD, "resize_rang": [0.3, 1]}, r"unknown key 'resize_rang': did you mean resize_range\?"),
        ({**PASD, "gray_prob": 0.1}, "gray_prob is 0.1: the model has no such degradation; set it to 0 or remove it"),
        ({**PASD, "resize_mode_list": ["lanczos"]}, r"resize_mode_list is \['lanczos'\]: the model has no such"),
        ({**PASD, "blur_sigma": [1, 2]}, r"blur_sigma is \[1, 2\] and \[0.2, 3\]: give it once"),
        (changed(PASD, "resize_prob2", [0.5, 0.5]), "resize_prob2 is .*a weight for each of"),
        (changed(PASD, "resize_prob", [-1, 1, 1]), "resize_prob is .*weights of 0 or more"),
        (changed(PASD, "kernel_list", ["iso"] * 6), "kernel_prob is .*a weight for each of"),
        (changed(PASD, "kernel_list2", ["iso", "oval", "a", "b", "c", "d"]), "kernel_prob2 is"),
        (changed(PASD, "resize_range2", [0.6, 0.9]), "resize_range2 is .* no factor for the direction up"),
        (changed(PASD, "noise_range", [1, 300]), "noise_range is 300"),
        (changed(PASD, "gaussian_noise_prob", "often"), "gaussian_noise_prob is 'often'"),
        (changed(PASD, "jpeg_range", 60), r"jpeg_range is 60: it must be \[low, high\]"),
        (changed(PASD, "jpeg_range2", [60, 101]), "jpeg_range2 is 101: it must be a JPEG quality"),
        (changed(PASD, "betap_range", [1.2, 2]), "betap_range is .*it must contain 1"),
        (changed(PASD, "second_blur_prob", 2), "second_blur_prob is 2: it must be a probability"),
        (changed(PASD, "final_sinc_prob", None), "it lacks final_sinc_prob"),
        ({"epochs": 3}, "it has neither the keys of a definition"),
        ("- 1\n- 2\n", "it has neither the keys of a definition"),
    ],
)
def test_a_wrong_option_is_refused_by_the_key_of_the_file(values, message, read):
    with pytest.raises(UsageError, match=rf"my\.yaml: .*{message}"):
        read(values)


def test_weights_of_an_option_file_need_not_sum_to_one(read):
    space = read(changed(PASD, "resize_prob", [2, 7, 1]))
    assert space == get_space("pasd")


def test_a_file_that_is_not_yaml_is_refused(read):
    with pytest.raises(UsageError, match=r"my\.yaml is not YAML"):
        read("blur1: [")


def test_an_unknown_name_is_answered_with_the_nearest_and_the_way_to_a_file():
    with pytest.raises(
        UsageError, match=r"unknown space 'papr': did you mean paper\? choose one of paper, .*YAML file"
    ):
        find_space("papr")
