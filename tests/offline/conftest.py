"""How many threads torch has in these tests."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest


@pytest.fixture(autouse=True, scope="module")
def _torch_threads() -> None:
    """One, or as many as OMP_NUM_THREADS says (scripts/kernels.sh), whatever the tests before left behind.

    Small products are slower on many threads, much so on a busy machine.
    """
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
