"""What all tests share: their settings, and the published figures where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

# No test finds what another has trained, or fills the score cache of whoever runs it.
os.environ["NAS_SCORE_CACHE"] = "none"

# Before anything imports torch: the tests of two workers with as many threads as cores each would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

# The same examples everywhere and always; a busy machine is no failure.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture
def published() -> Path:
    """The folder of the published latencies, laid out as latency_tables/README.md says."""
    folder = os.environ.get("NAS_PUBLISHED")
    if not folder:
        pytest.skip("NAS_PUBLISHED does not name the folder of the published latencies")
    return Path(folder)
