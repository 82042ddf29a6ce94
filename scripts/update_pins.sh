#!/usr/bin/env bash
# Renews constraints/*.txt: for each Python the versions that `make` installs, as plain name==version lines.
# One file a Python version, since no single set serves all (numpy's last version for 3.10 has no wheel for 3.14).
# uv resolves for a Python that is not on this machine, too.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
extras=(test dev build lab codec train phase0 recordings neural pedalboard)
for version in ${*:-3.10 3.11 3.12 3.13 3.14}; do
  part=constraints/.$version.part
  "$uv" pip compile -q --upgrade --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --python-version "$version" --python-platform x86_64-unknown-linux-gnu \
    "${extras[@]/#/--extra=}" pyproject.toml constraints/mimi.in -o "$part" >/dev/null
  # moshi's own requirements are left out on purpose, see scripts/setup_offline.sh.
  echo 'moshi>=0.2.2' | "$uv" pip compile -q --upgrade --no-deps --no-header --no-annotate --no-emit-index-url \
    --python-version "$version" --python-platform x86_64-unknown-linux-gnu - >>"$part"
  if grep -vE '^[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+$' "$part"; then
    echo "update: $part holds lines that are no plain name==version" >&2
    exit 1
  fi
  LC_ALL=C sort -f -o "$part" "$part"
  mv "$part" "constraints/$version.txt"
  echo "constraints/$version.txt: $(wc -l <"constraints/$version.txt") packages"
done
echo "Now: make test, and commit the files together with what had to be mended."
