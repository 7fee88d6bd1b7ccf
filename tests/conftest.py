"""What every test gets."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small products gain nothing from a second thread, and on a busy machine wait for it: 96 s instead of 6."""
    torch.set_num_threads(1)
