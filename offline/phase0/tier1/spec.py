"""Settings of Tier 1, checked as a whole; every default of the fact sheet that names one is kept."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Slice = Literal["all", "high_energy", "utterance_medial", "initial", "final"]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSpec(_Spec):
    """Which frames, seen how."""

    #: Frames of a context: x[t-lag-window .. t-lag-1].
    window: int = Field(8, ge=1, le=4096)
    #: The lags of experiment 1, in frames.
    lags: tuple[int, ...] = (1, 2, 4, 8)
    slice: Slice = "all"
    #: Rows drawn for training and for evaluation, over all speakers alike; 0 takes all.
    max_samples: int = Field(0, ge=0)
    max_eval_samples: int = Field(20_000, ge=0)
    #: Frames put together into one, by `group_by`: their mean, or one behind the other.
    group: int = Field(1, ge=1, le=4096)
    group_by: Literal["mean", "stack"] = "mean"
    #: Units of the latents: their own, or each dimension divided by the sd of its train steps. dNLL does not change
    #: with the units by itself, but a vMF has no other means to know that some dimensions move more than others.
    scale: Literal["none", "steps"] = "none"
    #: Rows from which the shuffle draws; also how many utterances are open at a time.
    shuffle_rows: int = Field(8192, ge=1)
    #: Utterances kept in memory, MiB.
    cache_mib: int = Field(256, ge=1)
    min_utterance_s: float = Field(3.0, ge=0.0)
    seed: int = Field(42, ge=0)

    @model_validator(mode="after")
    def _lags(self) -> DataSpec:
        if not self.lags or min(self.lags) < 0 or len(set(self.lags)) != len(self.lags):
            raise ValueError("lags must be different numbers of frames, 0 and up")
        return self


class ModelSpec(_Spec):
    """The two models: direction times magnitude (`vmf`), and the mixture of diagonal Gaussians (`mdn`)."""

    width: int = Field(1024, ge=1, le=65536)
    layers: int = Field(2, ge=1, le=16, description="hidden layers of every head")
    #: Components of the MDN, and of the context-free mixtures that stand beside both models.
    components: int = Field(8, ge=1, le=256)
    #: ln kappa stays inside this range by a soft bound.
    ln_kappa_min: float = -4.0
    ln_kappa_max: float = 11.5
    #: mu_m stays within so many standard deviations of the train magnitudes' ln, on both sides.
    magnitude_range_sd: float = Field(8.0, gt=0.0)
    #: ln sigma stays between ln(sd) + these, where sd is that of ln m on train. Upper end in 1B: see RolloutSpec.
    ln_sigma_below: float = Field(4.0, gt=0.0)
    ln_sigma_above: float = Field(1.0, gt=0.0)
    #: Least variance of a Gaussian component, as a share of the train variance of its dimension.
    variance_floor: float = Field(1e-3, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _range(self) -> ModelSpec:
        if self.ln_kappa_min >= self.ln_kappa_max:
            raise ValueError("ln_kappa_min must be below ln_kappa_max")
        return self


class TrainSpec(_Spec):
    """One training."""

    max_steps: int = Field(25_000, ge=1)
    batch: int = Field(256, ge=1)
    learning_rate: float = Field(1e-3, gt=0.0)
    weight_decay: float = Field(1e-4, ge=0.0)
    clip: float = Field(1.0, gt=0.0)
    warmup: int = Field(100, ge=0)
    checkpoint_every: int = Field(1000, ge=1)
    seed: int = Field(42, ge=0)
    accelerator: str = "cpu"
    devices: int = Field(1, ge=1)
    precision: str = "32-true"
    num_workers: int = Field(0, ge=0)
    compile: bool = False
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = "default"


class RolloutSpec(_Spec):
    """1B: training through the rollout."""

    enabled: bool = True
    frames: int = Field(16, ge=1)
    max_steps: int = Field(5000, ge=1)
    batch: int = Field(256, ge=1)
    learning_rate: float = Field(2e-4, gt=0.0)
    rollout_weight: float = Field(1.0, ge=0.0)
    teacher_weight: float = Field(0.1, ge=0.0)
    #: Chance that a frame of the context is the true one, falling in a line to 0 over `teacher_steps`.
    teacher_probability: float = Field(0.2, ge=0.0, le=1.0)
    teacher_steps: int = Field(2000, ge=0)
    #: Longest step of a rollout, in root-mean-square steps of the train frames.
    step_clip: float = Field(5.0, gt=0.0)
    #: ln sigma may rise to ln(sd) + this; the original tightened its absolute bound from 2 to 0.7.
    ln_sigma_above: float = Field(0.7, gt=0.0)


class DiagSpec(_Spec):
    """Experiment 2: what happens when the model's own frames become its context."""

    frames: int = Field(16, ge=1, description="steps of a segment")
    restore_every: int = Field(4, ge=1)
    n_eval_utterances: int = Field(16, ge=1)
    segments_per_utt: int = Field(8, ge=1)
    max_frames_per_utt: int = Field(2000, ge=32)
    lag: int = Field(1, ge=0)
    seed: int = Field(42, ge=0)


class MatchSpec(_Spec):
    """Experiment 3: window, lag and step equal in seconds."""

    frame_s: float = Field(0.08, gt=0.0, description="what one frame lasts after grouping")
    window_s: float = Field(0.64, gt=0.0)
    lag_s: float = Field(0.08, ge=0.0)
    #: How far the seconds reached may lie from those asked for, as a share.
    tolerance: float = Field(0.1, gt=0.0, lt=1.0)


class Tier1Spec(_Spec):
    """All settings of a run."""

    data: DataSpec = DataSpec()
    model: ModelSpec = ModelSpec()
    train: TrainSpec = TrainSpec()
    rollout: RolloutSpec = RolloutSpec()
    diag: DiagSpec = DiagSpec()
    match: MatchSpec = MatchSpec()
