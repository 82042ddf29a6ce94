"""`make recordings`: real speech and music for the studies, out of Debian's packages.

Downloads the packages (no root needed, nothing is installed), unpacks them, turns the G.722 prompts
of Asterisk into 16 kHz FLAC, and leaves:

    data/recordings/speech/{en,es,fr,it,ru}/*.flac     five languages, four speakers: en and es are both Allison Smith
    data/recordings/music/{wesnoth,planetblupi}/*.ogg
    data/voices/<voice>/*.flac                         seven more: telephone prompts, and the two fish of fillets-ng
    data/voices/speakers.csv                           who speaks what, for `cspace phase0`

The further voices lie apart, since studies of all of data/recordings have stated their figures without them.

What is there already is kept. The recordings are free (see each package's copyright file) and are
not part of this repository.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data" / "recordings"
VOICE_DATA = DATA.parent / "voices"
SPEECH = {lang: f"asterisk-core-sounds-{lang}-g722" for lang in ("en", "es", "fr", "it", "ru")}
MUSIC = {"wesnoth": "wesnoth-1.16-music", "planetblupi": "planetblupi-music-ogg"}
#: Further voices: package, pattern of its files. The prompts are telephone recordings (8 kHz); the small fish (m) and
#: the large one (v) have the same actor through all levels, by their file names.
VOICES = {
    "fr-armelle": ("asterisk-prompt-fr-armelle", "*.gsm"),
    "es-co": ("asterisk-prompt-es-co", "*.gsm"),
    "it-menardi": ("asterisk-prompt-it-menardi-wav", "*.wav"),
    "cs-m": ("fillets-ng-data-cs", "*-m-*.ogg"),
    "cs-v": ("fillets-ng-data-cs", "*-v-*.ogg"),
    "nl-m": ("fillets-ng-data-nl", "*-m-*.ogg"),
    "nl-v": ("fillets-ng-data-nl", "*-v-*.ogg"),
}
#: By the copyright files of asterisk-core-sounds: the Spanish prompts have no credit of their own beside the English.
PERSONS = {"en": "allison-smith", "es": "allison-smith", "fr": "june-wallack", "it": "carlo-flora", "ru": "maxim-topal"}
SHORTEST_SECONDS = 1.0
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


def decode(source: Path, target: Path) -> None:
    """Any other file to FLAC at its own rate, if it is not too short."""
    import av
    import numpy as np
    import soundfile as sf

    if source.suffix == ".gsm":  # 33 bytes to 160 samples at 8 kHz, without a header
        with av.open(str(source), format="gsm") as file:
            x = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)]).astype(np.int16)
        rate = 8_000
    else:
        x, rate = sf.read(source, dtype="int16")
    if len(x) >= SHORTEST_SECONDS * rate:
        sf.write(target, x, rate)


def fetch(folder: Path, package: str, pattern: str, put: Callable[[Path, Path], None]) -> None:
    """Makes `folder` of a package's files, each by `put(file, folder)`; one that is there is kept."""
    if folder.is_dir():
        return
    with tempfile.TemporaryDirectory() as tmp:
        unpack(package, Path(tmp))
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for file in sorted(Path(tmp, "root").rglob(pattern)):
            put(file, part)
        part.rename(folder)
    print(f"{folder.relative_to(DATA.parents[1])}: {len(list(folder.iterdir()))} files")


def put_prompt(file: Path, folder: Path) -> None:
    """A prompt of asterisk-core-sounds, if it is not too short."""
    if file.stat().st_size >= SHORTEST_BYTES and "silence" not in file.parts:
        decode_g722(file, folder / f"{file.parent.name}-{file.stem}.flac")


def put_voice(file: Path, folder: Path) -> None:
    """A file of a further voice; the fish's lie one folder deeper than the level they belong to."""
    level = file.parent.parent if file.suffix == ".ogg" else file.parent
    decode(file, folder / f"{level.name}-{file.stem}.flac")


def put_music(file: Path, folder: Path) -> None:
    """A piece, as it is."""
    shutil.copyfile(file, folder / file.name)


def who_speaks() -> None:
    """The table of speakers."""
    folders = {DATA / "speech" / k: v for k, v in PERSONS.items()} | {VOICE_DATA / k: k for k in VOICES}
    lines = ["audio_path,speaker_id"]
    for folder, person in folders.items():
        where = folder.relative_to(DATA.parent).as_posix()
        lines += [f"../{where}/{p.name},{person}" for p in sorted(folder.glob("*.flac"))]
    (VOICE_DATA / "speakers.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"data/voices/speakers.csv: {len(lines) - 1} files of {len(set(folders.values()))} speakers")


def main() -> None:
    """Fetches what is missing."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        sys.exit("recordings: this needs apt-get and dpkg (Debian or Ubuntu); put your own files into data/recordings/")
    for lang, package in SPEECH.items():
        fetch(DATA / "speech" / lang, package, "*.g722", put_prompt)
    for name, package in MUSIC.items():
        fetch(DATA / "music" / name, package, "*.ogg", put_music)
    for name, (package, pattern) in VOICES.items():
        fetch(VOICE_DATA / name, package, pattern, put_voice)
    who_speaks()


if __name__ == "__main__":
    main()
