"""What all tests share: the `--slow` switch, and that nothing is kept outside their own folders."""

import os
import signal

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


def pytest_configure(config: pytest.Config) -> None:
    os.environ["REALSR_CACHE"] = ""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background it is ignored, and inherited so


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes: give --slow"))
