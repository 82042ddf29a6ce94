#!/usr/bin/env bash
# Makes .venv and builds the extension into it. Called by `make setup`, which decides when.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

die() { echo "setup: $*" >&2; exit 1; }
command -v "$python" >/dev/null || die "no $python found; install Python 3.10 or newer, or say make PYTHON=…"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "$python is older than 3.10; say make PYTHON=…"
command -v cargo >/dev/null || die "no cargo found; install Rust 1.88 or newer (rustup.rs)"

PYTHON="$python" scripts/system_deps.sh

if ! .venv/bin/python -c '' 2>/dev/null; then
  "$python" -m venv --clear .venv
fi
# The versions everything was tested with. They hold for pip wherever it runs below, maturin's calls included.
PIP_CONSTRAINT=$(PYTHON="$PWD/.venv/bin/python" scripts/pins.sh)
export PIP_CONSTRAINT
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
.venv/bin/python -c 'import maturin' 2>/dev/null || pip install -q 'maturin>=1.9,<2'

# Installs the dependencies too (quietly: a page of names hides the one line that matters); with all of
# them there it only builds. pedalboard (GPLv3) is here to be tested against; the wheel does not ask for it.
echo "setup: Python packages and the extension; the first time takes a few minutes"
PIP_QUIET=1 VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH" .venv/bin/maturin develop --release --extras test,dev,pedalboard "$@"
