"""Devices and threads for the tests of the torch backend; torch is imported where one of them asks for it."""

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a `device` runs on each kind there is."""
    if "device" in metafunc.fixturenames:
        import torch

        kinds = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        metafunc.parametrize("device", [pytest.param(torch.device(kind), id=kind) for kind in kinds])


@pytest.fixture(scope="module")
def one_thread():
    """Small tensors are slower on several."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
