"""One thread for torch: several that wait for each other on a busy machine are far slower. And one
seed, so that a test draws the same every time."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)
