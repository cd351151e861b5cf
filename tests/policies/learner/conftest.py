"""One thread for torch: several that wait for each other on a busy machine are far slower. And one
seed, so that a test draws the same every time."""

from typing import Any

import pytest
import torch

from policies.learner.setup import Setup
from tests.policies.learner.trainer_kit import new_setup

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)


@pytest.fixture
def setup(honest: dict[str, Any]) -> Setup:
    return new_setup(honest)
