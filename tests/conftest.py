"""What all tests share."""

from __future__ import annotations

import signal
import zlib

import numpy as np
import pytest
from hypothesis import settings

import recurrust as rr

# The same examples in every run; a failure then shows again by itself.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")


# A process that a shell started in the background ignores Ctrl-C; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator of the test's own; a failure shows its seed, also the process stream's."""
    seed = zlib.crc32(request.node.name.encode())
    print(f"seed {seed}")
    rr.manual_seed(seed)
    return np.random.default_rng(seed)
