"""The audio encoder: a long-term spectrum -> the latent of the equaliser setting it carries.

It learns on sounds whose setting is known: pink noise alone, any sound beside its dry self, and
synthetic pieces and coloured noise alone, where it can learn no more than that it does not know. Filtering a sound
multiplies its power spectrum by the filter's, so settings are applied to recorded frames eight
times finer than the bands; tests filter the sound itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from ...plugins._adaptive.curve import F64, from_domain, grid, response_db, to_domain
from ...plugins._adaptive.model import features
from ...plugins._adaptive.spectrum import Frames, edges
from . import loop
from .signals import ensemble, pink_noise
from .torchcurve import domain_to_unit, unit_to_domain
from .torchcurve import response_db as torch_response_db
from .vae import EqVae, augment, leaky, mlp

SAMPLE_RATE = 48_000
FINE = 8  # finer bands per band, for applying settings
_TOPS_HZ = (3_600.0, 5_000.0, 7_300.0, 10_000.0, 14_700.0)  # usable ends of low sample rates


class AudioSpec(BaseModel):
    """Settings of the training; see `PRESETS`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bands: int = Field(48, ge=12, le=160)
    hidden: int = Field(256, ge=8, le=2048)
    steps: int = Field(6_000, ge=1)
    batch: int = Field(256, ge=2)
    rate: float = Field(2e-3, gt=0.0)
    noise_s: float = Field(900.0, ge=30.0)
    pieces: int = Field(40, ge=2)
    pool: int = Field(40_000, ge=16)
    seed: int = Field(0, ge=0)


PRESETS = {
    "fast": AudioSpec(bands=24, hidden=128),
    "standard": AudioSpec(),
    "high": AudioSpec(bands=96, hidden=384),
}


class AudioNet(nn.Module):
    """Features of a spectrum -> latent, and the logarithm of the curve error it expects."""

    def __init__(self, bands: int, hidden: int, latent: int):
        super().__init__()
        self.layers = mlp((2 * bands, hidden, hidden, latent + 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[shape=(n, 2 bands)] -> latents [shape=(n, latent)] and log errors in dB [shape=(n,)]."""
        y = self.layers(x)
        return y[:, :-1], y[:, -1]


@dataclass
class Library:
    """Dry sounds in fine bands: noise in one row of time, pieces apart."""

    sums: F64  # of the noise's frames up to each one: any stretch is a difference [shape=(frames + 1, fine bands)]
    pieces: list[F64]  # mean spectra [shape=(fine bands,)]


def record(spec: AudioSpec, progress: Callable[[int, int], None] | None = None) -> Library:
    """Makes the dry sounds and measures their frames."""
    frames = Frames(SAMPLE_RATE, spec.bands * FINE)
    chunk_s = 30.0
    chunks = round(spec.noise_s / chunk_s)
    total, rows = chunks + spec.pieces, []
    for i in range(chunks):
        frames.clear()
        x = pink_noise(chunk_s, SAMPLE_RATE, 100_000 + 1_000 * spec.seed + i)
        rows += [power for power, _ in frames.add(x[None])]
        if progress is not None:
            progress(i + 1, total)
    pieces = []
    for i in range(spec.pieces):
        frames.clear()
        x = ensemble(8.0, SAMPLE_RATE, 200_000 + 1_000 * spec.seed + i)
        pieces.append(np.mean([power for power, _ in frames.add(x[None])], axis=0))
        if progress is not None:
            progress(chunks + i + 1, total)
    frames_so_far = np.cumsum(np.array(rows), axis=0)
    return Library(np.concatenate([np.zeros_like(frames_so_far[:1]), frames_so_far]), pieces)


def fine_centers(bands: int) -> F64:
    """Centres of the fine bands [shape=(bands · FINE,)]."""
    e = edges(bands * FINE)
    return np.asarray(np.sqrt(e[:-1] * e[1:]))


def _colours(rng: np.random.Generator, n: int, points: int) -> F64:
    """Smooth random spectra in dB [shape=(n, points)]: tilts and humps as sounds have them of themselves."""
    at = np.linspace(0.0, 10.0, points)  # octaves
    out = rng.normal(0.0, 1.5, (n, 1)) * (at - 5.0)
    for width, size in ((2.0, 4.0), (0.8, 4.0), (0.35, 3.0)):
        knots = rng.standard_normal((n, round(10.0 / width) + 2)) * size * rng.random((n, 1))
        where = at / width
        left = np.minimum(where.astype(int), knots.shape[1] - 2)
        share = 0.5 - 0.5 * np.cos(np.pi * np.minimum(where - left, 1.0))
        out += knots[:, left] * (1.0 - share) + knots[:, left + 1] * share
    return out


def draw(lib: Library, spec: AudioSpec, curves_fine: F64, rng: np.random.Generator) -> NDArray[np.float32]:
    """Features of one sound per curve [shape=(n, fine bands)].

    55 % pink noise, 25 % noise or pieces beside their dry selves, 10 % pieces, 10 % coloured noise.
    """
    n, bands = len(curves_fine), spec.bands
    dry = np.empty_like(curves_fine)
    kind = rng.choice(4, size=n, p=[0.55, 0.25, 0.1, 0.1])
    colours = _colours(rng, int((kind == 3).sum()), bands * FINE)
    for i in range(n):
        if kind[i] in (0, 3) or (rng.random() < 0.5 and kind[i] == 1):
            length = min(len(lib.sums) - 2, int(np.exp(rng.uniform(np.log(6), np.log(150)))))  # 1 to 26 s
            first = int(rng.integers(len(lib.sums) - length))
            dry[i] = (lib.sums[first + length] - lib.sums[first]) / length
        else:
            dry[i] = lib.pieces[rng.integers(len(lib.pieces))]
            if kind[i] == 2:  # other pieces: mixed, tilted
                dry[i] += rng.uniform(0, 1) * lib.pieces[rng.integers(len(lib.pieces))]
    dry[kind == 3] *= 10.0 ** (colours / 10.0)
    wet = 10.0 * np.log10((dry * 10.0 ** (curves_fine / 10.0)).reshape(n, bands, FINE).sum(axis=2) + 1e-30)
    plain = 10.0 * np.log10(dry.reshape(n, bands, FINE).sum(axis=2) + 1e-30)
    level = np.where(kind[:, None] == 1, wet - plain, wet)
    level += np.where(kind[:, None] == 1, rng.uniform(0, 0.2, (n, 1)), 0.0) * rng.standard_normal((n, bands))
    valid = np.ones((n, bands), bool)
    top = edges(bands)[1:]
    for row in np.flatnonzero(rng.random(n) < 0.25):
        valid[row] = top <= rng.choice(_TOPS_HZ)
    level -= (level * valid).sum(axis=1, keepdims=True) / valid.sum(axis=1, keepdims=True)
    return features(np.where(valid, level, 0.0), valid)


@dataclass
class _Pool:
    """Settings made once, with what each step needs of them."""

    settings: F64
    latents: NDArray[np.float32]
    fine: NDArray[np.float32]  # curves at the fine bands


def _pool(vae: EqVae, values: F64, spec: AudioSpec) -> _Pool:
    rng = np.random.default_rng((spec.seed, 7))
    x = to_domain(values)
    made = augment(x, rng, spec.pool)
    plain = rng.random(spec.pool) < 0.3
    made[plain] = x[rng.integers(len(x), size=int(plain.sum()))]
    unit = domain_to_unit(torch.from_numpy(made)).clamp(0.0, 1.0)
    settings = from_domain(unit_to_domain(unit).numpy())
    with torch.no_grad():
        latents = vae.encode(unit)[0].numpy()
    centers_hz = fine_centers(spec.bands)
    fine = np.concatenate(
        [response_db(settings[i : i + 512], centers_hz).astype(np.float32) for i in range(0, len(settings), 512)]
    )
    return _Pool(settings, latents, fine)


def train(
    vae: EqVae,
    values: F64,
    lib: Library,
    spec: AudioSpec,
    progress: loop.Progress | None = None,
    *,
    checkpoint: Path | None = None,
) -> AudioNet:
    """Trains on settings [shape=(n, 13)]; the decoder stays as it is."""
    torch.manual_seed(spec.seed)
    net = AudioNet(spec.bands, spec.hidden, vae.latent)
    vae.eval().requires_grad_(False)
    freqs = grid(40)
    pool = _pool(vae, values, spec)
    torch_freqs = torch.from_numpy(freqs)
    z_pool, curve_pool = torch.from_numpy(pool.latents), torch.from_numpy(response_db(pool.settings, freqs))

    def losses(rng: np.random.Generator) -> tuple[torch.Tensor, loop.Losses]:
        picks = rng.integers(len(pool.settings), size=spec.batch)
        heard = torch.from_numpy(draw(lib, spec, pool.fine[picks].astype(np.float64), rng))
        target, z_true = curve_pool[picks], z_pool[picks]
        z, log_error = net(heard)
        # The raw decoder output may leave the knobs' ranges here, so that gradients stay.
        wrong = torch_response_db(unit_to_domain(leaky(vae.decoder(z))), torch_freqs) - target
        shape = wrong - wrong.mean(dim=1, keepdim=True)
        # The shape is what can be heard; the level of the whole curve only guessed.
        curve = nn.functional.smooth_l1_loss(shape, torch.zeros_like(shape), beta=0.2) + 0.3 * wrong.abs().mean()
        latent = torch.mean((z - z_true) ** 2)
        miss = torch.log(shape.detach().abs().mean(dim=1).float() + 1e-3)
        honest = nn.functional.smooth_l1_loss(log_error, miss, beta=0.2)
        return curve + 0.02 * latent + 0.1 * honest, {"curve": curve, "latent": latent, "honest": honest}

    settings = {"what": "audio", **spec.model_dump(), "rows": len(values), "sum": round(float(values.sum()), 3)}
    loop.run(
        net,
        losses,
        steps=spec.steps,
        rate=spec.rate,
        seed=spec.seed,
        settings=settings,
        checkpoint=checkpoint,
        progress=progress,
    )
    vae.requires_grad_(True)
    return net


def curve_errors(got: F64, wanted: F64) -> dict[str, Any]:
    """Mean absolute errors of curves [shape=(n, freqs)] in dB: as they are, and free of a common level."""
    wrong = got - wanted
    shape = wrong - wrong.mean(axis=1, keepdims=True)
    each = np.abs(shape).mean(axis=1)
    return {
        "absolute_mae_db": float(np.abs(wrong).mean()),
        "shape_mae_db": float(each.mean()),
        "shape_p90_db": float(np.percentile(each, 90)),
        "each_shape_mae_db": each,
    }
