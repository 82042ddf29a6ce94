"""The original K-SOM program, typed again from its description, and what it does when run as written.

    .venv/bin/python -m bench.ksom_listing [SOURCE]

Same loops, same records, same constants, defects included; only the spelling of names is ours.
Without SOURCE two tones of 110 and 350 Hz. Prints a line for each of the claims.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from scipy.signal import find_peaks

BANDS = (("bass", 0, 250), ("low_mid", 250, 500), ("mid", 500, 2000), ("high_mid", 2000, 4000), ("treble", 4000, 1e9))
RATE, FFT, HOP = 22_050, 2048, 512


@dataclass
class Oscillator:
    frequency: float
    coupling: float
    phase: float = 0.0

    def update(self, dt: float, others: list[Oscillator]) -> None:
        pull = 0.0
        for other in others:
            if other is not self:
                pull += other.coupling * np.sin(other.phase - self.phase)
        self.phase += 2 * np.pi * self.frequency * dt + self.coupling * pull * dt
        self.phase = self.phase % (2 * np.pi)

    def amplitude(self, t: float) -> float:
        return float(np.sin(self.phase + 2 * np.pi * self.frequency * t))


@dataclass
class System:
    oscillators: list[Oscillator] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    def from_peaks(self, peaks: list[dict[str, float]]) -> None:
        for _, low, high in BANDS:
            inside = [p for p in peaks if low <= p["frequency"] < high]
            if len(inside) > 3:
                frequency = np.mean([p["frequency"] for p in inside])
                energy = np.mean([p["energy"] for p in inside])
                self.oscillators.append(Oscillator(float(frequency), min(0.1 * float(energy), 0.5)))

    def evolve(self, seconds: float, dt: float = 0.001) -> None:
        for step in range(int(seconds / dt)):
            t = step * dt
            for oscillator in self.oscillators:
                oscillator.update(dt, self.oscillators)
            self.records.append(
                {
                    "time": t,
                    "phases": [o.phase for o in self.oscillators],
                    "frequencies": [o.frequency for o in self.oscillators],
                    "amplitudes": [o.amplitude(t) for o in self.oscillators],
                }
            )

    def synthesise(self) -> np.ndarray:
        out = np.zeros(len(self.records))
        for n, record in enumerate(self.records):
            sample = 0.0
            for amplitude, phase in zip(record["amplitudes"], record["phases"], strict=True):
                sample += 0.1 * amplitude * np.sin(phase)
            out[n] = np.tanh(sample)
        return out


def peaks_of(path: Path) -> list[dict[str, float]]:
    import librosa

    x, _ = librosa.load(path, sr=RATE)
    magnitude = np.abs(librosa.stft(x, n_fft=FFT, hop_length=HOP))
    db = librosa.amplitude_to_db(magnitude, ref=np.max)
    hz = librosa.fft_frequencies(sr=RATE, n_fft=FFT)
    peaks: list[dict[str, float]] = []
    for frame in range(db.shape[1]):
        found, _ = find_peaks(db[:, frame], prominence=10, distance=5)
        for k in found:
            peaks.append(  # noqa: PERF401  as written
                {
                    "frame": frame,
                    "frequency": hz[k],
                    "level": db[k, frame],
                    "energy": 10 ** (db[k, frame] / 20),
                    "phase": (hz[k] * frame) % (2 * np.pi),
                }
            )
    return peaks


def generate(system: System, wav_path: Path, output_wav_path: Path, seconds: float) -> dict[str, object]:
    """The front end, up to its last line. The grid is left out: nothing else reads it."""
    peaks = peaks_of(wav_path)
    system.from_peaks(peaks)
    system.evolve(seconds)
    sf.write(output_wav_path, system.synthesise(), RATE)
    return {
        "peaks": len(peaks),
        "oscillators": len(system.oscillators),
        "output": output_path,  # type: ignore[name-defined]  # noqa: F821  as written: there is no such name
    }


def partials(x: np.ndarray, count: int) -> list[int]:
    """The strongest lines of a sound, Hz, 60 Hz or more apart."""
    power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
    hz = np.fft.rfftfreq(len(x), 1 / RATE)
    found, _ = find_peaks(power, distance=max(1, int(60 / hz[1])))
    strongest = found[np.argsort(-power[found])][:count]
    return sorted(round(float(hz[k])) for k in strongest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = args.source or Path(folder, "tones.wav")
        if args.source is None:
            t = np.arange(4 * RATE) / RATE
            sf.write(source, 0.2 * np.sin(2 * np.pi * 110 * t) + 0.2 * np.sin(2 * np.pi * 350 * t), RATE)
        system, target = System(), Path(folder, "out.wav")
        start = time.process_time()
        try:
            generate(system, source, target, args.seconds)
        except NameError as e:
            print(f"after saving it ends with: NameError, {e}")
        took = time.process_time() - start
        y, _ = sf.read(target)
        print(f"{args.seconds:g} s asked for: {len(y) / RATE:.2f} s written, in {took:.1f} s of CPU")
        print("oscillators, Hz:", [round(o.frequency, 1) for o in system.oscillators])
        # Each oscillator sounds at f and 3f, folded at 500 Hz and then 22.05 times too high.
        print(f"strongest lines, Hz: {partials(y, 2 * len(system.oscillators))}")
        free = System([Oscillator(o.frequency, 0.0) for o in system.oscillators])
        free.evolve(args.seconds)
        turn = np.subtract(system.records[-1]["phases"], free.records[-1]["phases"])
        last = abs(np.angle(np.exp(1j * turn)))
        away = np.linalg.norm(free.synthesise() - y) / np.linalg.norm(y)
        print(
            f"coupling off: phases differ by at most {last.max():.1e} rad at the end, the sound by {away:.1e} of itself"
        )
        for low, high in zip(system.oscillators, system.oscillators[1:], strict=False):
            needed = 2 * np.pi * (high.frequency - low.frequency)
            print(f"to lock, {needed:.0f} rad/s are needed; there are {2 * low.coupling * high.coupling:.2g}")


if __name__ == "__main__":
    main()
