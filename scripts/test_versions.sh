#!/usr/bin/env bash
# Runs all Python tests but the heavy ones with the newest and with the lowest packages that pyproject.toml allows, each in
# an environment of its own beside .venv. `test_versions.sh lowest [pytest arguments]` runs one of them. Several GB each.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-both}" in
  both) which=(newest lowest) ;;
  newest | lowest) which=("$1") && shift ;;
  *) echo "test_versions: ${1} is neither newest nor lowest" >&2 && exit 2 ;;
esac
uv=${UV:-.venv/bin/uv}
extras=(test lab codec train phase0 recordings neural pedalboard)
for set in "${which[@]}"; do
  env=.venv-$set
  resolution=highest
  # Beside old direct requirements stand the newest of what they require in turn, whose warnings about the old ones are
  # not ours to mend: there a deprecation is no error.
  warnings=()
  if [ "$set" = lowest ]; then
    resolution=lowest-direct
    warnings=(-W default::DeprecationWarning -W default::PendingDeprecationWarning -W default::FutureWarning)
  fi
  echo "test-versions: $set"
  [ -x "$env/bin/python" ] || "$uv" venv -q --seed --python .venv/bin/python "$env"
  "$uv" pip compile -q --upgrade --resolution "$resolution" --no-header --no-annotate --python "$env/bin/python" \
    "${extras[@]/#/--extra=}" pyproject.toml constraints/mimi.in -o "$env/requirements.txt" >/dev/null
  "$uv" pip sync -q --python "$env/bin/python" "$env/requirements.txt"
  "$uv" pip install -q --python "$env/bin/python" --no-deps 'moshi>=0.2.2' 'maturin>=1.9,<2' pip
  # Built where make builds, so that nothing is compiled anew; the module is the same for every Python (abi3).
  .venv/bin/python -m maturin build -q --release --out "$env/wheel"
  "$uv" pip install -q --python "$env/bin/python" --no-deps --reinstall "$env"/wheel/cspace-*.whl
  grep -E '^(numpy|scipy|soxr|soundfile|onnxruntime|torch|pedalboard|typer|aiohttp)==' "$env/requirements.txt" | tr '\n' ' '
  echo
  # The sources of this checkout, and the program `cspace` of that environment.
  PATH="$PWD/$env/bin:$PATH" PYTHONPATH="$PWD/src" "$env/bin/python" -m pytest -q "${warnings[@]}" \
    --deselect tests/test_packaging.py "$@"
done
