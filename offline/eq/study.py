"""Files through the adaptive EQ: heard, told, filtered, compared. Any length, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...audiofile import Reader, Writer
from ...outputs import settled
from ...plugins import Eq
from ...plugins._adaptive import words
from ...plugins._adaptive.brain import SURE, Brain, Decision
from ...plugins._adaptive.curve import F64, NAMES
from ...plugins._adaptive.model import Model
from ...plugins._adaptive.spectrum import SHORTEST_S, SILENCE_DB, Frames, Sound
from ...plugins._audio import check_rate
from ...plugins._errors import AudioError, ParameterError
from .loudness import Meter

_BLOCK = 65_536
_DEAD_DB = 75.0
Progress = Callable[[int, int], None]


@dataclass
class Listened:
    """All frames of a file in bands, with what is needed to judge any stretch of it."""

    path: Path
    sample_rate: int
    channels: int
    frames: int
    powers: F64  # [shape=(frames of analysis, bands)]
    rms_db: F64  # [shape=(frames of analysis,)]
    hop_s: float
    reaches: NDArray[np.bool_]
    notes: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length of the file."""
        return self.frames / self.sample_rate

    def sound(self, start_s: float = 0.0, end_s: float = float("inf")) -> Sound | None:
        """The long-term spectrum between two times; None for silence."""
        at = np.arange(len(self.powers)) * self.hop_s
        chosen = (at >= start_s - 1e-9) & (at < end_s - self.hop_s + 1e-9) & (self.rms_db >= SILENCE_DB)
        if end_s == float("inf"):
            chosen = self.rms_db >= SILENCE_DB
        if not chosen.any():
            return None
        levels = 10.0 * np.log10(np.maximum(self.powers[chosen].mean(axis=0), 1e-30))
        valid = self.reaches & (levels > levels[self.reaches].max() - _DEAD_DB)
        return Sound(levels, valid, min(self.seconds, float(chosen.sum()) * self.hop_s + self.hop_s))

    @property
    def too_short(self) -> bool:
        """Too little sound for a judgement."""
        return self.seconds < SHORTEST_S


def listen(path: Path, bands: int, progress: Progress | None = None) -> Listened:
    """Reads a file through. Raises FileError, and AudioError for one without samples."""
    with Reader(path) as file:
        check_rate(file.sample_rate)
        frames = Frames(file.sample_rate, bands)
        powers, levels = [], []
        for block in file.blocks(_BLOCK):
            for power, level in frames.add(np.ascontiguousarray(block.T)):
                powers.append(power)
                levels.append(level)
            if progress is not None:
                progress(file.frames_read, max(file.frames or 0, file.frames_read))
        if not file.frames_read:
            raise AudioError(f"{path}: has no samples")
        if not powers:
            for power, level in frames.add(np.zeros((file.channels, 0), np.float32), last=True):
                powers.append(power)
                levels.append(level)
        notes = list(file.warnings)
        if file.bad_samples:
            notes.append(f"{file.bad_samples} NaN or Inf samples set to 0")
        return Listened(
            Path(path),
            file.sample_rate,
            file.channels,
            file.frames_read,
            np.array(powers).reshape(-1, bands),
            np.array(levels),
            frames.hop / file.sample_rate,
            frames.reaches,
            notes,
        )


def judge(
    heard: Listened,
    model: Model,
    blend: str,
    intensity: float | None,
    mode: str,
    *,
    reference: Listened | None = None,
    match_loudness: bool = False,
) -> tuple[Decision, float, list[str]]:
    """What to do with a file: the decision, the intensity (suggested where None is given), and remarks."""
    brain = Brain(model, heard.sample_rate)
    shares = words.parse(blend, model)
    sound, notes = heard.sound(), list(heard.notes)
    rare = [w for w in shares if model.words[w].is_rare]
    notes += [
        f"{w!r} was used {model.words[w].count} times only: its curve leans on the words {model.words[w].family!r}"
        for w in rare
    ]
    if sound is None:
        notes.append("the file is silent: it stays as it is")
    elif heard.too_short:
        notes.append(f"{heard.seconds:.2f} s are too short to judge: the word is applied unheard (static)")
        sound, mode = None, "static"
    if intensity is None:
        intensity = 0.7 if sound is None or not shares else brain.suggested_intensity(sound, shares)
    dry = reference.sound() if reference is not None else None
    if sound is None and mode != "static":
        shares = {}
    made = brain.decide(sound, shares, intensity, mode, reference=dry, match_loudness=match_loudness)
    if made.mode != mode and made.reason and shares:
        notes.append(f"{made.mode} in place of {mode}: {made.reason}")
    return made, intensity, notes


def analysis(heard: Listened, model: Model, *, window_s: float | None = None, hop_s: float = 1.0) -> dict[str, Any]:
    """What is heard in a file: profile, tilt, the setting it may carry; with `window_s`, over time too.

    Raises AudioError for silence and for less than half a second.
    """
    sound = heard.sound()
    if sound is None:
        raise AudioError(f"{heard.path}: is silent (nothing above {SILENCE_DB:g} dB); there is nothing to analyse")
    if heard.too_short:
        raise AudioError(
            f"{heard.path}: {heard.seconds:.2f} s are too short to judge; at least {SHORTEST_S:g} s are needed"
        )
    brain = Brain(model, heard.sample_rate)
    carried = model.hear(sound)
    believed = carried.confidence >= SURE
    out: dict[str, Any] = {
        "file": heard.path.name,
        "seconds": heard.seconds,
        "sample_rate": heard.sample_rate,
        "channels": heard.channels,
        "tilt_db_per_octave": sound.tilt_db_per_octave(),
        "profile": brain.profile(sound),
        "suggested_intensity": {w: brain.suggested_intensity(sound, {w: 1.0}) for w in model.words},
        "confidence": carried.confidence,
        "expected_error_db": carried.expected_error_db,
        "carried_setting": dict(zip(NAMES, carried.setting.tolist(), strict=True)) if believed else None,
        "centers_hz": model.centers_hz.tolist(),
        "spectrum_db": np.where(sound.valid, sound.levels_db, np.nan).tolist(),
        "notes": heard.notes,
    }
    if window_s is not None:
        out["over_time"] = over_time(heard, brain, window_s, hop_s)
    return out


def over_time(heard: Listened, brain: Brain, window_s: float, hop_s: float) -> list[dict[str, Any]]:
    """The profile of every window; silent ones have none. Loud windows weigh no more than soft ones."""
    if not (0.5 <= window_s <= 600.0 and 0.05 <= hop_s <= window_s):
        raise ParameterError(
            f"window {window_s:g} s and hop {hop_s:g} s are not allowed, use 0.5 to 600 s and 0.05 s to the window"
        )
    rows = []
    for start in np.arange(0.0, max(heard.seconds - window_s, 0.0) + 1e-9, hop_s):
        sound = heard.sound(start, start + window_s)
        row: dict[str, Any] = {"start_s": float(start), "profile": None, "tilt_db_per_octave": None}
        if sound is not None:
            row |= {"profile": brain.profile(sound), "tilt_db_per_octave": sound.tilt_db_per_octave()}
        rows.append(row)
    return rows


# ---- filtering -------------------------------------------------------------------------------


def output_name(path: Path, blend: str, intensity: float, suffix: str = ".wav") -> str:
    """`song.warm.+0.70.wav`."""
    word = re.sub(r"[^a-z0-9.]+", "-", blend.lower()).strip("-") or "flat"
    return f"{path.stem}.{word}.{intensity:+.2f}{suffix}"


def render(
    source: Path,
    target: Path,
    setting: F64,
    gain_db: float,
    progress: Progress | None = None,
    said: list[str] | None = None,
) -> float:
    """Filters a file block by block, all channels alike, levels untouched but for `gain_db`; gives the peak.

    Nothing is scaled to fit: float files keep samples beyond full scale. `said` receives what the
    source holds besides its sound and the target cannot.
    """
    settled(target, inputs=[source], makes_folders=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with Reader(source) as file:
        eq = Eq(**dict(zip(NAMES, map(float, setting), strict=True)), output_gain_db=float(gain_db))
        about = file.about()
        with Writer(
            target, file.sample_rate, file.channels, frames=file.frames, inputs=[source], about=about
        ) as writer:
            for i, block in enumerate(file.blocks(_BLOCK)):
                x = np.ascontiguousarray(block.T)
                writer.write(np.ascontiguousarray(eq.process(x, file.sample_rate, reset=i == 0).T))
                if progress is not None:
                    progress(file.frames_read, max(file.frames or 0, file.frames_read))
    if said is not None:
        said += [f"{target.name}: {words}" for words in writer.lost]
    return writer.peak


def file_loudness(path: Path) -> float:
    """Integrated loudness of a file in LUFS; -inf for silence or less than 0.4 s."""
    with Reader(path) as file:
        meter = Meter(file.sample_rate, file.channels)
        for block in file.blocks(_BLOCK):
            meter.add(block.T)
        return meter.lufs()
