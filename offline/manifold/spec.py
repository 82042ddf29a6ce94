"""What a run of the manifold depends on: data, model, loss and training, as one checked settings tree."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...plugins._errors import ParameterError, near

#: The original's tones: t runs over 4 π, so tone f makes 2 f turns in a sequence.
TONES = (1.0, 2.0, 3.0, 5.0, 8.0)
GAMMAS = (0.1, 0.3, 0.5, 0.7, 0.9)

PRESETS = ("manifold", "rotor", "original")
Kind = Literal["chords", "tones", "random", "scattered", "loops"]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSpec(_Spec):
    """Sequences [shape=(batch, length, channels)]; `docs/manifold.md` describes the kinds."""

    kind: Kind = "chords"
    channels: int = Field(64, ge=1, le=1024)
    length: int = Field(128, ge=8, le=8192)
    #: Standard deviation of the noise on the input; the targets are clean.
    noise: float = Field(0.1, ge=0.0, le=10.0)
    #: Which tone is the oracle's first. Loudest first, a state also says how loud each tone is.
    oracle_order: Literal["lowest", "loudest"] = "lowest"
    #: Loops only: recordings, their rate, and what a frame is.
    folder: Path | None = None
    sample_rate: int = Field(16_000, ge=8_000, le=192_000)
    hop: int = Field(32, ge=1, le=65_536)
    frames: Literal["cspace", "stft"] = "cspace"

    @model_validator(mode="after")
    def _check(self) -> DataSpec:
        if self.kind == "loops" and self.channels % 2:
            raise ValueError(f"channels is {self.channels}; loops have real and imaginary parts, so it must be even")
        return self

    @property
    def tones(self) -> int:
        """Tones to a sequence, as far as known: 3, or 0 for loops."""
        return 0 if self.kind == "loops" else 3


class ModelSpec(_Spec):
    """The modules and their switches."""

    channels: int = Field(64, ge=1, le=1024)
    latent: int = Field(21, ge=2, le=512)
    #: Encoder: `residual` (dilated causal convolutions) or the original's two of kernel 5.
    encoder: Literal["residual", "original"] = "residual"
    width: int = Field(64, ge=1, le=1024)
    #: 0: linear, frame by frame.
    layers: int = Field(6, ge=0, le=12)
    #: `euclid`: as it comes; `sphere`: unit norm; `sampled`: unit norm, then noise along the sphere in training.
    space: Literal["euclid", "sphere", "sampled"] = "sphere"
    #: Standard deviation of that noise at the start; the original's was 0.69.
    sigma_start: float = Field(0.05, gt=0.0, le=2.0)
    rotation: Literal["none", "static", "mean", "covariance", "velocity", "ends"] = "none"
    #: `rotor`: one rotation fitted to the past, without weights (`rotor.py`); the others learn theirs.
    dynamics: Literal["identity", "residual", "memory", "kuramoto", "full", "rotor"] = "full"
    #: `free`: learned taps; `fractional`: a mix of power-law kernels; `both`: their sum.
    memory: Literal["free", "fractional", "both"] = "both"
    memory_taps: int = Field(64, ge=1, le=4096)
    gammas: tuple[float, ...] = GAMMAS
    learn_gammas: bool = True
    #: `sakaguchi`: sin(<s, k> + alpha) as weight; `kuramoto`: the mean key, with a learned rotation for the lag.
    attention: Literal["sakaguchi", "kuramoto"] = "sakaguchi"
    #: Lag of the sakaguchi weights at the start; at 0, with a zero start, it gets no gradient at first (defect 9).
    alpha_start: float = Field(0.1, ge=-3.2, le=3.2)
    #: Divide the sum over the past by its length (the original did not).
    divide_by_count: bool = True
    #: `zero`: the dynamics start as the identity; `random`: as the layers come.
    start: Literal["zero", "random"] = "zero"
    substeps: int = Field(1, ge=1, le=32)
    #: 0: linear.
    decoder_width: int = Field(128, ge=0, le=4096)

    @model_validator(mode="after")
    def _check(self) -> ModelSpec:
        if not self.gammas or not all(0.0 < g < 1.0 for g in self.gammas):
            raise ValueError(f"gammas is {list(self.gammas)}; one or more between 0 and 1 are needed")
        return self

    @model_validator(mode="after")
    def _on_sphere(self) -> ModelSpec:
        if self.dynamics == "rotor" and self.space == "euclid":
            raise ValueError("dynamics rotor turns the sphere; set space to sphere or sampled")
        return self

    @property
    def receptive_frames(self) -> int:
        """Frames of input that a latent state depends on, the present one included."""
        return 9 if self.encoder == "original" else 1 + 2 * (2**self.layers - 1)


class LossSpec(_Spec):
    """Weights of the terms; a term of weight 0 is not computed, all others are logged by name."""

    #: Energy-weighted spectral distance of the next frame, and of a rollout in latent space.
    spectral: float = Field(1.0, ge=0.0)
    rollout: float = Field(1.0, ge=0.0)
    rollout_frames: int = Field(32, ge=1, le=1024)
    mse: float = Field(2.0, ge=0.0)
    rollout_mse: float = Field(0.0, ge=0.0)
    reconstruction: float = Field(0.0, ge=0.0)
    #: The state that the dynamics give for the next frame against the encoder's (defect 10).
    consistency: float = Field(0.0, ge=0.0)
    #: The same for every state of the rollout, so that it may go on for longer than it was trained to.
    rollout_consistency: float = Field(0.0, ge=0.0)
    oracle: float = Field(3.0, ge=0.0)
    #: What the oracle's weight is multiplied by at the last step, linear over the steps; 1: as it is.
    oracle_rise: float = Field(1.0, ge=0.0, le=1000.0)
    gram: float = Field(0.0, ge=0.0)
    #: The original's: every bin the same weight; with entropy of the latent spectrum.
    original: float = Field(0.0, ge=0.0)
    entropy: float = Field(0.0, ge=0.0)
    entropy_of: Literal["magnitude", "power"] = "power"
    kl: float = Field(0.0, ge=0.0)
    #: Log energies after each fractional kernel; unlike the original's bank it depends on gamma.
    fractional: float = Field(0.0, ge=0.0)
    phase: float = Field(0.5, ge=0.0)


class TrainSpec(_Spec):
    """How long and how fast."""

    epochs: int = Field(5, ge=1, le=10_000)
    steps: int = Field(280, ge=1, le=1_000_000)
    batch: int = Field(32, ge=1, le=4096)
    learning_rate: float = Field(3e-3, gt=0.0, le=1.0)
    schedule: Literal["onecycle", "linear", "constant"] = "onecycle"
    #: `muon`: orthogonal updates for the encoder's convolutions at `muon_rate` times the rate, AdamW for the rest.
    optimiser: Literal["adamw", "muon"] = "adamw"
    muon_rate: float = Field(3.0, gt=0.0, le=1000.0)
    seed: int = Field(0, ge=0)


class RunSpec(_Spec):
    """Everything; `run.json` of a training holds it."""

    data: DataSpec = DataSpec()
    model: ModelSpec = ModelSpec()
    loss: LossSpec = LossSpec()
    train: TrainSpec = TrainSpec()

    @model_validator(mode="after")
    def _check(self) -> RunSpec:
        if self.data.channels != self.model.channels:
            raise ValueError(f"data has {self.data.channels} channels, the model {self.model.channels}")
        rolled = self.loss.rollout + self.loss.rollout_mse + self.loss.rollout_consistency
        if self.loss.rollout_frames + 16 > self.data.length - 1 and rolled > 0.0:
            raise ValueError(
                f"rollout_frames is {self.loss.rollout_frames}; with sequences of {self.data.length} frames "
                f"at most {self.data.length - 17} can be asked for"
            )
        if not self.data.tones and self.loss.oracle + self.loss.gram > 0.0:
            raise ValueError("loops have no oracle; set loss.oracle and loss.gram to 0")
        return self


def preset(name: str, **data: object) -> RunSpec:
    """A run by name, with data settings replaced.

    `manifold`: as trained here. `rotor`: linear both ways around the rotor, for channels whose phases differ from
    tone to tone, with frequencies of any value. `original`: the prototype's last.
    """
    if name == "manifold":
        order = "lowest" if data.get("kind", "chords") == "chords" else "loudest"
        d = DataSpec.model_validate({**DataSpec().model_dump(), "oracle_order": order, **data})
        model = ModelSpec(channels=d.channels)
        if d.kind != "chords":  # on recordings the terms below made it worse: docs/manifold-diary.md, loops-muon
            return RunSpec(data=d, model=model, loss=LossSpec() if d.tones else LossSpec(oracle=0.0))
        loss = LossSpec(
            spectral=1.5,
            oracle_rise=5.0,
            rollout_mse=4.0,
            reconstruction=0.5,
            consistency=2.0,
            rollout_consistency=3.0,
        )
        train = TrainSpec(batch=64, schedule="linear", optimiser="muon", muon_rate=4.0)
        return RunSpec(data=d, model=model, loss=loss, train=train)
    if name == "rotor":
        d = DataSpec.model_validate({**DataSpec(kind="random", oracle_order="loudest").model_dump(), **data})
        return RunSpec(
            data=d,
            model=ModelSpec(channels=d.channels, latent=8, layers=0, decoder_width=0, dynamics="rotor"),
            loss=LossSpec(reconstruction=2.0, oracle=10.0 if d.tones else 0.0),
            train=TrainSpec(epochs=3, steps=200, batch=16, learning_rate=1e-2),
        )
    if name == "original":
        d = DataSpec.model_validate({**DataSpec(channels=16, length=256).model_dump(), **data})
        return RunSpec(
            data=d,
            model=ModelSpec(
                channels=d.channels,
                encoder="original",
                space="sampled",
                sigma_start=0.69,
                memory="free",
                memory_taps=256,
                divide_by_count=False,
                alpha_start=0.0,
            ),
            loss=LossSpec(spectral=0.0, rollout=0.0, mse=0.0, oracle=0.0, original=1.0, entropy=0.05, phase=1.0),
            train=TrainSpec(steps=10, batch=64, learning_rate=1e-3, schedule="constant"),
        )
    raise ParameterError(f"there is no preset {name!r}{near(name, PRESETS)}; it can be {', '.join(PRESETS)}")
