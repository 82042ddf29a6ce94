"""A JACK client in a process of its own: feeds a known signal to the host and records what comes back."""

from __future__ import annotations

import argparse
import gc
import time

import jack
import numpy as np

RATE = 48_000
CHANNELS = 2


def signal(seconds: float) -> np.ndarray:
    """Float32 [shape=(channels, frames)]: chords and noise that come and go, never silent."""
    n = int(seconds * RATE)
    t = np.arange(n) / RATE
    rng = np.random.default_rng(5)
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 0.7 * t)
    tones = [sum(np.sin(2 * np.pi * f * t) for f in fs) for fs in ((110, 277.2, 659.3), (164.8, 440, 987.8))]
    x = 0.08 * swell * np.stack(tones) + 0.03 * rng.standard_normal((CHANNELS, n))
    return x.astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    x = signal(args.seconds)
    client = jack.Client("peer", no_start_server=True)
    period = client.blocksize
    blocks = x.shape[1] // period
    y = np.zeros_like(x)
    times = np.zeros(blocks, np.int64)
    ins = [client.inports.register(f"in_{c}") for c in range(CHANNELS)]
    outs = [client.outports.register(f"out_{c}") for c in range(CHANNELS)]
    state = {"i": 0, "run": False}

    @client.set_process_callback
    def process(frames: int) -> None:
        i = state["i"]
        if not state["run"] or i >= blocks:
            for port in outs:
                port.get_array()[:] = 0
            return
        a, b = i * period, (i + 1) * period
        for c in range(CHANNELS):
            outs[c].get_array()[:] = x[c, a:b]
            y[c, a:b] = ins[c].get_array()
        times[i] = client.last_frame_time
        state["i"] = i + 1

    gc.disable()
    with client:
        host_in = client.get_ports("PortAudio", is_audio=True, is_input=True)
        host_out = client.get_ports("PortAudio", is_audio=True, is_output=True)
        for ours, theirs in zip(outs, host_in, strict=False):  # a host that plays a file has no inputs
            client.connect(ours, theirs)
        for theirs, ours in zip(host_out, ins, strict=False):  # one that records, no outputs
            client.connect(theirs, ours)
        time.sleep(0.3)
        state["run"] = True
        deadline = time.monotonic() + args.seconds * 1.5 + 5
        while state["i"] < blocks and time.monotonic() < deadline:
            time.sleep(0.5)  # each waking takes the GIL from the callback
    np.savez(args.out, y=y, times=times, blocks=state["i"], period=period)


if __name__ == "__main__":
    main()
