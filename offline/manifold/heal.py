"""How well losses are healed: real clips, packets lost at random, every way of filling them, over clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ...plugins import Codec, Heal
from ...plugins._errors import FileError
from ..audio import load_mono
from ..codec.fidelity import si_snr_db
from . import heal_rows as rows
from .checkpoint import Run
from .impute import gaps

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: The codec's rate, so that every row hears the same samples.
SAMPLE_RATE = 24_000
LENGTHS_MS = (5.0, 10.0, 20.0, 40.0)
RATES = (0.01, 0.05, 0.10, 0.20)
#: The rate at which candidates that are slow or were not kept are measured.
CANDIDATE_RATE = 0.10
REFERENCE = "Burg AR 512, float64"
#: Where a clip of music begins.
MUSIC_START_SECONDS = 15.0
#: Clips that neither the processor's constants nor a model saw: every 20th file of a language (the
#: codec's held-out ones), every fifth piece (the manifold's).
CLIPS = (
    "speech/en/dictate-both_help.flac",
    "speech/en/en_US_f_Allison-queue-periodic-announce.flac",
    "speech/es/es_MX_f_Allison-confbridge-dec-talk-vol-out.flac",
    "speech/fr/fr_CA_f_June-conf-usermenu.flac",
    "speech/it/it_IT_m_Carlo-agent-newlocation.flac",
    "speech/ru/dictate-both_help.flac",
    "music/planetblupi/music001.ogg",
    "music/wesnoth/elf-land.ogg",
    "music/wesnoth/love_theme.ogg",
    "music/wesnoth/nunc_dimittis.ogg",
    "music/wesnoth/the_deep_path.ogg",
    "music/wesnoth/vengeful.ogg",
)
STFT_SIZES = (256, 512, 1024)
STFT_FLOOR_DB = -60.0


@dataclass(frozen=True)
class Sound:
    """A clip as it is measured, and how the codec gives it back."""

    name: str
    kind: str
    x: F64
    decoded: F64


def load(folder: Path, names: tuple[str, ...], seconds: float) -> Iterator[Sound]:
    """The clips, peak at 0.5 of full scale; `seconds` of each."""
    for name in names:
        path = folder / name
        if not path.is_file():
            raise FileError(f"{path}: is not there; make recordings fetches it, or say its folder with --folder")
        kind = name.split("/")[0]
        begin = MUSIC_START_SECONDS if kind == "music" else 0.0
        x = load_mono(path, SAMPLE_RATE, seconds=begin + seconds).samples
        x = x[round(begin * SAMPLE_RATE) :] if len(x) > (begin + 1.0) * SAMPLE_RATE else x
        x = (0.5 / np.max(np.abs(x))) * x
        y = Codec("phase96")(x.astype(np.float32), SAMPLE_RATE)
        yield Sound(path.stem, kind, x.astype(np.float64), y.astype(np.float64))


def losses(count: int, length: int, rate: float, seed: int) -> Bools:
    """Packets of `length` samples, that share of them lost at random; none in the first 200 ms."""
    slots = count // length
    first = -(-round(0.2 * SAMPLE_RATE) // length)
    lost = np.zeros(count, np.bool_)
    chosen = np.random.default_rng(seed).choice(slots - first, max(1, round(rate * slots)), replace=False) + first
    for slot in chosen:
        lost[slot * length : (slot + 1) * length] = True
    return lost


# ---- rows -------------------------------------------------------------------------------------


def live(x: F64, lost: Bools, **settings: Any) -> F64:
    """The processor, told of each loss to the sample; what it is late by is taken off."""
    plugin = Heal(**settings)
    plugin.process(np.zeros(1, np.float32), SAMPLE_RATE)  # prepared, it knows its latency
    late = plugin.latency_samples
    wire = np.concatenate([np.where(lost, 0.0, x), np.zeros(late)]).astype(np.float32)
    edges = sorted({0, len(wire), *(e for gap in gaps(lost) for e in gap)})
    parts = []
    for a, b in pairwise(edges):
        plugin.lost = bool(a < len(lost) and lost[a])
        parts.append(plugin.process(wire[a:b], SAMPLE_RATE, reset=a == 0, compensate=False))
    return np.concatenate(parts)[late:].astype(np.float64)


#: Settings of the processor in the table. Latency lets it fit what lies before a loss until it is heard.
LIVE: dict[str, dict[str, Any]] = {
    "heal": {},
    "heal, 6 ms late": {"detect": "zeros", "detect_ms": 6.0},
    "heal short, 6 ms late": {"detect": "zeros", "detect_ms": 6.0, "method": "short"},
    "heal long, 6 ms late": {"detect": "zeros", "detect_ms": 6.0, "method": "long"},
    "heal repeat": {"method": "repeat"},
}


def ways(run: Run | None) -> dict[str, tuple[bool, Callable[[Sound, Bools], F64]]]:
    """Every row: whether it is measured at all rates, and how it heals."""

    def predicted(predict: rows.Predictor) -> Callable[[Sound, Bools], F64]:
        return lambda s, lost: rows.fill(s.x, lost, SAMPLE_RATE, predict)

    def processor(settings: dict[str, Any]) -> Callable[[Sound, Bools], F64]:
        return lambda s, lost: live(s.x, lost, **settings)

    found: dict[str, tuple[bool, Callable[[Sound, Bools], F64]]] = {
        "zero": (True, predicted(rows.zero)),
        REFERENCE: (True, predicted(rows.reference(SAMPLE_RATE))),
        "codec's concealment": (True, lambda s, lost: rows.conceal(s.decoded, lost, SAMPLE_RATE)),
    }
    for name, settings in LIVE.items():
        found[name] = (name in ("heal", "heal, 6 ms late"), processor(settings))
    found["CSpace oscillators turned on"] = (False, predicted(rows.oscillators(SAMPLE_RATE)))
    if run is not None:
        found[f"manifold, {run.spec.model.dynamics}"] = (False, predicted(rows.manifold(run)))
    return found


# ---- figures ----------------------------------------------------------------------------------


def figures(estimate: F64, x: F64, lost: Bools) -> dict[str, float]:
    """SI-SNR over all and in the gaps [dB]; mean difference of levels in windows that hear a gap [dB].

    Levels are of magnitudes in windows of 256, 512 and 1024 samples, none below −60 dB of the clip's loudest bin.
    """
    distances = []
    for size, floor in zip(STFT_SIZES, _floors(np.ascontiguousarray(x, np.float64).tobytes()), strict=True):
        window = np.hanning(size + 1)[:-1]
        hop = size // 4
        view = np.lib.stride_tricks.sliding_window_view
        hears = view(lost, size)[::hop].any(axis=1)
        r, e = (np.abs(np.fft.rfft(view(v, size)[::hop][hears] * window, axis=1)) for v in (x, estimate))
        distances.append(float(np.mean(np.abs(20 * np.log10(np.maximum(e, floor) / np.maximum(r, floor))))))
    return {
        "si_snr_db": si_snr_db(estimate, x),
        "gap_si_snr_db": si_snr_db(estimate[lost], x[lost]),
        "gap_snr_db": float(10 * np.log10(np.sum(x[lost] ** 2) / max(np.sum((estimate - x)[lost] ** 2), 1e-300))),
        "stft_db": float(np.mean(distances)),
    }


@lru_cache(maxsize=2)
def _floors(samples: bytes) -> list[float]:
    """The least magnitude that counts in a clip (float64), per size of window."""
    x = np.frombuffer(samples, np.float64)
    found = []
    for size in STFT_SIZES:
        frames = np.lib.stride_tricks.sliding_window_view(x, size)[:: size // 4] * np.hanning(size + 1)[:-1]
        found.append(10 ** (STFT_FLOOR_DB / 20) * float(np.max(np.abs(np.fft.rfft(frames, axis=1)))))
    return found


def study(
    sounds: list[Sound], run: Run | None, seed: int, tell: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, F32]]:
    """One record per clip, length, rate and row; and a few sounds to hear."""
    records: list[dict[str, Any]] = []
    heard: dict[str, F32] = {}
    table = ways(run)
    for index, sound in enumerate(sounds):
        for ms in LENGTHS_MS:
            for rate in RATES:
                length = round(ms * 1e-3 * SAMPLE_RATE)
                lost = losses(len(sound.x), length, rate, seed + 1000 * index + round(10 * ms) + round(100 * rate))
                for name, (always, heal) in table.items():
                    if not always and rate != CANDIDATE_RATE:
                        continue
                    y = heal(sound, lost)
                    about = {"clip": sound.name, "kind": sound.kind, "ms": ms, "rate": rate, "row": name}
                    records.append(about | figures(y, sound.x, lost))
                    if ms == 20.0 and rate == CANDIDATE_RATE and index in (0, len(sounds) - 1):
                        heard[f"{sound.name}_{name}"] = y.astype(np.float32)
        tell(sound.name)
    return records, heard


def interval(values: F64) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval (Student's t)."""
    good = values[np.isfinite(values)]
    if len(good) < 2:
        return float(np.mean(good)) if len(good) else float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(good) - 1) * np.std(good, ddof=1) / np.sqrt(len(good))
    return float(np.mean(good)), float(half)


def summary(records: list[dict[str, Any]], rates: tuple[float, ...], kind: str | None = None) -> list[dict[str, Any]]:
    """Per length and row: mean over clips, each the mean of its rates, ± 95 %.

    `_apart` is the same of what sets it apart from the reference on the same clip and losses.
    """
    out = []
    chosen = [r for r in records if r["rate"] in rates and kind in (None, r["kind"])]
    names = list(dict.fromkeys(r["row"] for r in chosen))
    clips = list(dict.fromkeys(r["clip"] for r in chosen))
    for ms in LENGTHS_MS:
        for name in names:
            row: dict[str, Any] = {"ms": ms, "row": name}
            for key in ("si_snr_db", "gap_si_snr_db", "gap_snr_db", "stft_db"):
                per = [_mean(chosen, clip, ms, name, key) for clip in clips]
                base = [_mean(chosen, clip, ms, REFERENCE, key) for clip in clips]
                row[key], row[f"{key}_ci"] = interval(np.array(per))
                row[f"{key}_apart"], row[f"{key}_apart_ci"] = interval(np.array(per) - np.array(base))
            out.append(row)
    return out


def _mean(records: list[dict[str, Any]], clip: str, ms: float, row: str, key: str) -> float:
    values = [r[key] for r in records if r["clip"] == clip and r["ms"] == ms and r["row"] == row]
    return float(np.mean(values)) if values else float("nan")
