"""The equaliser's curve in torch, with gradients: the same sections as `plugins/_adaptive/curve.py`."""

from __future__ import annotations

import math

import torch

from ...plugins._adaptive.curve import BANDS, HIGH, IS_LOG, LOW, SHELF_Q, to_domain

_TOP = 0.49
_LOW = torch.from_numpy(to_domain(LOW))
_SPAN = torch.from_numpy(to_domain(HIGH)) - _LOW
_LOGS = torch.from_numpy(IS_LOG)


def unit_to_domain(unit: torch.Tensor) -> torch.Tensor:
    """Settings as 0..1 of the knobs' ranges [shape=(…, 13)] -> dB, log2 Hz, log2 Q, in float64."""
    return _LOW + unit.double() * _SPAN


def domain_to_unit(x: torch.Tensor) -> torch.Tensor:
    """Inverse of `unit_to_domain`, as float32."""
    return ((x - _LOW) / _SPAN).float()


def response_db(x: torch.Tensor, freqs_hz: torch.Tensor, sample_rate: float = 48_000.0) -> torch.Tensor:
    """Curves in dB [shape=(…, freqs)] of settings with log2 centres and Qs [shape=(…, 13)], float64."""
    nyquist = 0.5 * sample_rate
    at = torch.tan(0.5 * math.pi * torch.clamp(freqs_hz.double() / nyquist, max=0.999999))
    total = torch.zeros(())
    for kind, gain, center, q in BANDS:
        hz = torch.clamp(torch.exp2(x[..., center]), max=_TOP * sample_rate)
        w2 = (at / torch.tan(0.5 * math.pi * hz / nyquist)[..., None]) ** 2
        a = torch.pow(10.0, x[..., gain] / 40.0)[..., None]
        width = w2 / (SHELF_Q**2 if q is None else torch.exp2(2.0 * x[..., q])[..., None])
        if kind == "bell":
            ratio = ((1 - w2) ** 2 + width * a * a) / ((1 - w2) ** 2 + width / (a * a))
        else:
            near_one, near_a = (1 - a * w2) ** 2 + a * width, (a - w2) ** 2 + a * width
            ratio = a * a * (near_a / near_one if kind == "low" else near_one / near_a)
        total = total + 10.0 * torch.log10(ratio)
    return total
