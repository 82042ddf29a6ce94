"""Times SuperCollider's synthesis server in offline mode, from a SynthDef written here.

The SynthDef file format (version 2) and the score format are documented in SuperCollider's help
under "Synth Definition File Format" and "Non-Realtime Synthesis".
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile as sf
from pythonosc import osc_bundle_builder, osc_message_builder

AUDIO = 2


def available() -> bool:
    return shutil.which("scsynth") is not None


def long_enough(units: int) -> float:
    """Seconds of score after which the price of `units` UGens outweighs the jitter of starting a program."""
    return max(8.0, 8192.0 / units)


class Def:
    """A SynthDef: constants and UGens in order; inputs are (ugen, output) or (-1, constant)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.constants: list[float] = []
        self.ugens: list[bytes] = []

    def constant(self, value: float) -> tuple[int, int]:
        if value not in self.constants:
            self.constants.append(value)
        return -1, self.constants.index(value)

    def ugen(self, name: str, inputs: list[tuple[int, int]], outputs: int = 1, special: int = 0) -> tuple[int, int]:
        head = bytes([len(name)]) + name.encode() + struct.pack(">biih", AUDIO, len(inputs), outputs, special)
        body = b"".join(struct.pack(">ii", *i) for i in inputs) + bytes([AUDIO] * outputs)
        self.ugens.append(head + body)
        return len(self.ugens) - 1, 0

    def total(self, parts: list[tuple[int, int]]) -> tuple[int, int]:
        result = parts[0]
        for part in parts[1:]:
            result = self.ugen("BinaryOpUGen", [result, part])
        return result

    def file(self) -> bytes:
        constants = struct.pack(">i", len(self.constants)) + b"".join(struct.pack(">f", c) for c in self.constants)
        no_parameters = struct.pack(">ii", 0, 0)
        body = bytes([len(self.name)]) + self.name.encode() + constants + no_parameters
        body += struct.pack(">i", len(self.ugens)) + b"".join(self.ugens) + struct.pack(">h", 0)
        return b"SCgf" + struct.pack(">ih", 2, 1) + body


def ringz(freqs_hz: np.ndarray, decay_s: np.ndarray) -> Def:
    """A parallel bank of two-pole resonators on the first input channel."""
    d = Def("bank")
    x = d.ugen("In", [d.constant(1.0)])
    rings = [
        d.ugen("Ringz", [x, d.constant(float(f)), d.constant(float(t))]) for f, t in zip(freqs_hz, decay_s, strict=True)
    ]
    d.ugen("Out", [d.constant(0.0), d.total(rings)], outputs=0)
    return d


def sines(freqs_hz: np.ndarray) -> Def:
    """Uncoupled table-lookup oscillators."""
    d = Def("bank")
    oscs = [d.ugen("SinOsc", [d.constant(float(f)), d.constant(0.0)]) for f in freqs_hz]
    d.ugen("Out", [d.constant(0.0), d.total(oscs)], outputs=0)
    return d


def _bundle(at_s: float, address: str, *args: object) -> bytes:
    message = osc_message_builder.OscMessageBuilder(address)
    for a in args:
        message.add_arg(a)  # type: ignore[arg-type]
    # Scores count time from zero, not from 1900, so the tag is written by hand.
    content = message.build().dgram
    builder = osc_bundle_builder.OscBundleBuilder(osc_bundle_builder.IMMEDIATELY)
    builder.add_content(message.build())
    head = builder.build().dgram[:8]
    packet = head + struct.pack(">Q", int(at_s * 2**32)) + struct.pack(">i", len(content)) + content
    return struct.pack(">i", len(packet)) + packet


class Bank:
    """A score that plays a SynthDef for some seconds; `seconds()` is its price beyond an empty score."""

    def __init__(self, definition: Def, seconds: float, sample_rate: int) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="cspace-scsynth-")
        self.path = Path(self.folder.name)
        self.rate = sample_rate
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, int(seconds * sample_rate))
        sf.write(self.path / "in.wav", noise.astype(np.float32), sample_rate, subtype="FLOAT")
        load = _bundle(0.0, "/d_recv", definition.file())
        end = _bundle(seconds, "/c_set", 0, 0)
        start = _bundle(0.0, "/s_new", definition.name, 1000, 0, 0)
        (self.path / "full.osc").write_bytes(load + start + end)
        (self.path / "empty.osc").write_bytes(load + end)

    def _run(self, score: str) -> float:
        out = self.path / "out.wav"
        command = ["scsynth", "-i", "1", "-o", "1", "-w", "4096", "-m", "65536", "-N", str(self.path / score)]
        command += [str(self.path / "in.wav"), str(out), str(self.rate), "WAV", "float"]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        took = time.perf_counter() - start
        if done.returncode != 0 or not out.exists():
            raise RuntimeError(f"scsynth failed: {done.stdout[-300:]}{done.stderr[-300:]}")
        return took

    def seconds(self) -> float:
        """The time of the full score beyond that of the empty one."""
        return self._run("full.osc") - self._run("empty.osc")

    def peak(self) -> float:
        """Largest sample of the last run: proof that it sounded."""
        self._run("full.osc")
        audio, _ = sf.read(self.path / "out.wav")
        return float(np.abs(audio).max())
