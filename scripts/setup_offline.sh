#!/usr/bin/env bash
# Adds to .venv what training and the studies need: the extras lab, train, phase0 and recordings, and moshi. The package
# itself is there already (scripts/setup.sh), so only their requirements are installed.
set -euo pipefail
cd "$(dirname "$0")/.."
PIP_CONSTRAINT=$(PYTHON="$PWD/.venv/bin/python" scripts/pins.sh)
export PIP_CONSTRAINT
mapfile -t wanted < <(.venv/bin/python - <<'PY'
import sys
tomllib = __import__("tomllib" if sys.version_info >= (3, 11) else "tomli")
with open("pyproject.toml", "rb") as f:
    extras = tomllib.load(f)["project"]["optional-dependencies"]
for name in ("lab", "codec", "train", "phase0", "recordings"):
    for need in extras[name]:
        if not need.startswith("cspace["):
            print(need)
PY
)
echo "setup: torch and what the studies need; several GB the first time, some minutes"
.venv/bin/python -m pip --disable-pip-version-check install -q "${wanted[@]}"
# Mimi for `cspace phase0`. moshi's own requirements would take torch back below 2.10, numpy below 2.3 and sounddevice
# to 0.5, and bring bitsandbytes (CUDA, GB); its Mimi imports none of them but torch, and only these beside it. Who wants
# moshi's pins says pip install 'cspace[mimi]'.
.venv/bin/python -m pip --disable-pip-version-check install -q --no-deps 'moshi>=0.2.2'
.venv/bin/python -m pip --disable-pip-version-check install -q -r constraints/mimi.in
