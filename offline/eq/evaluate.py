"""How well the adaptive EQ hears and acts: on noise it never met, and on real music.

Everything here filters sound with the native equaliser and measures the result; nothing is read off
the curves that were asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...plugins import Eq
from ...plugins._adaptive.brain import Brain
from ...plugins._adaptive.curve import F64, NAMES, grid, response_db
from ...plugins._adaptive.model import Model, features
from ...plugins._adaptive.spectrum import Sound, spectrum_of
from .audioencoder import AudioSpec, Library, curve_errors, draw, fine_centers
from .signals import pink_noise

F32 = NDArray[np.float32]
Progress = Callable[[int, int], None]
RATE = 48_000
INTENSITIES = (-1.0, -0.7, -0.35, 0.0, 0.35, 0.7, 1.0)
_LOW_BAND, _HIGH_BAND = (60.0, 500.0), (2_000.0, 12_000.0)


def filtered(x: F32, setting: F64, sample_rate: float = RATE) -> F32:
    """Sound [shape=(n,) or (channels, n)] through the native equaliser."""
    return Eq(**dict(zip(NAMES, map(float, setting), strict=True))).process(x, sample_rate)


def brightness(x: F32, sample_rate: float = RATE) -> tuple[float, float]:
    """Spectral centroid in Hz (of the mean magnitude spectrum) and high over low band in dB."""
    size = 4096
    count = max(1, (len(x) - size) // (size // 2) + 1)
    window = np.hanning(size)
    power = np.zeros(size // 2 + 1)
    for i in range(count):
        part = x[i * size // 2 :][:size]
        power += np.abs(np.fft.rfft(window[: len(part)] * part, size)) ** 2
    freqs = np.fft.rfftfreq(size, 1.0 / sample_rate)
    magnitude = np.sqrt(power)

    def band(low: float, high: float) -> float:
        return float(power[(freqs >= low) & (freqs < high)].sum()) + 1e-30

    ratio = 10.0 * np.log10(band(*_HIGH_BAND) / band(*_LOW_BAND))
    return float((freqs * magnitude).sum() / max(magnitude.sum(), 1e-30)), float(ratio)


# ---- hearing ---------------------------------------------------------------------------------


def hearing(
    model: Model,
    settings: F64,
    train_settings: F64,
    sounds: Sequence[F32],
    *,
    with_reference: bool = False,
    ridge: F64 | None = None,
) -> dict[str, Any]:
    """Errors of the curve heard in sounds that settings [shape=(n, 13)] were applied to, and of its rivals.

    `ridge`: weights of `ridge_weights`. Errors over 20 Hz to 20 kHz in dB; `shape` is free of a common level,
    which a sound of unknown level does not tell.
    """
    freqs = grid(200)
    truth = response_db(settings, freqs, RATE)
    got, by_ridge, confidence, expected = [], [], [], []
    for setting, x in zip(settings, sounds, strict=True):
        wet = spectrum_of(filtered(x, setting), RATE, model.bands)
        dry = spectrum_of(x, RATE, model.bands) if with_reference else None
        heard = model.hear(wet, dry)
        got.append(response_db(heard.setting, freqs, RATE))
        confidence.append(heard.confidence)
        expected.append(heard.expected_error_db)
        if ridge is not None:
            by_ridge.append(np.append(features(*wet.against(dry)), 1.0) @ ridge)
    out = curve_errors(np.array(got), truth)
    mean = response_db(train_settings, freqs, RATE).mean(axis=0)
    rivals = {"flat": curve_errors(np.zeros_like(truth), truth), "mean curve": curve_errors(mean[None], truth)}
    if ridge is not None:
        rivals["ridge regression"] = curve_errors(np.array(by_ridge), truth)
    each = out.pop("each_shape_mae_db")
    return {
        **out,
        "confidence_mean": float(np.mean(confidence)),
        "believed_share": float(np.mean(np.array(confidence) >= 0.5)),
        "expected_error_db": float(np.mean(expected)),
        "expected_vs_true_correlation": _rank_correlation(np.array(expected), each),
        "rivals": {k: {n: v for n, v in e.items() if n != "each_shape_mae_db"} for k, e in rivals.items()},
        "sounds": len(settings),
    }


def ridge_weights(settings: F64, lib: Library, spec: AudioSpec, *, count: int = 4_000, strength: float = 3.0) -> F64:
    """Linear regression from the encoder's own features to curves at 200 points [shape=(2 bands + 1, 200)]."""
    rng = np.random.default_rng(11)
    picks = settings[rng.integers(len(settings), size=count)]
    x = draw(lib, spec, response_db(picks, fine_centers(spec.bands)), rng).astype(np.float64)
    x = np.concatenate([x, np.ones((count, 1))], axis=1)
    y = response_db(picks, grid(200), RATE)
    return np.asarray(np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y))


def noises(count: int, seconds: float, first_seed: int = 5_000_000) -> list[F32]:
    """Pink noise with seeds that no training uses."""
    return [pink_noise(seconds, RATE, first_seed + i) for i in range(count)]


# ---- acting ----------------------------------------------------------------------------------


def passes(model: Model, settings: F64, words: Sequence[str], seconds: float, count: int = 5) -> dict[str, Any]:
    """Residual mode on pink noise that carries settings, at intensity 1, repeated on its own output.

    The error is that of all filters together against the word's curve, free of a common level. For comparison
    the original's step: the word's setting on top of what the sound carries.
    """
    freqs, brain = grid(200), Brain(model, RATE)
    errors = np.zeros((len(settings), count))
    original, nothing, modes = [], [], 0
    for i, setting in enumerate(settings):
        word = model.word(words[i % len(words)])
        wanted = response_db(model.decode(word.z), freqs, RATE)
        x = filtered(pink_noise(seconds, RATE, 6_000_000 + i), setting)
        total = response_db(setting, freqs, RATE)
        nothing.append(_shape_error(total, wanted))
        original.append(_shape_error(total + wanted, wanted))
        for k in range(count):
            made = brain.decide(spectrum_of(x, RATE, model.bands), {word.name: 1.0}, 1.0, "residual")
            modes += made.mode == "residual"
            total = total + response_db(made.setting, freqs, RATE)
            errors[i, k] = _shape_error(total, wanted)
            x = filtered(x, made.setting)
    return {
        "total_error_db": [float(v) for v in errors.mean(axis=0)],
        "doing_nothing_db": float(np.mean(nothing)),
        "originals_step_db": float(np.mean(original)),
        "residual_share": modes / errors.size,
    }


def _shape_error(got: F64, wanted: F64) -> float:
    wrong = got - wanted
    return float(np.abs(wrong - wrong.mean()).mean())


def on_music(
    model: Model, clips: Sequence[F32], already: dict[str, F64], progress: Progress | None = None
) -> dict[str, Any]:
    """Gated mode on pieces: the right way, evenly, and less where the word is there already.

    Parameters
    ----------
    clips : excerpts [shape=(n,)] at 48 kHz
    already : word -> settings of people [shape=(k, 13)], held out, to make warm and bright versions of the clips
    """
    brain = Brain(model, RATE)
    sign = {"warm": -1.0, "bright": 1.0}
    out: dict[str, Any] = {"clips": len(clips)}
    for word, way in sign.items():
        right, even, start, moved, pairs = [], [], [], [], []
        for i, x in enumerate(clips):
            track = [brightness(_word(brain, x, word, v)[0]) for v in INTENSITIES]
            zero, at_07 = track[INTENSITIES.index(0.0)], track[INTENSITIES.index(0.7)]
            right.append(all(way * (b - a) > 0 for a, b in zip(zero, at_07, strict=True)))
            even.append(all(way * (b[k] - a[k]) > 0 for a, b in itertools.pairwise(track) for k in (0, 1)))
            start.append(way * zero[1])
            moved.append(abs(at_07[1] - zero[1]))
            versions = []
            for other in sign:
                pick = already[other][i % len(already[other])]
                version = filtered(x, pick)
                before = brightness(version)[1]
                versions.append(abs(brightness(_word(brain, version, word, 0.7)[0])[1] - before))
                start.append(way * before)
                moved.append(versions[-1])
            like, unlike = versions if word == "warm" else versions[::-1]
            pairs.append(like < unlike)
            if progress is not None:
                progress(i + 1, len(clips))
        n = 3  # each clip as it is, and two versions
        out[word] = {
            "right_way": int(sum(right)),
            "monotonic": int(sum(even)),
            "pairs_moved_less": float(np.mean(pairs)),
            "rank_correlation_of_likeness_and_movement": _rank_correlation(np.array(start), -np.array(moved)),
            "rank_correlation_clips_as_they_are": _rank_correlation(np.array(start[::n]), -np.array(moved[::n])),
            "moved_db_median": float(np.median(moved)),
        }
    return out


def _word(brain: Brain, x: F32, word: str, intensity: float) -> tuple[F32, Sound]:
    sound = spectrum_of(x, RATE, brain.model.bands)
    made = brain.decide(sound, {word: 1.0}, intensity, "gated")
    return filtered(x, made.setting), sound


def _rank_correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Spearman's, from ranks."""
    if len(a) < 3:
        return float("nan")
    ranks = [np.argsort(np.argsort(v)).astype(float) for v in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
