"""The pinned versions: plain lines, one file a Python, in step with pyproject.toml."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "constraints").glob("*.txt"))
LINE = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+")
# What `make` installs. Left out: bench with dawdreamer, and encodec and mimi (scripts/setup_offline.sh says why).
EXTRAS = ("test", "dev", "build", "lab", "codec", "train", "phase0", "recordings", "neural", "pedalboard")


def project() -> dict:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(file: Path) -> dict[str, str]:
    return {canonicalize_name(n): v for n, v in (x.split("==") for x in file.read_text(encoding="utf-8").splitlines())}


def test_every_supported_python_has_pins():
    assert [f.stem for f in FILES] == ["3.10", "3.11", "3.12", "3.13", "3.14"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_lines_are_plain(file: Path):
    """No index address, no path, no marker: a line that pip could take from elsewhere is none of ours."""
    wrong = [line for line in file.read_text(encoding="utf-8").splitlines() if not LINE.fullmatch(line)]
    assert not wrong
    names = [line.split("==")[0] for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(names) == len(set(map(canonicalize_name, names)))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_pins_satisfy_what_is_asked_for(file: Path):
    asked = [*project()["dependencies"], *(r for e in EXTRAS for r in project()["optional-dependencies"][e])]
    asked += (ROOT / "constraints" / "mimi.in").read_text(encoding="utf-8").split("\n")
    pinned = pins(file)
    for text in filter(None, asked):
        need = Requirement(text)
        if need.name == "cspace" or (need.marker and not need.marker.evaluate({"python_version": file.stem})):
            continue
        assert canonicalize_name(need.name) in pinned, f"{file.name} has no {need.name}; run make update"
        version = pinned[canonicalize_name(need.name)]
        assert need.specifier.contains(version, prereleases=True), f"{file.name}: {need.name}=={version}, asked {need}"


def test_pins_of_this_python_are_found_also_with_a_space_in_the_path(tmp_path: Path):
    """pip splits PIP_CONSTRAINT at spaces, so the script gives an address."""
    home = tmp_path / "a folder"
    for name in ("scripts/pins.sh", *(f"constraints/{f.name}" for f in FILES)):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        ["bash", str(home / "scripts/pins.sh")],
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    address = done.stdout.strip()
    assert address.startswith("file:///")
    assert " " not in address
    assert address.endswith(f"{sys.version_info.major}.{sys.version_info.minor}.txt")
