"""What all tests share."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import settings

# The same examples in every run; a failure then shows again by itself.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator of the test's own; a failure shows its seed."""
    seed = zlib.crc32(request.node.name.encode())
    print(f"seed {seed}")
    return np.random.default_rng(seed)
