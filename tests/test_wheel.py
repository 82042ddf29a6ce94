"""What the compiled module is linked with, and the wheel: it installs and plays without Rust or a compiler."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cspace import _native

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
# Part of every Linux with glibc. JACK, ALSA, lilv and X11 are opened at run time, so that none of them must be there.
ALWAYS_THERE = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "libgcc_s.so.1", "ld-linux-x86-64.so.2"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ELF")

PLAY = """
import numpy as np, soundfile, subprocess, sys
from pathlib import Path
from cspace.plugins import Eq, Esn, Kuramoto, Limiter
from cspace.realtime import Chain, Stream, render
x = (0.1 * np.random.default_rng(0).standard_normal((2, 48_000))).astype("f4")
chain = Chain([Esn(mode="texture"), Eq(low_gain_db=3.0), Kuramoto(), Limiter()])
y = chain(x, 48_000)
assert np.isfinite(y).all() and np.abs(y).max() > 0.01
soundfile.write("in.wav", x.T, 48_000)
assert render(chain, "in.wav", "out.wav").frames == 48_000
with Stream(chain, input="null") as stream:
    stream.wait(0.3)
    assert stream.stats()["engine"]["sample_time"] > 0
Path("gain.toml").write_text('[[processor]]\\ntype = "gain"\\n')
command = [Path(sys.executable).parent / "cspace", "live", "gain.toml", "-i", "in.wav", "-o", "live.wav"]
subprocess.run([*command, "--osc-port", "0", "--no-view"], check=True, capture_output=True, stdin=subprocess.DEVNULL)
assert soundfile.info("live.wav").frames == 48_000
assert "torch" not in sys.modules
print("plays")
"""


def readelf(option: str, library: Path) -> str:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is part of binutils, which compilers bring")
    return subprocess.run(["readelf", option, library], capture_output=True, text=True, check=True).stdout


def needed(library: Path) -> set[str]:
    return set(re.findall(r"NEEDED.*\[(.+?)\]", readelf("-d", library)))


def test_nothing_is_linked_that_a_user_may_lack() -> None:
    library = Path(_native.__file__)
    assert needed(library) <= ALWAYS_THERE
    assert "RUNPATH" not in readelf("-d", library)


def interpreters() -> dict[str, Path]:
    """Python 3.10 to 3.14 as far as they are here: on the PATH, in pyenv's folder, or named in CSPACE_PYTHONS."""
    found: dict[str, Path] = {}
    named = [Path(p) for p in os.environ.get("CSPACE_PYTHONS", "").split(os.pathsep) if p]
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python"))
    for version in VERSIONS:
        on_path = shutil.which(f"python{version}")
        for python in [*named, *pyenv, *([Path(on_path)] if on_path else [])]:
            asked = "import sys; print('%d.%d' % sys.version_info[:2])"
            try:
                told = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
            except (OSError, subprocess.CalledProcessError):  # a shim without its version
                continue
            if told == version:
                found[version] = python
                break
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([ROOT / "scripts" / "build_wheel.sh", out], check=True, timeout=1200)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.heavy
@pytest.mark.timeout(1500)
def test_the_wheel_runs_on_systems_of_2018_and_later(wheel: Path, tmp_path: Path) -> None:
    assert wheel.name.endswith("-cp310-abi3-manylinux_2_28_x86_64.whl")
    shutil.unpack_archive(wheel, tmp_path, "zip")
    (library,) = tmp_path.glob("cspace/_native*.so")
    assert needed(library) <= ALWAYS_THERE
    wanted = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([0-9.]+)", readelf("-V", library))}
    assert max(wanted) <= (2, 28)


@pytest.mark.heavy
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_plays_in_a_clean_environment(wheel: Path, version: str, tmp_path: Path) -> None:
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"no Python {version} here; name one in CSPACE_PYTHONS")
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}  # no Rust
    kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    run = lambda *command: subprocess.run(  # noqa: E731
        command, cwd=tmp_path, env=kept | clean, capture_output=True, text=True, timeout=900
    )
    assert run(python, "-m", "venv", "venv").returncode == 0
    done = run("venv/bin/python", "-m", "pip", "install", "-q", "--only-binary", ":all:", wheel)
    assert done.returncode == 0, done.stderr
    played = run("venv/bin/python", "-c", PLAY)
    assert played.stdout.strip() == "plays", played.stderr
