"""Trains the codec and manifold models that come with the package, from scratch: `make models`.

    .venv/bin/python scripts/models.py [--install] [NAME …]

The models land in runs/models/, with a line that holds their validation figures against the shipped ones;
--install puts them in the package. Needs the recordings (`make recordings`). Each training takes some
minutes and goes on where it was interrupted. The manifolds need no recordings.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / "bin" / "python"
SHIPPED = ROOT / "src" / "cspace" / "models" / "codec"
SPEECH = ROOT / "data" / "recordings" / "speech"
# Italian and Russian speech, and all recorded music, are kept out: the results page is measured on them.
DATA = ",".join([*(str(SPEECH / language) for language in ("en", "es", "fr")), *["synthetic"] * 3])
OPTIONS = {
    "phase96": ["--rounding", "straight"],
    "rate24": ["--rounding", "noise"],
}
MANIFOLDS = ROOT / "src" / "cspace" / "models" / "manifold"
MANIFOLD_OPTIONS = {
    "rotor": ["--kind", "random", "--preset", "rotor"],
    "chords": ["--kind", "chords"],
}
KEPT = ("codec.safetensors", "train.json", "CARD.md", "live", "encoder", "decoder")


def make(name: str) -> Path:
    """Trains one model and says how it compares with the one that is shipped."""
    run = ROOT / "runs" / "models" / name
    subprocess.run(
        [PYTHON, "-m", "cspace", "train", "codec", "--preset", name, "--data", DATA, "--out", run, *OPTIONS[name]],
        check=True,
        cwd=ROOT,
    )
    new, old = figure(run), figure(SHIPPED / name)
    print(f"{name}: validation SI-SNR {new:.2f} dB; shipped {old:.2f} dB; apart by {abs(new - old):.2f} dB")
    return run


def figure(folder: Path) -> float:
    """Validation SI-SNR of a folder's model, NaN where there is none."""
    record = folder / "train.json"
    if not record.is_file():
        return float("nan")
    history = json.loads(record.read_text(encoding="utf-8"))["history"]
    return float(min(history, key=lambda h: h["loss"])["si_snr_db"])


def make_manifold(name: str) -> Path:
    """The same for a manifold: its package."""
    run, package = ROOT / "runs" / "models" / f"{name}-run", ROOT / "runs" / "models" / name
    command = [PYTHON, "-m", "cspace", "manifold"]
    train = [*command, "train", *MANIFOLD_OPTIONS[name], "--out", run, "--threads", "1"]
    subprocess.run(train, check=True, cwd=ROOT)
    subprocess.run([*command, "export", run, package, "--name", name, "--force"], check=True, cwd=ROOT)
    new, old = gap_figure(package), gap_figure(MANIFOLDS / name)
    print(f"{name}: gap of 32 {new:.2f} dB; shipped {old:.2f} dB; apart by {abs(new - old):.2f} dB")
    return package


def gap_figure(folder: Path) -> float:
    """SNR of a gap of 32 frames in dB, NaN where there is no package."""
    record = folder / "manifold.json"
    if not record.is_file():
        return float("nan")
    return float(json.loads(record.read_text(encoding="utf-8"))["metrics"]["gaps"]["32"]["manifold"]["snr_db"])


def install(run: Path, target: Path) -> None:
    """Copies a finished run's model, replacing the one that is there."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in KEPT:
        source = run / name
        if source.is_dir():
            shutil.copytree(source, part / name)
        else:
            shutil.copy(source, part / name)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def main() -> None:
    """The command."""
    known = [*OPTIONS, *MANIFOLD_OPTIONS]
    parser = argparse.ArgumentParser(description="Trains the shipped models from scratch.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all by default: {', '.join(known)}")
    parser.add_argument("--install", action="store_true", help="replace the shipped models")
    found = parser.parse_args()
    names = found.names or known
    unknown = [n for n in names if n not in known]
    if unknown:
        parser.error(f"there is no model {unknown[0]!r}; there are {', '.join(known)}")
    for name in names:
        if name in MANIFOLD_OPTIONS:
            package = make_manifold(name)
            if found.install:
                shutil.rmtree(MANIFOLDS / name, ignore_errors=True)
                shutil.copytree(package, MANIFOLDS / name)
            continue
        run = make(name)
        if found.install:
            install(run, SHIPPED / name)


if __name__ == "__main__":
    main()
