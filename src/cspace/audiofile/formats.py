"""Formats of audio files by suffix, and why the system refused one. Thread: control."""

from __future__ import annotations

from pathlib import Path

import soundfile as sf

from ..plugins._errors import FileError, near

# Suffix -> (libsndfile format, default subtype). FLOAT keeps the samples bit for bit.
FORMATS = {
    ".wav": ("WAV", "FLOAT"),
    ".rf64": ("RF64", "FLOAT"),
    ".w64": ("W64", "FLOAT"),
    ".aiff": ("AIFF", "FLOAT"),
    ".aif": ("AIFF", "FLOAT"),
    ".au": ("AU", "FLOAT"),
    ".caf": ("CAF", "FLOAT"),
    ".flac": ("FLAC", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}


def reason(e: BaseException) -> str:
    """Why a file operation failed, in a few words."""
    if isinstance(e, OSError) and e.strerror:
        return e.strerror
    text = str(getattr(e, "error_string", "") or e).strip().rstrip(".")
    return text or type(e).__name__


def choose_format(path: Path, subtype: str | None) -> tuple[str, str]:
    """The libsndfile format and subtype for a file name. Raises FileError for what cannot be written."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = " ".join(FORMATS)
        raise FileError(f"{path}: the suffix {suffix or '(none)'} is not an audio format; use one of {known}")
    kind, default = FORMATS[suffix]
    chosen = (subtype or default).upper()
    if not sf.check_format(kind, chosen):
        names = list(sf.available_subtypes(kind))
        raise FileError(f"{path}: {kind} cannot hold {chosen}{near(chosen, names)}; it can hold {', '.join(names)}")
    return kind, chosen
