"""Files of mixtures, and runs that hold their weights instead of a file's name."""

import json
from pathlib import Path

import pytest

from shared.errors import UsageError
from train.record.mixtures import Mixture, load_mixture, with_weights_of_file
from train.settings import TrainSettings


def test_a_mixture_is_read_back_exactly(tmp_path: Path) -> None:
    found = {"format": "realsr-mixture-v1", "weights": {"mild": 0.1, "noise": 0.9}, "origin": {"aim": "gap"}}
    (tmp_path / "m.json").write_text(json.dumps(found))
    assert load_mixture(tmp_path / "m.json") == Mixture(**found)


def test_settings_hold_the_weights_of_the_file_that_they_name(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text('{"format": "realsr-mixture-v1", "origin": {}, "weights": {"mild": 0.1, "noise": 0.9}}')
    settings = TrainSettings(policy="fixed", policy_options={"weights": str(path)})
    assert with_weights_of_file(settings).policy_options == {"weights": "mild=0.1,noise=0.9"}
    for same in (TrainSettings(policy="fixed", policy_options={"weights": "mild=1"}), TrainSettings()):
        assert with_weights_of_file(same) == same


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a mixture"),
        ("[]", "they must be an object"),
        ('{"format": "realsr-mixture-v1"}', "field 'origin' is missing"),
        ('{"format": "x", "origin": {}, "weights": {}}', "its format is not realsr-mixture-v1"),
        ('{"format": "realsr-mixture-v1", "origin": {}, "weights": {"mild": -1}}', "a weight is negative"),
        ('{"format": "realsr-mixture-v1", "origin": {}, "weights": {"mild": true}}', "it must be float"),
        ('{"format": "realsr-mixture-v1", "origin": {}, "weights": {"mild": 1e999}}', "no"),
    ],
)
def test_a_file_that_is_no_mixture_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_mixture(tmp_path / "m.json")


def test_a_name_that_is_no_file_is_refused() -> None:
    with pytest.raises(UsageError, match="no mixture elsewhere: give task=weight,task=weight, or a file"):
        with_weights_of_file(TrainSettings(policy="fixed", policy_options={"weights": "elsewhere"}))
