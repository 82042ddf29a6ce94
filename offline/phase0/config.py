"""Settings of the study: one YAML file for all its steps, checked as a whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...plugins._errors import FileError
from ...textfile import MOST_SETTINGS_BYTES, read_text
from ..config import ConfigError, parse


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Settings):
    """Where the speech is.

    `librispeech`: speaker/chapter/*.flac below `path`. `folder`: one sub-folder of `path` per speaker.
    `csv`: a file with the columns audio_path, speaker_id and, if wanted, utterance_id; paths are relative
    to the file. `auto`: whichever of the three `path` looks like. `synthetic`: the encoder of that name makes
    everything, nothing is read. One person must have one speaker_id: data/recordings/speech has one in two folders.
    """

    kind: Literal["auto", "librispeech", "folder", "csv", "synthetic"] = "auto"
    #: By default the table that `make recordings` writes.
    path: Path = Path("data/voices/speakers.csv")
    #: Shorter utterances are left out [s].
    min_seconds: float = Field(3.0, ge=0.0, le=3600.0)
    #: At most so many utterances of each speaker, drawn by the seed; null: all.
    max_utterances_per_speaker: int | None = Field(None, ge=1)


class SyntheticSettings(_Settings):
    """The generator of known answer: latents move along one direction, whose sign flips every `regime_frames`."""

    #: `structured`: one rule for all; `shuffled`: frames in random order; `private`: a rule for each speaker.
    rule: Literal["structured", "shuffled", "private"] = "structured"
    speakers: int = Field(10, ge=1, le=10_000)
    utterances_per_speaker: int = Field(10, ge=1, le=100_000)
    frames: int = Field(250, ge=1, le=1_000_000)
    dim: int = Field(16, ge=1, le=4096)
    regime_frames: int = Field(8, ge=2, le=1000)
    #: Standard deviation of each frame's own noise; a step is 1 in each dimension, in the mean of squares.
    noise: float = Field(0.2, ge=0.0, le=100.0)
    frame_rate_hz: float = Field(12.5, gt=0.0, le=1000.0)


class LogmelSettings(_Settings):
    """Log-mel energies of frames that do not overlap, then PCA fitted on training speakers."""

    sample_rate: int = Field(24_000, ge=8_000, le=192_000)
    #: Samples to a frame: 1920 at 24 kHz are Mimi's 12.5 frames a second.
    hop: int = Field(1920, ge=64, le=65_536)
    mels: int = Field(80, ge=4, le=512)
    #: Dimensions kept; null: no PCA.
    pca_dim: int | None = Field(32, ge=1, le=512)


class CodecSettings(_Settings):
    """A codec of this project, by its ONNX encoder."""

    #: A shipped model, or a folder with `encoder/model.onnx`.
    model: str = "rate24"


class EncoderSettings(_Settings):
    """What turns sound into latents; the table of its own name holds what only it takes."""

    name: Literal["synthetic", "logmel", "codec", "mimi", "encodec"] = "logmel"
    #: mimi: a .safetensors file, `hub`, or null for random weights. encodec: a folder or hub name, or null.
    weights: str | None = None
    device: str = "cpu"
    #: Seeds random weights and synthetic latents.
    seed: int = Field(42, ge=0)
    synthetic: SyntheticSettings = SyntheticSettings()
    logmel: LogmelSettings = LogmelSettings()
    codec: CodecSettings = CodecSettings()


class SplitSettings(_Settings):
    """How speakers are divided. LibriSpeech train-clean-100 was 200 / 51 of 251 speakers."""

    eval_share: float = Field(0.2, gt=0.0, lt=1.0)
    #: So many evaluation speakers instead of the share.
    eval_speakers: int | None = Field(None, ge=1)
    #: Share of the training utterances kept out of the fits, to validate k-means with.
    holdout_share: float = Field(0.1, ge=0.0, lt=1.0)


class FitSettings(_Settings):
    """Clusters and principal components."""

    vq64_clusters: int = Field(64, ge=2, le=65_536)
    vq256_clusters: int = Field(256, ge=2, le=65_536)
    #: pca8: dimensions that are kept. Quartiles make 4^dims ids.
    pca_dims: int = Field(8, ge=1, le=12)
    #: k-means: starts (k-means++), and iterations of each at most.
    starts: int = Field(10, ge=1, le=1000)
    iterations: int = Field(100, ge=1, le=10_000)
    #: Windows the starts are tried on, drawn evenly over all utterances.
    sample_windows: int = Field(20_000, ge=16)
    #: Passes over all windows with the best start's centres, at most; 0: the sample's centres stay.
    full_passes: int = Field(20, ge=0, le=1000)
    #: PCA by subspace iteration: passes over all windows, at most.
    pca_passes: int = Field(30, ge=1, le=1000)


class DecisionSettings(_Settings):
    """What counts as structure (the thresholds of the sheet)."""

    min_cluster: int = Field(100, ge=1)
    max_vr: float = Field(0.6, gt=0.0, le=2.0)
    max_transfer_vr: float = Field(0.6, gt=0.0, le=2.0)
    max_degradation: float = Field(0.2, ge=0.0)
    random_tolerance: float = Field(0.05, gt=0.0)
    slice_allowance: float = Field(0.05, ge=0.0)
    max_excluded: float = Field(0.1, ge=0.0, le=1.0)
    min_speaker_samples: int = Field(50, ge=2)
    medial_low: float = Field(0.17, ge=0.0, lt=0.5)
    medial_high: float = Field(0.83, gt=0.5, le=1.0)


class RunSettings(_Settings):
    """How the work is done. None of it changes a figure."""

    #: Threads; null: one per core. Not used with a scheduler.
    workers: int | None = Field(None, ge=1, le=4096)
    #: Windows held at once by each worker, about; fixes the order of sums, so it is part of the answer's last bits.
    block_windows: int = Field(4096, ge=64, le=10_000_000)


class Phase0Config(_Settings):
    """Everything. Times are in frames unless `window_seconds` or `lags_seconds` are given."""

    out: Path = Path("results/phase0")
    seed: int = Field(42, ge=0)
    #: Frames of context, W.
    window: int = Field(8, ge=1, le=10_000)
    #: Distances L between the end of the context and the frame asked about.
    lags: list[Annotated[int, Field(ge=1, le=10_000)]] = Field([1, 2, 4], min_length=1)
    #: The same in seconds, for encoders of other frame rates: rounded to whole frames, 1 at least.
    window_seconds: float | None = Field(None, gt=0.0, le=3600.0)
    lags_seconds: list[Annotated[float, Field(gt=0.0, le=3600.0)]] | None = Field(None, min_length=1)
    #: At most so many windows in all, drawn evenly over the utterances; null: all.
    max_samples: int | None = Field(None, ge=1)
    conditions: list[Literal["mean_vq64", "pca8_vq256", "pca8_quartile", "random"]] = Field(
        ["mean_vq64", "pca8_vq256", "pca8_quartile", "random"], min_length=1
    )
    data: DataSettings = DataSettings()
    encoder: EncoderSettings = EncoderSettings()
    splits: SplitSettings = SplitSettings()
    fit: FitSettings = FitSettings()
    decision: DecisionSettings = DecisionSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _whole(self) -> Phase0Config:
        for name, values in (("lags", self.lags), ("conditions", self.conditions), ("lags_seconds", self.lags_seconds)):
            if values is not None and len(set(values)) != len(values):
                raise ValueError(f"{name} {values} names one twice")
        if (self.data.kind == "synthetic") != (self.encoder.name == "synthetic"):
            raise ValueError(f"data.kind {self.data.kind!r} and encoder.name {self.encoder.name!r} do not go together")
        return self

    def window_frames(self, frame_rate_hz: float) -> int:
        """W in frames at a frame rate."""
        return self.window if self.window_seconds is None else max(1, round(self.window_seconds * frame_rate_hz))

    def lag_frames(self, frame_rate_hz: float) -> list[int]:
        """Lags in frames at a frame rate, as they were listed. Raises ConfigError where two become one."""
        if self.lags_seconds is None:
            return list(self.lags)
        frames = [max(1, round(s * frame_rate_hz)) for s in self.lags_seconds]
        if len(set(frames)) != len(frames):
            raise ConfigError(
                f"lags_seconds {self.lags_seconds} are {frames} frames at {frame_rate_hz:g} Hz; two are one"
            )
        return frames


def load_config(path: Path | None = None, **changes: Any) -> Phase0Config:
    """The settings of a YAML file; without one, the defaults.

    `changes` go over the file's: `encoder__name="mimi"` sets encoder.name. Raises ConfigError naming file, key,
    value and what is allowed.
    """
    data = {} if path is None else read_yaml(path)
    for key, value in changes.items():
        put(data, key.split("__"), value, str(path))
    return parse(Phase0Config, data, "settings" if path is None else str(path))


def put(data: dict[str, Any], keys: list[str], value: Any, where: str) -> None:
    """Sets a value in tables within tables; `where` names its source in a ConfigError."""
    table: Any = data
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{where}: {key} is {table!r}; it must be a table")
    table[keys[-1]] = value


def read_yaml(path: Path) -> dict[str, Any]:
    """The table in a YAML file. Raises ConfigError."""
    import yaml

    try:
        data = yaml.safe_load(read_text(path, most_bytes=MOST_SETTINGS_BYTES))
    except FileError as e:
        raise ConfigError(str(e)) from None
    except yaml.YAMLError as e:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(e).split())}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: holds a {type(data).__name__}; settings are a table of names and values")
    return {str(k): v for k, v in data.items()}


def to_yaml(config: BaseModel) -> str:
    """The settings as YAML that `load_config` reads back to the same."""
    import yaml

    return str(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def fingerprint(*parts: Any) -> str:
    """SHA-256 of settings and anything else JSON can hold; the same on every machine."""
    plain = [p.model_dump(mode="json") if isinstance(p, BaseModel) else p for p in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
