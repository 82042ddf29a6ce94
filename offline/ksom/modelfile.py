"""The model file: one readable JSON from analysis to live play, checked when it is read."""

from __future__ import annotations

import json
import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ...plugins._errors import FileError, ParameterError
from ...textfile import read_text
from ...wholefile import write_text
from ..config import ConfigError, parse

KIND = "cspace-ksom"
VERSION = 1
#: Notes of a step are whole numbers: thousandths of the track's loudest note amplitude.
NOTE_UNIT = 1000.0

Row = list[float]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Settings(_Part):
    """How recordings are read; the first five values are the original's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(22_050, ge=8_000, le=192_000)
    n_fft: int = Field(2048, ge=256, le=65_536)
    hop: int = Field(512, ge=32, le=16_384)
    prominence_db: float = Field(10.0, gt=0.0, le=80.0)
    distance_bins: int = Field(5, ge=1, le=100)
    mode: Literal["tonal", "bands"] = "tonal"
    #: Pitch is read with a window twice as long: 4096 samples resolve notes 22 Hz apart.
    pitch_fft: int = Field(4096, ge=256, le=65_536)
    low_hz: float = Field(50.0, ge=10.0, le=20_000.0)
    high_hz: float = Field(5_000.0, ge=20.0, le=20_000.0)
    #: Most notes an album may have.
    notes: int = Field(32, ge=1, le=128)
    steps_per_beat: int = Field(4, ge=1, le=16)
    map_rows: int = Field(16, ge=2, le=64)
    map_columns: int = Field(32, ge=2, le=64)


class Note(_Part):
    """A pitch of the album."""

    midi: int
    name: str
    freq_hz: float = Field(gt=0.0)
    #: Share in the album's sound, all notes together 1.
    weight: float


class Band(_Part):
    """One of the original's five bands: peaks in it, their mean frequency, and the coupling it gives."""

    name: str
    peaks: int
    freq_hz: float
    coupling: float


class Steps(_Part):
    """What sounds in each step (a part of a beat); every list has one entry per step."""

    time_s: Row
    level_db: Row
    centroid_hz: Row
    #: Strength of the strongest onset, 0 to 1 within the track.
    onset: Row
    #: Mean, maximum (dB) and variance (dB²) of the spectrum, relative to the track's loudest frames.
    mean_db: Row
    max_db: Row
    variance_db2: Row
    #: Pitch-class profile from C [12 each], the strongest 1.
    chroma: list[Row]
    #: Amplitude of each note of the model, thousandths of the track's loudest.
    notes: list[list[int]]


class Blocks(_Part):
    """The original's grid: mean, maximum and variance of the spectrogram in 16 × 32 blocks, low rows first."""

    mean_db: list[Row]
    max_db: list[Row]
    variance_db2: list[Row]


class Track(_Part):
    """One recording."""

    name: str
    seconds: float
    tempo_bpm: float = Field(gt=0.0)
    #: 0 no pulse … 1 a metronome; below 0.1 the tempo is a guess.
    pulse: float
    tuning_cents: float
    level_db: float
    peaks: int
    #: Pitch-class profile from C [12], the strongest 1.
    pitch_classes: Row
    #: Mean onset strength at each step of four beats, the strongest 1.
    accents: Row
    bands: list[Band]
    steps: Steps
    blocks: Blocks
    #: Node of each step; empty before the map is trained.
    path: list[int] = []
    conversions: list[str] = []


class Quality(_Part):
    """How well a map fits, on steps it was not trained on."""

    steps_tested: int
    quantisation_error: float
    topographic_error: float
    #: The same map before training, weights drawn as the original drew them (normal, mean 0, deviation 1).
    untrained_quantisation_error: float
    #: Stricter: weights that are randomly chosen training steps. They lie near the steps, but neighbours mean nothing.
    sampled_quantisation_error: float
    sampled_topographic_error: float | None = None


class Map(_Part):
    """The trained map; node = row · columns + column, row 0 at the bottom (dark), the top is bright."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    seed: int
    features: list[str]
    #: Weights of each node [nodes][features].
    weights: list[Row]
    #: Symbol of each node, rows from the top.
    symbols: list[str]
    quality: Quality


class Model(_Part):
    """An analysed recording or album, with its map once `grid` has trained one."""

    kind: Literal["cspace-ksom"] = "cspace-ksom"
    version: Literal[1] = 1
    settings: Settings
    notes: list[Note]
    tracks: list[Track] = Field(min_length=1)
    map: Map | None = None

    @property
    def frequencies_hz(self) -> NDArray[np.float64]:
        """Of the notes [shape=(notes,)]."""
        return np.array([n.freq_hz for n in self.notes])

    def note_levels(self, track: int) -> NDArray[np.float32]:
        """Amplitudes of the notes in each step of a track, its loudest 1 [shape=(steps, notes)]."""
        rows = np.array(self.tracks[track].steps.notes, np.float32) / np.float32(NOTE_UNIT)
        return rows.reshape(-1, len(self.notes))

    def require_map(self) -> Map:
        """The map. Raises ParameterError if there is none yet."""
        if self.map is None:
            raise ParameterError("this file has no map yet; make one with `cspace ksom grid FILE -o model.json`")
        return self.map


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file. Raises FileError naming it."""
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as e:
        raise FileError(f"{path}: is not JSON: {e}") from None


def load_model(path: str | os.PathLike[str]) -> Model:
    """Reads and checks a model file. Raises FileError or ConfigError naming the file and what is wrong."""
    data = read_json(path)
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise FileError(f"{path}: is not a K-SOM model; make one with `cspace ksom analyse SOURCE -o FILE`")
    if data.get("version") != VERSION:
        raise FileError(f"{path}: has version {data.get('version')}; this program reads version {VERSION}")
    model = parse(Model, data, str(path))
    n = len(model.notes)
    for track in model.tracks:
        steps = track.steps
        lists: list[list[Any]] = [getattr(steps, name) for name in Steps.model_fields]
        if len({len(values) for values in lists}) != 1 or any(len(row) != n for row in steps.notes):
            raise ConfigError(f"{path}: the steps of track {track.name!r} have lists of different lengths")
        if track.path and len(track.path) != len(steps.time_s):
            raise ConfigError(f"{path}: the path of track {track.name!r} does not have one node per step")
        if model.map and any(not 0 <= k < model.map.rows * model.map.columns for k in track.path):
            raise ConfigError(f"{path}: the path of track {track.name!r} names a node outside the map")
    return model


def save_model(path: str | os.PathLike[str], model: Model) -> None:
    """Writes the file, whole or not at all."""
    write_text(path, pretty(model.model_dump(mode="json")))


def pretty(data: Any, indent: int = 0) -> str:
    """JSON for people: an object's keys on lines of their own, a list of numbers or words on one line."""
    pad = "  " * (indent + 1)
    end = "\n" + "  " * indent
    if isinstance(data, dict) and data:
        items = (f"{pad}{json.dumps(str(k))}: {pretty(v, indent + 1)}" for k, v in data.items())
        text = "{\n" + ",\n".join(items) + end + "}"
    elif isinstance(data, list) and any(isinstance(v, (dict, list)) for v in data):
        text = "[\n" + ",\n".join(pad + pretty(v, indent + 1) for v in data) + end + "]"
    else:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return text if indent else text + "\n"


def rounded(values: NDArray[Any], digits: int) -> list[Any]:
    """As nested lists, rounded: what nobody can hear need not be in a file."""
    out: list[Any] = np.round(np.asarray(values, np.float64), digits).tolist()
    return out
