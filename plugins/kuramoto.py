"""Coupled phase oscillators as a synth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._base import NativePlugin
from ._errors import ParameterError

_NOTE = re.compile(r"([A-Ga-g])([#b♯♭]?)(-?\d)")
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class Kuramoto(NativePlugin, native="kuramoto"):
    """A synth of coupled phase oscillators (Kuramoto 1975 [1]_, lag after Sakaguchi 1986 [2]_).

    dθ_i/dt = 2π f_i + 2π K r sin(ψ − θ_i − α), where r exp(jψ) is the mean of exp(jθ): K is
    `coupling_hz`, α `phase_lag_rad`. Two oscillators lock exactly when their frequencies differ by
    at most K; a Lorentzian spread of half width γ starts to agree at K = 2γ. A `matrix` or a list of
    `edges` replaces the mean field. `ratios` couples pairs near whole-number ratios beside it: octaves,
    fifths, or voices of one note. A `map` holds patterns of levels on a grid, which `map_x`, `map_y` and
    `morph` mix as they glide. Phases stay exact for hours.

    With `mode="entrained"` each oscillator is also pulled by the phase of the input in a band around
    its own frequency, so that the synth locks onto what is played. Taps: `r`, `mean_phase_rad`,
    `phases_rad`, `ratio_locking`.

    >>> from cspace.plugins import Kuramoto
    >>> choir = Kuramoto.from_notes(["A2", "E3", "C4"], coupling_hz=3.0, harmonics=4)
    >>> y = choir(x, sample_rate=48_000)
    >>> r = choir.order_parameter()  # 0 scattered … 1 in step

    .. [1] Y. Kuramoto, in Lecture Notes in Physics 39 (1975), p. 420.
    .. [2] H. Sakaguchi, Y. Kuramoto, Progress of Theoretical Physics 76 (1986), p. 576.
    """

    oscillators: int
    spread: str
    base_hz: float
    span_octaves: float
    spread_hz: float
    tilt_db: float
    seed: int
    mode: str
    coupling_hz: float
    phase_lag_rad: float
    pitch_semitones: float
    perturb: float
    harmonics: int
    rolloff: float
    level_db: float
    dry: float
    width: float
    entrain_hz: float
    entrain_floor_db: float
    band_q: float
    follow: float
    follow_ref_db: float
    ratio_coupling: float
    map_rows: int
    map_columns: int
    map_x: float
    map_y: float
    morph: float
    freq_hz: Any
    level: Any
    matrix: Any
    edges: Any
    ratios: Any
    map: Any

    @classmethod
    def from_notes(
        cls, notes: Sequence[str | float], *, per_note: int = 8, detune_cents: float = 8.0, **settings: Any
    ) -> Kuramoto:
        """A choir on a chord.

        notes : names such as "A4", "C#3", "Bb2" (A4 is 440 Hz), or MIDI numbers
        per_note : voices on each note, spread evenly over ± `detune_cents`
        """
        if not notes or per_note < 1:
            raise ParameterError("a choir needs at least one note and one voice per note")
        pitch = np.array([note_number(n) for n in notes], dtype=np.float64)
        spread = np.linspace(-detune_cents, detune_cents, per_note) / 100.0 if per_note > 1 else np.zeros(1)
        freq = 440.0 * 2.0 ** ((pitch[:, None] + spread[None, :] - 69.0) / 12.0)
        return cls(oscillators=freq.size, freq_hz=freq.ravel(), **settings)

    def order_parameter(self) -> float:
        """|mean of exp(jθ)| after the last sample processed: 0 scattered, 1 in step."""
        return float(self.tap("r")[0])


def note_number(note: str | float) -> float:
    """The MIDI number of a note: "A4" is 69. Raises ParameterError for what is not a note."""
    if not isinstance(note, str):
        return float(note)
    found = _NOTE.fullmatch(note.strip())
    if found is None:
        raise ParameterError(f"{note!r} is not a note, write it like A4, C#3 or Bb2")
    letter, accidental, octave = found.groups()
    return 12 * (int(octave) + 1) + _STEPS[letter.upper()] + {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}[accidental]
