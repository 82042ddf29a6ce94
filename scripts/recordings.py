"""`make recordings`: real speech and music for the studies, out of Debian's packages.

Downloads the packages (no root needed, nothing is installed), unpacks them, turns the G.722 prompts
of Asterisk into 16 kHz FLAC, and leaves:

    data/recordings/speech/{en,es,fr,it,ru}/*.flac     five speakers
    data/recordings/music/{wesnoth,planetblupi}/*.ogg

What is there already is kept. The recordings are free (see each package's copyright file) and are
not part of this repository.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data" / "recordings"
SPEECH = {lang: f"asterisk-core-sounds-{lang}-g722" for lang in ("en", "es", "fr", "it", "ru")}
MUSIC = {"wesnoth": "wesnoth-1.16-music", "planetblupi": "planetblupi-music-ogg"}
SHORTEST_BYTES = 8_000  # 1 s of G.722


def unpack(package: str, into: Path) -> None:
    """The files of a Debian package, without installing it."""
    got = subprocess.run(["apt-get", "download", package], cwd=into, capture_output=True, text=True, check=False)
    if got.returncode:
        sys.exit(f"recordings: {package} cannot be downloaded: {got.stderr.strip() or got.stdout.strip()}")
    (deb,) = into.glob(f"{package}_*.deb")
    subprocess.run(["dpkg", "-x", deb, into / "root"], check=True)
    deb.unlink()


def decode_g722(source: Path, target: Path) -> None:
    """Raw G.722 at 64 kbit/s to 16 kHz FLAC."""
    import av
    import numpy as np
    import soundfile as sf

    with av.open(str(source), format="g722") as file:
        x = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    sf.write(target, x.astype(np.int16), 16_000)


def main() -> None:
    """Fetches what is missing."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        sys.exit("recordings: this needs apt-get and dpkg (Debian or Ubuntu); put your own files into data/recordings/")
    for lang, package in SPEECH.items():
        folder = DATA / "speech" / lang
        if folder.is_dir():
            continue
        with tempfile.TemporaryDirectory() as tmp:
            unpack(package, Path(tmp))
            part = folder.with_name(f".{lang}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for g722 in sorted(Path(tmp).rglob("*.g722")):
                if g722.stat().st_size >= SHORTEST_BYTES and "silence" not in g722.parts:
                    decode_g722(g722, part / f"{g722.parent.name}-{g722.stem}.flac")
            part.rename(folder)
        print(f"{folder.relative_to(DATA.parents[1])}: {len(list(folder.iterdir()))} files")
    for name, package in MUSIC.items():
        folder = DATA / "music" / name
        if folder.is_dir():
            continue
        with tempfile.TemporaryDirectory() as tmp:
            unpack(package, Path(tmp))
            part = folder.with_name(f".{name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for ogg in sorted(Path(tmp).rglob("*.ogg")):
                shutil.copyfile(ogg, part / ogg.name)
            part.rename(folder)
        print(f"{folder.relative_to(DATA.parents[1])}: {len(list(folder.iterdir()))} files")


if __name__ == "__main__":
    main()
