"""The manifold frame by frame: Rust's steps against torch's, the same weights and frames; CPU time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cspace import _native
from cspace.offline.manifold.data import Source
from cspace.offline.manifold.model import Manifold
from cspace.offline.manifold.spec import DataSpec, ModelSpec
from cspace.offline.manifold.streams import Live

from .common import Row, best_of, race

CHANNELS, HISTORY, GAP = 64, 128, 64
#: 1 % of the 2 ms that a frame of recordings lasts.
TARGET_NS = 20_000.0
MODELS: dict[str, dict[str, Any]] = {
    "memory and coupling": {},
    "rotor, linear": {"dynamics": "rotor", "latent": 8, "layers": 0, "decoder_width": 0},
}
HISTORIES = (128, 512, 2048)


def cpu(call: Callable[[], object]) -> Callable[[], float]:
    """The same, saying how much CPU time it took: the machine is shared."""

    def timed() -> float:
        began = time.process_time()
        call()
        return time.process_time() - began

    return timed


def built(switches: dict[str, Any]) -> Manifold:
    """As trained in size; the layers that start at zero are not zero."""
    torch.manual_seed(3)
    model = Manifold(ModelSpec.model_validate({"channels": CHANNELS, **switches}))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return model.eval().requires_grad_(False)


def stepper(model: Manifold, history: int = HISTORY) -> _native.ManifoldStepper:
    tensors = {k: v.numpy() for k, v in model.state_dict().items()}
    return _native.ManifoldStepper(model.spec.model_dump(), tensors, history, False)


def run(quick: bool) -> Iterator[Row]:
    torch.set_num_threads(1)
    rounds, frames = (3, 40) if quick else (7, 200)
    x = Source(DataSpec(kind="random", channels=CHANNELS, length=HISTORY)).batch(1, 5).noisy[0].numpy()
    many = np.ascontiguousarray(np.tile(x, (16, 1)))
    for name, switches in MODELS.items():
        model = built(switches)
        yield heard(name, model, x, many, frames, rounds)
        yield lost(name, model, x, rounds)
        if switches.get("dynamics") == "rotor":
            yield first(name, model, x, rounds)
        else:
            yield from longer(name, model, rounds)


def row(what: str, result: Any, rival: str, worst: float) -> Row:
    return Row(
        bench="manifold",
        what=what,
        unit="ns/frame",
        ours=result.ours,
        rival_name=rival,
        rival=result.rival,
        ratio=result.ratio,
        spread=result.spread,
        target="<= 20 us",
        met=result.ours <= TARGET_NS,
        how=f"{result.how}, CPU time, one thread; frames differ by {worst:.1e}",
    )


def heard(
    name: str, model: Manifold, x: NDArray[np.float32], many: NDArray[np.float32], frames: int, rounds: int
) -> Row:
    """Frames that came: encoded, put into the past, decoded."""
    rust, live = stepper(model), Live(model, HISTORY)
    none = np.zeros(len(many), bool)

    def ours() -> None:
        rust.step(many, none)

    @torch.inference_mode()
    def rival(count: int = frames) -> list[NDArray[np.float32]]:
        states, out = {k: torch.zeros(s) for k, s in live.states.items()}, []
        for frame in x[np.arange(count) % len(x)]:
            z, heard = live.encode(torch.from_numpy(frame[None]), states)
            states |= heard | {"past": torch.cat([states["past"][:, 1:], z[:, None]], 1)}
            out.append(model.decode(z)[0].numpy())
        return out

    worst = float(np.abs(stepper(model).step(x[:40], none[:40]) - np.stack(rival(40))).max())
    result = race(cpu(ours), cpu(rival), work=(len(many), frames), rounds=rounds)
    return row(f"{name}: a frame that came", result, "torch, carried state", worst)


def lost(name: str, model: Manifold, x: NDArray[np.float32], rounds: int) -> Row:
    """Frames of a gap of 64 after 128 frames: rolled on and decoded."""
    rust = stepper(model)
    z = model.encode(torch.from_numpy(x)[None])
    known = z[0].numpy()

    def ours() -> float:
        rust.reset()
        rust.place(known)
        began = time.process_time()
        for _ in range(16):
            rust.decode(rust.roll(GAP))
        return time.process_time() - began

    @torch.inference_mode()
    def rival() -> NDArray[np.float32]:
        made: NDArray[np.float32] = model.decode(model.rollout(z, GAP, window=HISTORY))[0].numpy()
        return made

    rust.place(known)
    worst = float(np.abs(rust.decode(rust.roll(GAP)) - rival()).max())
    result = race(ours, cpu(rival), work=(16 * GAP, GAP), rounds=rounds)
    return row(f"{name}: a lost frame", result, "torch, rollout", worst)


def first(name: str, model: Manifold, x: NDArray[np.float32], rounds: int) -> Row:
    """The first lost frame after 128 that came: the rotor looks over all of them, twice."""
    rust = stepper(model)
    rust.push(x)

    def ours() -> float:
        took = 0.0
        for frame in x:
            rust.push(frame[None])
            began = time.process_time()
            rust.roll(1)
            took += time.process_time() - began
        return took

    took = best_of(ours, work=len(x), rounds=rounds)
    return Row(
        bench="manifold",
        what=f"{name}: the first lost state after {HISTORY}",
        unit="ns/frame",
        ours=took,
        target="<= 20 us",
        met=took <= TARGET_NS,
        how=f"median of {rounds} rounds, CPU time, the call from Python with it",
    )


def longer(name: str, model: Manifold, rounds: int) -> Iterator[Row]:
    """How the cost of a lost frame grows with the states looked back on."""
    for history in HISTORIES:
        rust = stepper(model, history)
        rust.push(np.random.default_rng(1).standard_normal((history, CHANNELS)).astype(np.float32))
        rust_cpu = cpu(lambda rust=rust: rust.roll(512))  # type: ignore[misc]
        ours = best_of(rust_cpu, work=512, rounds=rounds)
        yield Row(
            bench="manifold",
            what=f"{name}: a lost state, {history} looked back on",
            unit="ns/frame",
            ours=ours,
            how=f"median of {rounds} rounds, CPU time",
            extra={"ns per state looked back on": ours / history},
        )
