"""Reading a recording: level, onsets, tempo, tuning, peaks, and the notes in every step."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import AudioError, ParameterError
from ..audio import SILENCE_DB, stream_mono
from . import modelfile as mf
from .peaks import BANDS, PeakRule, Peaks, pick
from .rhythm import find_rhythm, step_times
from .spectra import amplitudes, hann, stream_frames

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

#: Notes that can be told apart: A0 to C8.
LOWEST_MIDI, HIGHEST_MIDI = 21, 108
MIDI = np.arange(LOWEST_MIDI, HIGHEST_MIDI + 1)
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
#: The original's grid.
BLOCK_ROWS, BLOCK_COLUMNS = 16, 32
#: The original's spectra end this far below the maximum, dB.
SPECTRUM_RANGE_DB = 80.0
#: Shortest recording, s: one window of the pitch analysis.
SHORTEST_S = 0.2
_FAINT = 1e-6

Report = Callable[[float], None]  # how many seconds are done


@dataclass
class _Frames:
    """What is kept of every frame, as lists of pieces."""

    power: list[F32] = field(default_factory=list)
    centroid: list[F32] = field(default_factory=list)
    onset: list[F32] = field(default_factory=list)
    mean_db: list[F32] = field(default_factory=list)
    max_db: list[F32] = field(default_factory=list)
    square_db: list[F32] = field(default_factory=list)
    peaks: list[Peaks] = field(default_factory=list)

    def all(self, name: str) -> F64:
        return np.concatenate(getattr(self, name)).astype(np.float64)


@dataclass
class Reading:
    """A recording as read, before the album's notes are chosen."""

    track: mf.Track
    #: Power of every semitone from A0 to C8 in each step [shape=(steps, 88)].
    note_power: F64
    #: Mean frequency of each semitone in Hz, weighted by power [shape=(88,)]; 0 where nothing sounded.
    note_freq_hz: F64
    peaks: Peaks


def note_name(midi: int) -> str:
    """69 is A4."""
    return f"{NAMES[midi % 12]}{midi // 12 - 1}"


def read(path: str | os.PathLike[str], settings: mf.Settings, *, report: Report | None = None) -> Reading:
    """Analyses one recording of any length and format.

    Memory: about 30 MB for an hour of dense music (its peaks), whatever the file's size.
    Raises FileError for what cannot be read; AudioError if it is silent, shorter than 0.2 s, or
    without a single spectral peak.
    """
    rate, hop = settings.sample_rate, settings.hop
    conversions: list[str] = []
    samples, top_db = _survey(path, settings, conversions)
    seconds = samples / rate
    if seconds < SHORTEST_S:
        raise AudioError(f"{path}: lasts {seconds:.3f} s; at least {SHORTEST_S} s are needed")
    if top_db < SILENCE_DB:
        raise AudioError(f"{path}: is silent (loudest spectral line {top_db:.0f} dB, below {SILENCE_DB:.0f} dB)")
    kept, blocks = _pass(path, settings, 1 + samples // hop, top_db, report)
    peaks = Peaks.joined(kept.peaks)
    if not len(peaks):
        raise AudioError(
            f"{path}: has no spectral peak {settings.prominence_db:g} dB above its surroundings between "
            f"{settings.low_hz:g} and {settings.high_hz:g} Hz: no notes to make music from"
        )
    onset = kept.all("onset")
    rhythm = find_rhythm(onset.astype(np.float32), rate, hop)
    starts = step_times(rhythm, seconds, settings.steps_per_beat)
    edges = np.append(starts[1:], np.inf) * rate / hop
    step_of = np.minimum(np.searchsorted(edges, np.arange(len(onset)), side="right"), len(starts) - 1)
    tuning = _tuning(peaks)
    power, freq = _notes(peaks, tuning, step_of, len(starts))
    steps = _steps(kept, starts, step_of, power)
    profile = _classes((power / np.maximum(power.sum(axis=1, keepdims=True), _FAINT**2)).sum(axis=0))
    track = mf.Track(
        name=Path(path).name,
        seconds=round(seconds, 6),
        tempo_bpm=round(rhythm.tempo_bpm, 4),
        pulse=round(rhythm.pulse, 4),
        tuning_cents=round(100 * tuning, 2),
        level_db=round(float(10 * np.log10(max(kept.all("power").mean(), 1e-12))), 2),
        peaks=len(peaks),
        pitch_classes=mf.rounded(profile, 4),
        accents=mf.rounded(_accents(np.array(steps.onset), settings.steps_per_beat), 3),
        bands=_bands(peaks, top_db),
        steps=steps,
        blocks=blocks,
        conversions=conversions,
    )
    return Reading(track, power, freq, peaks)


def combine(readings: Sequence[Reading], settings: mf.Settings) -> mf.Model:
    """One model of one or several recordings: the album's strongest notes, and each step in them.

    Every recording weighs the same, however long or loud. Notes 50 dB below the strongest are left out.
    """
    if not readings:
        raise ParameterError("no recordings: give at least one")
    share = np.zeros(len(MIDI))
    log_sum, log_weight = np.zeros(len(MIDI)), np.zeros(len(MIDI))
    for r in readings:
        amount = np.sqrt(r.note_power).sum(axis=0)
        share += amount / amount.sum()
        used = r.note_freq_hz > 0
        weight = r.note_power.sum(axis=0) / r.note_power.sum()
        log_sum[used] += weight[used] * np.log(r.note_freq_hz[used])
        log_weight[used] += weight[used]
    share /= len(readings)
    order = np.argsort(-share, kind="stable")[: settings.notes]
    chosen = np.sort(order[share[order] > share.max() * 10 ** (-50 / 20)])
    notes = [
        mf.Note(
            midi=int(MIDI[i]),
            name=note_name(int(MIDI[i])),
            freq_hz=round(float(np.exp(log_sum[i] / log_weight[i])), 4),
            weight=round(float(share[i] / share[chosen].sum()), 5),
        )
        for i in chosen
    ]
    tracks = []
    for r in readings:
        amplitude = np.sqrt(r.note_power[:, chosen])
        amplitude = amplitude / max(float(amplitude.max()), _FAINT)
        rows = np.rint(amplitude * mf.NOTE_UNIT).astype(int).tolist()
        tracks.append(r.track.model_copy(update={"steps": r.track.steps.model_copy(update={"notes": rows})}))
    return mf.Model(settings=settings, notes=notes, tracks=tracks)


# ---- one pass over the sound -----------------------------------------------------------------


def _survey(path: str | os.PathLike[str], settings: mf.Settings, conversions: list[str]) -> tuple[int, float]:
    """Samples at the analysis rate, and the level of the loudest frames (99th percentile, so that a click is none)."""
    n, rate = settings.n_fft, settings.sample_rate
    window = hann(n)
    samples, tops, rest = 0, [], np.zeros(0, np.float32)
    for block in stream_mono(path, rate, conversions=conversions):
        samples += len(block)
        rest = np.concatenate([rest, block])
        whole = len(rest) // n
        if whole:
            tops.append(amplitudes(rest[: whole * n].reshape(whole, n), window).max(axis=1))
        rest = rest[whole * n :]
    if len(rest):
        tops.append(amplitudes(np.pad(rest, (0, n - len(rest)))[None], window).max(axis=1))
    if not tops:
        raise AudioError(f"{path}: has no samples")
    top = float(np.percentile(np.concatenate(tops), 99))
    return samples, 20 * np.log10(max(top, _FAINT))


def _pass(
    path: str | os.PathLike[str], settings: mf.Settings, frames: int, top_db: float, report: Report | None
) -> tuple[_Frames, mf.Blocks]:
    import librosa

    rate, hop, tonal = settings.sample_rate, settings.hop, settings.mode == "tonal"
    wide, fine = hann(settings.n_fft), hann(settings.pitch_fft)
    longest = max(settings.n_fft, settings.pitch_fft) if tonal else settings.n_fft
    mel = librosa.filters.mel(sr=rate, n_fft=settings.n_fft, n_mels=128)
    # Onsets are not sought deeper than librosa does: 80 dB below the top the noise of nothing begins.
    floor = 10 ** ((top_db - SPECTRUM_RANGE_DB) / 10)
    hz = np.fft.rfftfreq(settings.n_fft, 1 / rate)
    rule = PeakRule(
        prominence_db=settings.prominence_db,
        distance_bins=settings.distance_bins,
        low_hz=settings.low_hz if tonal else 0.0,
        high_hz=min(settings.high_hz, 0.45 * rate) if tonal else 0.5 * rate,
        floor_db=max(-SPECTRUM_RANGE_DB, top_db - SPECTRUM_RANGE_DB),
        range_db=45.0 if tonal else SPECTRUM_RANGE_DB,
        sub_bin=tonal,
    )
    kept, grid = _Frames(), _Blocks(frames, len(hz))
    last_mel: F32 | None = None
    for piece in stream_frames(path, rate, longest, hop):
        x = piece.x
        spectrum = amplitudes(x, wide)
        db = (20 * np.log10(np.maximum(spectrum, _FAINT)) - top_db).astype(np.float32)
        db = np.maximum(db, -SPECTRUM_RANGE_DB)
        grid.add(piece.first, db)
        kept.mean_db.append(db.mean(axis=1))
        kept.max_db.append(db.max(axis=1))
        kept.square_db.append((db * db).mean(axis=1))
        middle = (longest - hop) // 2
        kept.power.append((x[:, middle : middle + hop] ** 2).mean(axis=1))
        kept.centroid.append((spectrum @ hz / np.maximum(spectrum.sum(axis=1), _FAINT)).astype(np.float32))
        mels = (10 * np.log10((spectrum**2 + floor) @ mel.T)).astype(np.float32)
        before = mels[:1] if last_mel is None else last_mel
        # An onset is a rise over the frame before, so each piece carries on from the last one's end.
        rise = librosa.onset.onset_strength(S=np.concatenate([before, mels]).T, sr=rate, hop_length=hop, center=False)
        kept.onset.append(rise[1 : len(mels) + 1].astype(np.float32))
        last_mel = mels[-1:]
        if tonal:
            lines = (20 * np.log10(np.maximum(amplitudes(x, fine), _FAINT))).astype(np.float32)
            kept.peaks.append(pick(lines, piece.first, rate / settings.pitch_fft, rule))
        else:
            kept.peaks.append(pick(db + np.float32(top_db), piece.first, rate / settings.n_fft, rule))
        if report is not None:
            report((piece.first + len(x)) * hop / rate)
    return kept, grid.result()


class _Blocks:
    """Mean, maximum and variance in 16 × 32 blocks; every bin and frame belongs to one."""

    def __init__(self, frames: int, bins: int):
        self.row = np.minimum(np.arange(bins) * BLOCK_ROWS // bins, BLOCK_ROWS - 1)
        self.bins = np.bincount(self.row, minlength=BLOCK_ROWS)
        self.frames = frames
        self.count = np.zeros(BLOCK_COLUMNS)
        self.sum = np.zeros((BLOCK_ROWS, BLOCK_COLUMNS))
        self.square = np.zeros_like(self.sum)
        self.top = np.full_like(self.sum, -SPECTRUM_RANGE_DB)
        self.starts = np.searchsorted(self.row, np.arange(BLOCK_ROWS))

    def add(self, first: int, db: F32) -> None:
        for t, row in enumerate(db.astype(np.float64), first):
            # With fewer frames than columns, a frame fills several.
            low = t * BLOCK_COLUMNS // self.frames
            high = max(low + 1, (t + 1) * BLOCK_COLUMNS // self.frames)
            at = slice(min(low, BLOCK_COLUMNS - 1), min(high, BLOCK_COLUMNS))
            self.count[at] += 1
            self.sum[:, at] += np.add.reduceat(row, self.starts)[:, None]
            self.square[:, at] += np.add.reduceat(row * row, self.starts)[:, None]
            self.top[:, at] = np.maximum(self.top[:, at], np.maximum.reduceat(row, self.starts)[:, None])

    def result(self) -> mf.Blocks:
        n = self.bins[:, None] * np.maximum(self.count, 1)
        mean = self.sum / n
        variance = np.maximum(self.square / n - mean**2, 0.0)
        rows = [mf.rounded(v, 2) for v in (mean, self.top, variance)]
        return mf.Blocks(mean_db=rows[0], max_db=rows[1], variance_db2=rows[2])


# ---- from frames to steps --------------------------------------------------------------------


def _tuning(peaks: Peaks) -> float:
    """Offset of the recording's pitch from A4 = 440 Hz, in semitones, −0.5 to 0.5.

    librosa's histogram of the peaks' deviations gives the place to 1 cent; the strong half of the
    peaks votes.
    """
    import librosa

    strong = peaks.freq_hz[peaks.level_db >= np.median(peaks.level_db)]
    return float(librosa.pitch_tuning(strong, resolution=0.01)) if len(strong) else 0.0


def _notes(peaks: Peaks, tuning: float, step_of: NDArray[np.int64], steps: int) -> tuple[F64, F64]:
    """Mean power of each semitone in each step, and each semitone's frequency."""
    pitch = 69 + 12 * np.log2(peaks.freq_hz.astype(np.float64) / 440.0)
    note = np.rint(pitch - tuning).astype(int) - LOWEST_MIDI
    inside = (note >= 0) & (note < len(MIDI))
    note, pitch = note[inside], pitch[inside]
    power = peaks.amplitude[inside].astype(np.float64) ** 2
    step = step_of[np.minimum(peaks.frame[inside], len(step_of) - 1)]
    n = len(MIDI)
    total = np.bincount(step * n + note, weights=power, minlength=steps * n).reshape(steps, n)
    frames = np.bincount(step_of, minlength=steps)[:, None]
    weight = np.bincount(note, weights=power, minlength=n)
    mean = np.bincount(note, weights=power * pitch, minlength=n) / np.maximum(weight, _FAINT**3)
    freq = np.where(weight > 0, 440.0 * 2 ** ((mean - 69) / 12), 0.0)
    return total / np.maximum(frames, 1), freq


def _steps(kept: _Frames, starts: F64, step_of: NDArray[np.int64], note_power: F64) -> mf.Steps:
    n = len(starts)
    frames = np.bincount(step_of, minlength=n)
    # A step shorter than a frame's distance takes the frame before it.
    source = np.maximum.accumulate(np.where(frames > 0, np.arange(n), 0))

    def mean(values: F64) -> F64:
        out: F64 = (np.bincount(step_of, weights=values, minlength=n) / np.maximum(frames, 1))[source]
        return out

    def top(values: F64, lowest: float) -> F64:
        out = np.full(n, lowest)
        np.maximum.at(out, step_of, values)
        return out[source]

    note_power[:] = note_power[source]
    onset = top(kept.all("onset"), 0.0)
    scale = max(float(np.percentile(onset, 95)), _FAINT)
    mean_db = mean(kept.all("mean_db"))
    chroma = _classes(note_power)
    return mf.Steps(
        time_s=mf.rounded(starts, 4),
        level_db=mf.rounded(10 * np.log10(np.maximum(mean(kept.all("power")), 1e-12)), 2),
        centroid_hz=mf.rounded(mean(kept.all("centroid")), 1),
        onset=mf.rounded(np.clip(onset / scale, 0.0, 1.0), 3),
        mean_db=mf.rounded(mean_db, 2),
        max_db=mf.rounded(top(kept.all("max_db"), -SPECTRUM_RANGE_DB), 2),
        variance_db2=mf.rounded(np.maximum(mean(kept.all("square_db")) - mean_db**2, 0.0), 1),
        chroma=mf.rounded(chroma / np.maximum(chroma.max(axis=1, keepdims=True), _FAINT), 3),
        notes=[[] for _ in range(n)],
    )


def _classes(note_power: F64) -> F64:
    """Amplitude of the pitch classes from C, of semitone powers [shape=(…, 88) → (…, 12)], the strongest 1."""
    out = np.zeros((*note_power.shape[:-1], 12))
    for i, midi in enumerate(MIDI):
        out[..., midi % 12] += note_power[..., i]
    out = np.sqrt(out)
    result: F64 = out / np.maximum(out.max(axis=-1, keepdims=True), _FAINT)
    return result


def _accents(onset: F64, per_beat: int) -> F64:
    bar = 4 * per_beat
    place = np.arange(len(onset)) % bar
    mean = np.bincount(place, weights=onset, minlength=bar) / np.maximum(np.bincount(place, minlength=bar), 1)
    result: F64 = mean / max(float(mean.max()), _FAINT)
    return result


def _bands(peaks: Peaks, top_db: float) -> list[mf.Band]:
    """The original's bands: more than 3 peaks make an oscillator, K = min(0.1 · mean energy, 0.5)."""
    out = []
    for name, low, high in BANDS:
        inside = (peaks.freq_hz >= low) & (peaks.freq_hz < high)
        count = int(inside.sum())
        if count > 3:
            energy = 10 ** ((peaks.level_db[inside].astype(np.float64) - top_db) / 20)
            out.append(
                mf.Band(
                    name=name,
                    peaks=count,
                    freq_hz=round(float(peaks.freq_hz[inside].mean(dtype=np.float64)), 4),
                    coupling=round(min(0.1 * float(energy.mean()), 0.5), 6),
                )
            )
    return out
