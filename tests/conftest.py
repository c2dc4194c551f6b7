"""What every test starts from: fixed seeds, one thread, quick and repeatable Hypothesis."""

import numpy as np
import pytest
import torch
from hypothesis import settings

from xlstmd.errors import InputError
from xlstmd.train.corpus import data_root

# Small products on several threads wait for each other far longer than they compute.
torch.set_num_threads(1)

settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _seeds():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def real_data():
    """Gives the folder of the real series, or skips."""
    try:
        return data_root()
    except InputError as error:
        pytest.skip(f"needs the real series: {error}")
