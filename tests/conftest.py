"""What every test shares."""

import pytest
import torch

# On two busy cores, threads that wait for each other take 30 times as long.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
