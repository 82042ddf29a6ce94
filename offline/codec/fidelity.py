"""How near a reconstruction is to its original, after delay and gain are found and said."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from ...plugins._errors import AudioError
from ..bank import BankSpec

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

LONGEST_DELAY_SECONDS = 0.25
STFT_SIZES = (512, 1024, 2048)
SEGMENT_SECONDS = 20.0


@dataclass
class Fidelity:
    """Figures of one reconstruction; NaN where one cannot be had, with the reason in `notes`."""

    delay_samples: int
    gain_db: float
    si_snr_db: float
    snr_db: float
    mse: float
    cspace_nsr_db: float
    stft_convergence: float
    stft_log_db: float
    pesq: float = float("nan")
    stoi: float = float("nan")
    notes: list[str] = field(default_factory=list)


def compare(reference: F32, estimate: F32, sample_rate: int, *, speech: bool = False) -> Fidelity:
    """Compares two sounds of one channel [shape=(samples,)], the estimate moved to where it fits best.

    Levels are left as they are: `gain_db` says how much louder the estimate is, `snr_db` and `mse` (of full
    scale, squared) count it as an error, `si_snr_db` does not.

    Raises AudioError for a reference that is silent, constant or shorter than 0.1 s.
    """
    least = sample_rate // 10
    if len(reference) < least or len(estimate) < least:
        raise AudioError(f"a sound of {min(len(reference), len(estimate))} samples is too short; {least} are needed")
    centred = reference - np.mean(reference, dtype=np.float64)
    if float(np.sqrt(np.mean(np.square(centred)))) < 1e-7:
        raise AudioError("the reference is silent or constant; nothing can be compared with it")
    delay = find_delay(reference, estimate, round(LONGEST_DELAY_SECONDS * sample_rate))
    ref, est = overlap(reference, estimate, delay)
    r, e = ref.astype(np.float64), est.astype(np.float64)
    error = e - r
    scale = float(e @ r) / float(r @ r)
    out = Fidelity(
        delay,
        20.0 * float(np.log10(max(abs(scale), 1e-10))),
        si_snr_db(e, r),
        10.0 * float(np.log10(float(r @ r) / max(float(error @ error), 1e-300))),
        float(np.mean(np.square(error))),
        state_error_db(ref, est, sample_rate),
        *stft_distance(ref, est),
    )
    if len(ref) < len(reference):
        out.notes.append(f"{len(reference) - len(ref)} samples have no counterpart and are left out")
    if speech:
        _speech(out, ref, est, sample_rate)
    return out


def si_snr_db(estimate: NDArray[Any], reference: NDArray[Any]) -> float:
    """Scale-invariant signal-to-noise ratio of two sounds of one length; NaN for a silent or constant reference."""
    e = np.asarray(estimate, np.float64) - np.mean(estimate, dtype=np.float64)
    r = np.asarray(reference, np.float64) - np.mean(reference, dtype=np.float64)
    power = float(r @ r)
    if power <= 1e-20 * max(1, len(r)):
        return float("nan")
    target = (float(e @ r) / power) * r
    noise = float(np.sum(np.square(e - target)))
    return float(10.0 * np.log10(max(float(target @ target), 1e-300) / max(noise, 1e-300)))


def find_delay(reference: F32, estimate: F32, most: int) -> int:
    """Samples by which the estimate comes later, within ± `most`: the largest magnitude of the cross-correlation."""
    count = min(len(reference), len(estimate), 1 << 20)
    size = int(2 ** np.ceil(np.log2(count + most + 1)))
    spectrum = np.fft.rfft(estimate[:count], size) * np.conj(np.fft.rfft(reference[:count], size))
    found = np.abs(np.fft.irfft(spectrum, size))
    lags = np.concatenate([found[-most:], found[: most + 1]])
    return int(np.argmax(lags)) - most


def overlap(reference: F32, estimate: F32, delay: int) -> tuple[F32, F32]:
    """The parts of both that lie over each other when the estimate comes `delay` samples later."""
    ref, est = (reference, estimate[delay:]) if delay >= 0 else (reference[-delay:], estimate)
    count = min(len(ref), len(est))
    return ref[:count], est[:count]


def state_error_db(reference: F32, estimate: F32, sample_rate: int, spec: BankSpec | None = None) -> float:
    """Energy of the difference of all bank states over that of the reference's states, in dB.

    The bank run backwards adds the same energy to both (Parseval), so one direction is enough; it rings out after the
    end. In blocks, so that memory does not grow with the sound.
    """
    spec = spec or BankSpec()
    ring = np.zeros(min(spec.ring_samples(sample_rate), sample_rate), np.float32)
    energies = []
    for x in (estimate - reference, reference):
        bank, total = spec.bank(sample_rate), 0.0
        for block in (*np.array_split(x, max(1, len(x) // 8192)), ring):
            total += float(np.sum(np.square(bank.process(np.ascontiguousarray(block, np.float32)), dtype=np.float64)))
        energies.append(total)
    return float(10.0 * np.log10(max(energies[0], 1e-300) / max(energies[1], 1e-300)))


def stft_distance(reference: F32, estimate: F32) -> tuple[float, float]:
    """Spectral convergence, and mean |difference of levels| in dB, over windows of 512, 1024 and 2048 samples.

    Convergence is |‖E‖ − ‖R‖| over ‖R‖ of magnitudes; levels count no deeper than 80 dB under the loudest bin.
    Both as in R. Yamamoto, E. Song, J.-M. Kim, Parallel WaveGAN, 2020.
    """
    convergence, levels = [], []
    for size in STFT_SIZES:
        above = below = apart = 0.0
        count = 0
        peak = max((float(m.max()) for m in _magnitudes(reference, size)), default=0.0)
        floor = max(peak * 1e-4, 1e-9)
        for r, e in zip(_magnitudes(reference, size), _magnitudes(estimate, size), strict=True):
            above += float(np.sum(np.square(e - r)))
            below += float(np.sum(np.square(r)))
            apart += float(np.sum(np.abs(20.0 * np.log10(np.maximum(e, floor) / np.maximum(r, floor)))))
            count += r.size
        convergence.append(np.sqrt(above / max(below, 1e-300)))
        levels.append(apart / max(1, count))
    return float(np.mean(convergence)), float(np.mean(levels))


def _magnitudes(x: F32, size: int) -> Any:
    window = np.hanning(size + 1)[:-1]
    hop = size // 4
    padded = np.pad(x, (0, max(0, size - len(x))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    for i in range(0, len(frames), 512):
        yield np.abs(np.fft.rfft(frames[i : i + 512] * window, axis=1))


def _speech(out: Fidelity, ref: F32, est: F32, sample_rate: int) -> None:
    """PESQ (ITU-T P.862.2, wide band) and STOI, where the packages are installed."""
    r, e = (soxr.resample(x, sample_rate, 16_000).astype(np.float64) for x in (ref, est))
    out.pesq = _quietly(out, "pesq", lambda: __import__("pesq").pesq(16_000, r, e, "wb"))
    out.stoi = _quietly(out, "pystoi", lambda: __import__("pystoi").stoi(r, e, 16_000))


def _quietly(out: Fidelity, package: str, measure: Callable[[], Any]) -> float:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(measure())
    except ImportError:
        out.notes.append(f"{package} is not installed; say pip install {package}")
    except Exception as problem:  # both packages raise bare errors for sound without speech
        out.notes.append(f"{package}: {str(problem).strip() or type(problem).__name__}")
    return float("nan")
