#!/usr/bin/env bash
# Adds to .venv what training and the studies need: the extras lab, train and recordings. The package
# itself is there already (scripts/setup.sh), so only their requirements are installed.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t wanted < <(.venv/bin/python - <<'PY'
import sys
tomllib = __import__("tomllib" if sys.version_info >= (3, 11) else "tomli")
with open("pyproject.toml", "rb") as f:
    extras = tomllib.load(f)["project"]["optional-dependencies"]
for name in ("lab", "codec", "train", "recordings"):
    for need in extras[name]:
        if not need.startswith("cspace["):
            print(need)
PY
)
echo "setup: torch and what the studies need; several GB the first time, some minutes"
.venv/bin/python -m pip --disable-pip-version-check install -q "${wanted[@]}"
