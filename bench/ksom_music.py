"""K-SOM on real pieces: how new music is related to its source, and how well the maps fit.

    .venv/bin/python -m bench.ksom_music [FOLDER] [--every 4] [--seconds 60] [--seed 7] [--untrained] [--json FILE]

Every fourth recording of the folder (sorted by path), whole. Each is analysed, mapped, and played
with the defaults of `cspace ksom generate`; source and result are then measured with librosa alone
(`cspace ksom compare`). A table is printed, and all figures are written as JSON. Models are kept in
bench/out/ksom/ and taken from there the next time.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from cspace.offline.audio import audio_files, load_mono
from cspace.offline.ksom import compare as cmp
from cspace.offline.ksom import modelfile as mf
from cspace.offline.ksom import pipeline as pl
from cspace.offline.ksom.modelfile import pretty
from cspace.offline.ksom.oscillators import Performance
from cspace.offline.ksom.som import best_nodes, features
from cspace.plugins import CspaceError
from cspace.wholefile import write_text

OUT = Path(__file__).parent / "out" / "ksom"
DATA = Path(__file__).parent.parent / "data" / "recordings" / "music"


def untrained(model: mf.Model) -> mf.Model:
    """The same model on the original's map: normal weights that were never trained."""
    trained = model.require_map()
    shape = (trained.rows, trained.columns, len(trained.features))
    weights = np.random.default_rng(trained.seed).standard_normal(shape)
    tracks = [
        t.model_copy(update={"path": best_nodes(weights, x).tolist()})
        for t, x in zip(model.tracks, features(model), strict=True)
    ]
    return model.model_copy(update={"tracks": tracks})


def piece(path: Path, seconds: float, seed: int, *, control: bool = False) -> dict[str, Any]:
    """Figures of one recording, all from files, so that nothing is shared but what a user has."""
    model_path = OUT / f"{path.stem}.json"
    result = OUT / f"{path.stem}-{seed}{'-untrained' * control}.wav"
    start = time.process_time()
    if not model_path.exists():
        model = pl.train_map(pl.analyse([path], mf.Settings())[0], 7)
        mf.save_model(model_path, model)
    model = mf.load_model(model_path)
    if control:
        model = untrained(model)
    score = pl.compose(model, Performance(seconds=seconds, seed=seed))
    pl.synthesise(score, result, subtype="PCM_16")
    found = cmp.compare(path, result)
    quality = model.require_map().quality
    return {
        "name": path.stem,
        "cpu_s": time.process_time() - start,
        "comparison": found.to_json(),
        "harmony": harmony(path, result),
        "map": quality.model_dump(),
        "nodes_used": len({k for t in model.tracks for k in t.path}),
        "analysis_bpm": model.tracks[0].tempo_bpm,
    }


def chords(path: Path) -> np.ndarray:
    """Mean chroma of each half second of the first ten minutes, silence left out [shape=(parts, 12)]."""
    import librosa

    x = load_mono(path, cmp.RATE, seconds=600.0).samples
    c = librosa.feature.chroma_stft(y=x, sr=cmp.RATE, n_fft=cmp.FFT, hop_length=cmp.HOP, tuning=0.0)
    width = round(0.5 * cmp.RATE / cmp.HOP)
    parts = c[:, : c.shape[1] // width * width].reshape(12, -1, width).mean(axis=2).T
    loud = librosa.feature.rms(y=x, frame_length=cmp.FFT, hop_length=cmp.HOP)[0][: len(parts) * width]
    out: np.ndarray = parts[loud.reshape(-1, width).mean(axis=1) > 1e-3 * loud.max()]
    return out


def harmony(source: Path, result: Path) -> dict[str, float]:
    """Whether single moments are like the source's, which means over a piece cannot tell.

    contrast : how far the chroma of half a second is from the piece's mean (RMS), result over source
    nearest : correlation of the chroma of half a second with the most similar half second of the source, mean
    """
    a, b = chords(source), chords(result)
    far = [float(np.sqrt(((c - c.mean(axis=0)) ** 2).sum(axis=1).mean())) for c in (a, b)]
    unit = [c - c.mean(axis=1, keepdims=True) for c in (a, b)]
    p, q = (c / np.maximum(np.linalg.norm(c, axis=1, keepdims=True), 1e-9) for c in unit)
    return {"contrast": round(far[1] / far[0], 4), "nearest": round(float((q @ p.T).max(axis=1).mean()), 4)}


def matrix(rows: list[dict[str, Any]]) -> np.ndarray:
    """Correlation of each result's pitch classes with each source's [shape=(results, sources)]."""

    def profiles(side: str) -> list[cmp.Profile]:
        return [cmp.Profile(**r["comparison"][side]) for r in rows]

    return np.array([[cmp.class_correlation(s, r) for s in profiles("source")] for r in profiles("result")])


def relations(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Pitch-class correlation of each result with its own source, and its mean over the other sources."""
    between = matrix(rows)
    own = np.diag(between)
    return own, (between.sum(axis=1) - own) / max(1, len(rows) - 1)


def table(rows: list[dict[str, Any]]) -> list[str]:
    own, others = relations(rows)
    out = [
        "| piece | length s | pitch classes: own source | other sources, mean | tempo source → result | ratio "
        "| waveform correlation | quantisation error (untrained; steps as nodes) "
        "| topographic error (steps as nodes) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r, a, b in zip(rows, own, others, strict=True):
        c, q = r["comparison"], r["map"]
        tempo = f"{c['source']['tempo_bpm']:.1f} → {c['result']['tempo_bpm']:.1f} | {c['tempo_ratio']:.3f}"
        fit = f"{q['quantisation_error']:.3f} ({q['untrained_quantisation_error']:.2f}; "
        fit += f"{q['sampled_quantisation_error']:.3f}) | {q['topographic_error']:.3f} "
        fit += f"({q['sampled_topographic_error']:.2f})"
        out.append(
            f"| {r['name']} | {c['source']['seconds']:.0f} | {a:.2f} | {b:.2f} | {tempo} "
            f"| {c['waveform_correlation']:.2f} | {fit} |"
        )
    ratio = np.array([r["comparison"]["tempo_ratio"] for r in rows])
    wave = np.array([r["comparison"]["waveform_correlation"] for r in rows])
    error = np.array([r["map"]["quantisation_error"] / r["map"]["untrained_quantisation_error"] for r in rows])
    topo = np.array([r["map"]["topographic_error"] for r in rows])
    contrast = np.array([r["harmony"]["contrast"] for r in rows])
    nearest = np.array([r["harmony"]["nearest"] for r in rows])
    used = [r["nodes_used"] for r in rows]
    n = len(rows)
    out += [
        "",
        f"- Pitch classes: at least 0.8 with the own source in {(own >= 0.8).sum()} of {n} (lowest {own.min():.2f}, "
        f"mean {own.mean():.2f}); higher than the mean with the others in {(own > others).sum()} of {n} "
        f"(mean of the others {others.mean():.2f}).",
        f"- Tempo within 4 % of the source's, its half or its double: {(abs(ratio - 1) <= 0.04).sum()} of {n}.",
        f"- Best aligned waveform correlation below 0.3: {(wave < 0.3).sum()} of {n} (highest {wave.max():.2f}).",
        f"- Moments of half a second: harmonic contrast {contrast.min():.2f} to {contrast.max():.2f} of the source's, "
        f"mean {contrast.mean():.2f}; correlation with the most similar moment of the source {nearest.min():.2f} to "
        f"{nearest.max():.2f}, mean {nearest.mean():.2f}; nodes in use {min(used)} to {max(used)}.",
        f"- Map: quantisation error at most {error.max():.2f} of the untrained map's; topographic error at most "
        f"{topo.max():.3f}.",
    ]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=DATA)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=7, help="of the walk; the maps keep theirs")
    parser.add_argument("--untrained", action="store_true", help="control: the walk on a map that was never trained")
    parser.add_argument("--json", type=Path, default=OUT / "pieces.json")
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for path in audio_files(args.folder)[args.first :: args.every]:
        try:
            rows.append(piece(path, args.seconds, args.seed, control=args.untrained))
        except CspaceError as e:
            print(f"{path.name}: left out, {e}", flush=True)
            continue
        print(f"{path.name}: done", flush=True)
    own, others = relations(rows)
    for row, a, b in zip(rows, own, others, strict=True):
        row["pitch_classes"] = {"own_source": round(float(a), 4), "other_sources": round(float(b), 4)}
    data = {"seconds": args.seconds, "seed": args.seed, "table": table(rows), "pieces": rows}
    write_text(args.json, pretty(data))
    print("\n".join(table(rows)))
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
