"""The manifold stepped by Rust: equal to torch for every kind of dynamics, in blocks of any size."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from cspace import _native

torch = pytest.importorskip("torch")

from cspace.offline.manifold.data import Source  # noqa: E402
from cspace.offline.manifold.model import Manifold, unit  # noqa: E402
from cspace.offline.manifold.spec import DataSpec, ModelSpec  # noqa: E402

SMALL = {"channels": 4, "width": 8, "layers": 2, "latent": 7, "decoder_width": 8, "memory_taps": 5}
FULL = {"channels": 64, "memory_taps": 64}
#: Every kind of dynamics, with each of its switches the other way somewhere.
VARIANTS: dict[str, dict[str, Any]] = {
    "identity": {"dynamics": "identity"},
    "residual": {"dynamics": "residual"},
    "residual, off the sphere": {"dynamics": "residual", "space": "euclid"},
    "memory, free": {"dynamics": "memory", "memory": "free"},
    "memory, fractional": {"dynamics": "memory", "memory": "fractional"},
    "memory, off the sphere": {"dynamics": "memory", "space": "euclid", "memory": "both"},
    "sakaguchi": {"dynamics": "kuramoto"},
    "sakaguchi, not divided": {"dynamics": "kuramoto", "divide_by_count": False},
    "kuramoto": {"dynamics": "kuramoto", "attention": "kuramoto"},
    "kuramoto, not divided": {"dynamics": "kuramoto", "attention": "kuramoto", "divide_by_count": False},
    "full": {"dynamics": "full"},
    "full, kuramoto, 3 substeps": {"dynamics": "full", "attention": "kuramoto", "substeps": 3},
    "full, original encoder, turned": {"encoder": "original", "rotation": "static"},
    "full, sampled, linear decoder": {"space": "sampled", "decoder_width": 0},
    "linear encoder": {"layers": 0, "decoder_width": 0},
    "rotor": {"dynamics": "rotor", "latent": 8},
    "rotor of 21": {"dynamics": "rotor", "latent": 21},
    "as trained": {**FULL, "latent": 21, "width": 64, "layers": 6, "decoder_width": 128},
    "rotor as trained": {**FULL, "dynamics": "rotor", "latent": 8, "width": 64, "layers": 0, "decoder_width": 0},
}
every = pytest.mark.parametrize("variant", VARIANTS)


def made(variant: str) -> Manifold:
    """A model whose zero-initialised layers are not zero, so that they take part."""
    torch.manual_seed(3)
    model = Manifold(ModelSpec.model_validate({**SMALL, **VARIANTS[variant]}))
    # Where the force grows with the past, or nothing holds a state back, larger weights make a rollout chaotic:
    # then torch in float32 and in float64 part ways as well.
    wild = model.spec.space == "euclid" or not model.spec.divide_by_count
    size = 0.02 if wild or model.spec.width == 64 else 0.2
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(size * torch.randn_like(p))
    return model.eval()


def stepper(model: Manifold, history_frames: int = 128) -> _native.ManifoldStepper:
    tensors = {k: v.detach().numpy() for k, v in model.state_dict().items()}
    return _native.ManifoldStepper(model.spec.model_dump(), tensors, history_frames)


def tones(channels: int, length: int) -> np.ndarray:
    batch = Source(DataSpec(kind="random", channels=channels, length=length)).batch(1, 5)
    return np.ascontiguousarray(batch.noisy[0].numpy())


def apart(a: np.ndarray, b: torch.Tensor) -> float:
    return float(np.abs(a - b.numpy()).max())


@every
@torch.no_grad()
def test_states_the_next_of_each_and_frames_equal_torchs_whole_pass(variant: str) -> None:
    model = made(variant)
    x = tones(model.spec.channels, 60)
    passed = model(torch.from_numpy(x)[None])
    rust = stepper(model)
    ahead = []
    for t in range(len(x)):
        z = rust.push(x[t : t + 1])
        # Rust's sums against torch's, float32: up to 300 values an entry and ten layers, states of size 1: 4e-7 seen.
        # What follows is a step, or 48 of them, on: a tenth as sharp, 5e-6 seen.
        assert apart(z[0], passed.mean[0, t]) < 1e-5
        ahead.append(rust.ahead()[0])
    assert apart(np.stack(ahead), passed.ahead[0]) < 1e-4
    assert apart(rust.decode(np.stack(ahead)), passed.prediction[0]) < 1e-4


@every
@pytest.mark.parametrize("window", [16, 128])
@torch.no_grad()
def test_a_rollout_equals_torchs_also_beyond_its_window(variant: str, window: int) -> None:
    model = made(variant)
    z = model.encode(torch.from_numpy(tones(model.spec.channels, 40)))[:, -window:]
    rust = stepper(model, window)
    rust.place(z[0].numpy())
    assert apart(rust.roll(48), model.rollout(z, 48, window=window)[0]) < 1e-4


@every
def test_blocks_and_a_reset_change_no_bit(variant: str) -> None:
    model = made(variant)
    rust = stepper(model, 24)
    x = tones(model.spec.channels, 70)
    lost = np.zeros(70, bool)
    lost[[3, 30, 31, 32, 33, 34, 50, 69]] = True
    whole = rust.step(x, lost)
    rust.reset()
    cuts = [0, 1, 2, 9, 31, 33, 64, 70]
    parts = [rust.step(x[a:b], lost[a:b]) for a, b in itertools.pairwise(cuts)]
    assert np.array_equal(np.concatenate(parts), whole)


@every
@torch.no_grad()
def test_a_stream_with_lost_frames_is_torchs_loop(variant: str) -> None:
    model = made(variant)
    x, window = tones(model.spec.channels, 80), 32
    lost = np.zeros(80, bool)
    lost[[0, 1, 20, 40, 41, 42, 43, 44, 45, 60, 62]] = True
    heard, past, out = torch.zeros(0, x.shape[1]), torch.zeros(1, 0, model.spec.latent), []
    for t in range(len(x)):
        if not lost[t]:
            heard = torch.cat([heard, torch.from_numpy(x[t : t + 1])])
            z = model.encode(heard)[:, -1:]
        elif past.shape[1] == 0:
            out.append(torch.zeros(x.shape[1]))
            continue
        else:
            # All states of this gap from what came before it, and the last of them.
            gap = 1
            while lost[t - gap]:
                gap += 1
            before = past[:, : past.shape[1] - gap + 1]
            z = model.rollout(before if model.spec.dynamics == "residual" else before[:, -window:], gap, window=window)
            z = z[:, -1:]
            heard = torch.cat([heard, model.decode(z)[0]])
        past = torch.cat([past, z], 1)
        out.append(model.decode(z)[0, 0])
    assert apart(stepper(model, window).step(x, lost), torch.stack(out)) < 1e-4


def test_the_sphere_is_kept_from_python_too() -> None:
    rust = stepper(made("as trained"))
    rust.push(tones(64, 128))
    norm = np.linalg.norm(rust.roll(5000).astype(np.float64), axis=1)
    assert np.abs(norm - 1.0).max() <= 1e-5


def test_what_does_not_fit_is_named() -> None:
    model = made("full")
    spec, tensors = model.spec.model_dump(), {k: v.detach().numpy() for k, v in model.state_dict().items()}

    def error(**change: Any) -> str:
        with pytest.raises(ValueError, match=r"\S") as e:
            _native.ManifoldStepper({**spec, **change}, tensors)
        return str(e.value)

    assert error(rotation="mean") == (
        'rotation is "mean", which is known after 16 frames only; one frame at a time goes with none or static'
    )
    assert error(dynamics="fall").startswith('dynamics is "fall"; it can be identity, residual')
    assert error(latent="x") == "latent is x, which it cannot be"
    assert error(latent=9).startswith("tensor encoder.outlet.weight has the shape [7, 8, 1]; [9, 8, 1] is needed")
    with pytest.raises(ValueError, match="the spec has no space"):
        _native.ManifoldStepper({k: v for k, v in spec.items() if k != "space"}, tensors)
    with pytest.raises(ValueError, match=r"tensor dynamics\.mix is no float32 array"):
        _native.ManifoldStepper(spec, {**tensors, "dynamics.mix": tensors["dynamics.mix"].astype(np.float64)})
    rust = stepper(model)
    bad = tones(4, 8)
    bad[5, 2] = np.nan
    with pytest.raises(ValueError, match="frame 5: value 2 is NaN or Inf"):
        rust.push(bad)
    with pytest.raises(ValueError, match=r"shape \(8, 3\) came; \(count, 4\) is needed"):
        rust.push(bad[:, :3])
    with pytest.raises(ValueError, match="3 flags of lost frames for 8 frames"):
        rust.step(bad, np.zeros(3, bool))
    rust.reset()
    with pytest.raises(ValueError, match="nothing was heard yet"):
        rust.roll(1)
    light = _native.ManifoldStepper(
        made("rotor").spec.model_dump(),
        {k: v.detach().numpy() for k, v in made("rotor").state_dict().items()},
        predicts=False,
    )
    light.push(tones(4, 8))
    with pytest.raises(ValueError, match="set predicts"):
        light.ahead()
    assert unit(torch.zeros(1, 3)).tolist() == [[1.0, 0.0, 0.0]]


@every
@torch.no_grad()
def test_the_module_for_onnx_is_the_same_stream(variant: str) -> None:
    from cspace.offline.manifold.streams import Live

    model = made(variant)
    x, window = tones(model.spec.channels, 70), 32
    lost = np.zeros(70, bool)
    lost[[0, 1, 5, 20, 40, 41, 42, 43, 44, 45, 60, 62]] = True
    live = Live(model, window)
    states, out = [torch.zeros(s) for s in live.states.values()], []
    for t in range(len(x)):
        y, *states = live(torch.from_numpy(x[None, None, t]), *states, torch.tensor([float(lost[t])]))
        assert [tuple(s.shape) for s in states] == list(live.states.values())
        out.append(y[0, 0])
    assert apart(stepper(model, window).step(x, lost), torch.stack(out)) < 1e-4
