#!/usr/bin/env bash
# Prints the file of pinned versions for $PYTHON, as pip's PIP_CONSTRAINT wants it: an address, since pip splits the variable
# at spaces. An empty file where there are no pins yet.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$("${PYTHON:-python3}" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
file=$PWD/constraints/$version.txt
if [ ! -f "$file" ]; then
  echo "setup: no pinned versions for Python $version yet, the newest are taken; tested are $(
    cd constraints && ls ./*.txt | sed 's|^\./||; s|\.txt$||' | sort -V | tr '\n' ' '
  )" >&2
  file=/dev/null
fi
"${PYTHON:-python3}" -c 'import pathlib, sys; print(pathlib.Path(sys.argv[1]).as_uri())' "$file"
