"""A score: the steps of a new piece with all that is needed to play it, and the playing of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ...plugins._errors import FileError
from ...wholefile import write_text
from ..config import parse
from . import modelfile as mf
from .bands import Steady, album_bands, band_bank
from .oscillators import Coupled, Performance, RhythmClock, pitch_bank
from .synth import Levels, Trace, tick_frames
from .walk import Nodes, Step, Walk, check_weights

F32 = NDArray[np.float32]

KIND = "cspace-ksom-score"
#: Where a note's level falls to after its strike, and how fast, in beats.
SUSTAIN, DECAY_BEATS = 0.35, 0.75
#: How the rhythm oscillators share the gate: half bars, beats and half beats.
GATE = np.array([0.05, 0.15, 0.5, 0.3, 0.0])
#: Loudness of a node, dB about the mean, is kept within this and made this much flatter.
_GAIN_RANGE_DB, _GAIN_SLOPE = (-24.0, 6.0), 0.7
#: Most walks that are tried for a piece, and the steps that all of them may have together.
_WALKS, _WALKED = 16, 16_000


class Voices(BaseModel):
    """What the steps of a score sound like."""

    model_config = ConfigDict(extra="forbid")

    notes_hz: list[float]
    names: list[str]
    #: Notes of each node that occurs: thousandths of the node's whole [notes], loudness and strike strength.
    levels: dict[str, list[int]]
    gain_db: dict[str, float]


class Score(BaseModel):
    """A piece, from `evolve` to `synthesise`."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["cspace-ksom-score"] = "cspace-ksom-score"
    version: Literal[1] = 1
    play: Performance
    tempo_bpm: float = Field(gt=0.0)
    steps_per_beat: int = Field(ge=1, le=16)
    tracks: list[str]
    voices: Voices
    #: One entry per step.
    node: list[int]
    track: list[int]
    strike: list[float]
    bands: list[mf.Band] = []
    #: Order parameters of the oscillators, ten times a second.
    trace: dict[str, list[float]] = {}


class StepPlayer:
    """Levels of the pitch oscillators from steps: strikes that decay, gated by the rhythm oscillators.

    Parameters
    ----------
    levels : amplitudes of a node's notes [shape=(notes,)], by node
    gain_db : loudness of a node, by node
    next_step : called at each new step
    """

    def __init__(
        self,
        levels: Callable[[int], F32],
        gain_db: Callable[[int], float],
        next_step: Callable[[], Step],
        clock: RhythmClock,
        play: Performance,
        *,
        notes: int,
        tempo_bpm: float,
    ):
        self._levels, self._gain_db, self._next, self._clock = levels, gain_db, next_step, clock
        self._voices, self._gate = play.voices, play.gate
        tick_s = tick_frames(play.sample_rate) / play.sample_rate
        self._fall = float(np.exp(-tick_s / (DECAY_BEATS * 60.0 / tempo_bpm)))
        # So many oscillators of equal level 1 have the level asked for.
        self._unit = np.float32(np.sqrt(notes))
        self._node = np.zeros(notes, np.float32)
        self._envelope = np.full(notes, SUSTAIN, np.float32)

    def tick(self) -> F32:
        """The level of each oscillator from now on [shape=(notes · voices,)]."""
        begins, turns = self._clock.tick()
        self._envelope = SUSTAIN + (self._envelope - SUSTAIN) * np.float32(self._fall)
        if begins:
            step = self._next()
            target = self._levels(step.node) * loudness(self._gain_db(step.node))
            # What is new or louder is struck; what goes on rings on.
            new = target > 1.2 * self._node
            strike = np.where(new, max(step.strike, 0.5), step.strike)
            self._envelope = np.maximum(self._envelope, SUSTAIN + (1 - SUSTAIN) * strike).astype(np.float32)
            self._node = target
        pulse = float(GATE @ (0.5 + 0.5 * np.cos(2 * np.pi * turns)) ** 2)
        gate = np.float32(1.0 - self._gate * (1.0 - pulse))
        out: F32 = np.repeat(self._unit * gate * self._envelope * self._node, self._voices)
        return out


def loudness(gain_db: float) -> np.float32:
    """Amplitude factor of a node, from its loudness about the track's mean: kept in range and made flatter."""
    kept = float(np.clip(gain_db, *_GAIN_RANGE_DB)) * _GAIN_SLOPE
    return np.float32(10 ** (kept / 20))


def compose(model: mf.Model, play: Performance) -> Score:
    """Walks the map for the length of a piece. The same model and seed give the same score.

    In mode `bands` there are no steps: the bands sound from beginning to end.
    """
    if play.mode == "bands":
        return Score(
            play=play,
            tempo_bpm=model.tracks[0].tempo_bpm,
            steps_per_beat=model.settings.steps_per_beat,
            tracks=[t.name for t in model.tracks],
            voices=Voices(notes_hz=[], names=[], levels={}, gain_db={}),
            node=[],
            track=[],
            strike=[],
            bands=album_bands(model),
        )
    nodes = Nodes(model, check_weights(model, play.track_weights))
    # A piece has one tempo: that of the track it begins with.
    track = Walk(model, seed=play.seed, perturb=play.perturb, track_weights=play.track_weights).next().track
    tempo = model.tracks[track].tempo_bpm
    tick_s = tick_frames(play.sample_rate) / play.sample_rate
    clock = RhythmClock(tempo, model.settings.steps_per_beat, play, tick_s)
    begun = sum(clock.tick()[0] for _ in range(int(play.seconds / tick_s) + 3))
    steps = _typical(model, nodes, play, begun + 1)
    used = sorted({s.node for s in steps})
    return Score(
        play=play,
        tempo_bpm=tempo,
        steps_per_beat=model.settings.steps_per_beat,
        tracks=[t.name for t in model.tracks],
        voices=Voices(
            notes_hz=[n.freq_hz for n in model.notes],
            names=[n.name for n in model.notes],
            levels={str(k): np.rint(nodes.levels[k] * mf.NOTE_UNIT).astype(int).tolist() for k in used},
            gain_db={str(k): round(float(nodes.gain_db[k]), 2) for k in used},
        ),
        node=[s.node for s in steps],
        track=[s.track for s in steps],
        strike=[s.strike for s in steps],
    )


def _typical(model: mf.Model, nodes: Nodes, play: Performance, count: int) -> list[Step]:
    """Of several walks, the one whose notes are most like those of all the music.

    A minute of a long piece may otherwise be of one odd section. What is compared are amounts of notes,
    each step's of length 1, by their correlation. All walks have the first one's beginning.
    """
    weights = check_weights(model, play.track_weights)
    whole = np.zeros(len(model.notes))
    for t, weight in enumerate(weights):
        path = np.array(model.tracks[t].path)
        whole += weight * nodes.levels[path].sum(axis=0, dtype=np.float64)
    best: list[Step] = []
    highest = -np.inf
    walk = Walk(model, seed=play.seed, perturb=play.perturb, track_weights=play.track_weights)
    for draw in range(int(np.clip(_WALKED // count, 1, _WALKS))):
        walk.restart(draw)
        steps = [walk.next() for _ in range(count)]
        notes = nodes.levels[[s.node for s in steps]].sum(axis=0, dtype=np.float64)
        likeness = _correlation(notes, whole)
        if likeness > highest:
            best, highest = steps, likeness
    return best


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def perform(score: Score) -> tuple[Coupled, Levels]:
    """Oscillators and levels that play a score."""
    play = score.play
    if play.mode == "bands":
        return band_bank(score.bands, play), Steady(len(score.bands))
    bank = pitch_bank(score.voices.notes_hz, play)
    levels = {int(k): np.array(v, np.float32) / np.float32(mf.NOTE_UNIT) for k, v in score.voices.levels.items()}
    gains = {int(k): v for k, v in score.voices.gain_db.items()}
    steps = iter([Step(n, t, 0, s) for n, t, s in zip(score.node, score.track, score.strike, strict=True)])
    silent = Step(-1, 0, 0, 0.0)
    rest = np.zeros(len(score.voices.notes_hz), np.float32)
    tick_s = tick_frames(play.sample_rate) / play.sample_rate
    player = StepPlayer(
        lambda node: levels.get(node, rest),
        lambda node: gains.get(node, 0.0),
        lambda: next(steps, silent),
        RhythmClock(score.tempo_bpm, score.steps_per_beat, play, tick_s),
        play,
        notes=len(score.voices.notes_hz),
        tempo_bpm=score.tempo_bpm,
    )
    return bank, player


def load_score(path: str | os.PathLike[str]) -> Score:
    """Reads and checks a score. Raises FileError or ConfigError naming the file and what is wrong."""
    data = mf.read_json(path)
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise FileError(f"{path}: is not a K-SOM score; make one with `cspace ksom evolve MODEL -o FILE`")
    score = parse(Score, data, str(path))
    if not len(score.node) == len(score.track) == len(score.strike):
        raise FileError(f"{path}: node, track and strike have different lengths")
    wrong = [k for k, v in score.voices.levels.items() if len(v) != len(score.voices.notes_hz)]
    if wrong:
        raise FileError(f"{path}: levels of node {wrong[0]} do not have one value per note")
    return score


def save_score(path: str | os.PathLike[str], score: Score) -> None:
    """Writes the file, whole or not at all."""
    write_text(path, mf.pretty(score.model_dump(mode="json")))


def states_csv(score: Score, bank: Coupled, trace: Trace) -> str:
    """The oscillators' states as CSV, a row every tenth of a second.

    Columns: time_s, r, note_r, locking, then phase_rad and amplitude (its sine) of each oscillator,
    with its name and natural frequency in Hz in the heading.
    """
    if score.play.mode == "bands":
        names = [b.name for b in score.bands]
    else:
        names = [f"{n}.{v + 1}" for n in score.voices.names for v in range(score.play.voices)]
    heads = [
        f"{what} {n} {f:.3f}" for what in ("phase_rad", "amplitude") for n, f in zip(names, bank.freq_hz, strict=True)
    ]
    lines = [",".join(["time_s", "r", "note_r", "locking", *heads])]
    rows = zip(trace.time_s, trace.r, trace.note_r, trace.locking, trace.phases_rad, strict=True)
    for time_s, r, note_r, locking, phases in rows:
        values = [f"{v:.4f}" for v in [*phases, *np.sin(phases)]]
        lines.append(",".join([f"{time_s:g}", f"{r:g}", f"{note_r:g}", f"{locking:g}", *values]))
    return "\n".join(lines) + "\n"


__all__ = ["Score", "StepPlayer", "compose", "load_score", "perform", "save_score", "states_csv"]
