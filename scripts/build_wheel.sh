#!/usr/bin/env bash
# Builds the wheel into dist/: abi3, for Python 3.10 and later, on any x86_64 Linux with glibc 2.28 or later.
# zig, a package of the extra `build`, is the linker: it knows the symbols of old glibc versions.
set -euo pipefail
cd "$(dirname "$0")/.."
PIP_CONSTRAINT=$(PYTHON="$PWD/.venv/bin/python" scripts/pins.sh)
export PIP_CONSTRAINT
python=$PWD/.venv/bin/python
"$python" -c 'import ziglang' 2>/dev/null || {
  echo "build: zig, the linker (some 100 MB, once)"
  "$python" -m pip --disable-pip-version-check install -q 'ziglang>=0.13'
}
out=${1:-dist}
if [ "$(uname -sm)" = "Linux x86_64" ]; then
  PATH="$PWD/.venv/bin:$PATH" "$python" -m maturin build --release --locked --zig --target x86_64-unknown-linux-gnu \
    --compatibility manylinux_2_28 --out "$out"
else
  "$python" -m maturin build --release --locked --out "$out"
fi
