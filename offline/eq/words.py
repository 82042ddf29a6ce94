"""What a word stands for in settings: its mean curve, shrunk where few people used it, as a latent.

A mean of settings or latents blurs opposite ways to one sound; the mean of curves does not depend
on which bands made them. So a word is the latent whose decoded curve comes closest to the word's
mean curve. The mean of a word with n settings is pulled to the mean of its family with the weight
of `PULL` settings; the pull is written beside the word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ...plugins._adaptive.curve import F64, grid, response_db
from ...plugins._adaptive.spectrum import centers
from . import vae as vae_module
from .data import Settings
from .torchcurve import response_db as torch_response_db
from .torchcurve import unit_to_domain
from .vae import EqVae

PULL = 4.0
FEWEST = 3  # settings below which a word is not learnt at all
FAMILIES: dict[str, tuple[str, ...]] = {
    "warm and full": ("warm", "full", "bass", "deep", "boomy", "thick", "fat", "sub", "low", "body", "thump", "power"),
    "bright and clear": (
        *("bright", "clear", "airy", "crisp", "presence", "sharp", "sparkling", "clean", "cutting", "bite", "clicky"),
        *("tight", "snappy", "punchy", "aggressive"),
    ),
    "thin and hard": ("thin", "tinny", "harsh", "radio", "phone", "fizzy", "shrill", "twangy", "nasal"),
    "dark and muddy": ("muddy", "dark", "dull", "smooth", "soft", "tender", "muffled"),
    "hollow and boxy": ("boxy", "hollow", "honky", "mid"),
}
FAMILY = {word: family for family, members in FAMILIES.items() for word in members}


@dataclass(frozen=True)
class LearntWord:
    """A word as it goes into the model."""

    name: str
    z: F64
    curve_db: F64
    spread_db: F64
    count: int
    family: str
    agreement: float


def learn(model: EqVae, settings: Settings, bands: int) -> list[LearntWord]:
    """The words of the curated families with at least `FEWEST` settings, most frequent first."""
    freqs = centers(bands)
    curves = response_db(settings.values, freqs)
    latents = vae_module.encode(model, settings.values)
    counts = settings.counts()
    members = {w: np.array([w in words for words in settings.words]) for w in FAMILY if counts[w] >= FEWEST}
    names = sorted(members, key=lambda w: (-counts[w], w))
    if not names:
        return []
    raw = {w: curves[members[w]].mean(axis=0) for w in names}
    targets, starts = [], []
    for w in names:
        kin = [raw[k] for k in names if FAMILY[k] == FAMILY[w] and k != w]
        n = counts[w]
        pulled = (n * raw[w] + PULL * np.mean(kin, axis=0)) / (n + PULL) if kin else raw[w]
        targets.append(pulled)
        starts.append(latents[members[w]].mean(axis=0))
    z = _closest(model, np.array(targets), np.array(starts), freqs)
    decoded = response_db(vae_module.decode(model, z), freqs)
    out = []
    for i, w in enumerate(names):
        mine = curves[members[w]]
        spread = np.sqrt(np.mean((mine - raw[w]) ** 2, axis=0))
        size = np.linalg.norm(mine, axis=1) * np.linalg.norm(targets[i])
        cosine = (mine @ targets[i]) / np.maximum(size, 1e-9)
        out.append(LearntWord(w, z[i], decoded[i], spread, counts[w], FAMILY[w], float(cosine.mean())))
    return out


def _closest(model: EqVae, curves: F64, starts: F64, freqs_hz: F64, steps: int = 500) -> F64:
    """Latents whose decoded curves are near to these, set out from `starts`."""
    z = torch.from_numpy(starts).float().requires_grad_(True)
    home, target, freqs = z.detach().clone(), torch.from_numpy(curves), torch.from_numpy(freqs_hz)
    optimiser = torch.optim.Adam([z], lr=0.02)
    for _ in range(steps):
        wrong = torch_response_db(unit_to_domain(model.decode(z)), freqs) - target
        loss = (wrong**2).mean() + 1e-3 * ((z - home) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return z.detach().double().numpy()


# ---- can a word be told from a setting? ------------------------------------------------------


def balanced_accuracy(train: Settings, test: Settings, features: tuple[F64, F64], words: list[str]) -> dict[str, float]:
    """Share of held-out settings whose word is named, averaged over the words, so that none outweighs the rest.

    Two ways that know the training half only: the word whose mean curve has the highest cosine, and a
    balanced logistic regression on `features` (of train and test). A setting with several words counts
    for the rarest, and is right with any of its own.
    """
    freqs = grid(96)
    known = response_db(train.values, freqs)
    asked = response_db(test.values, freqs)
    rank = {w: i for i, w in enumerate(words)}
    mine = [[w for w in ws if w in rank] for ws in test.words]
    label = [max(ws, key=lambda w: rank[w]) if ws else None for ws in mine]
    means = np.array([known[[w in ws for ws in train.words]].mean(axis=0) for w in words])
    cosine = (asked @ means.T) / np.maximum(
        np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(means, axis=1)[None], 1e-9
    )
    by_curve = np.argmax(cosine, axis=1)
    by_latent = _logistic(train, features, words)

    def score(picked: NDArray[np.intp]) -> float:
        per_word = []
        for w in words:
            rows = [i for i, lab in enumerate(label) if lab == w]
            if rows:
                per_word.append(np.mean([words[picked[i]] in mine[i] for i in rows]))
        return float(np.mean(per_word))

    return {
        "nearest mean curve": score(by_curve),
        "logistic on latents": score(by_latent),
        "chance": 1.0 / len(words),
        "words": float(len(words)),
        "settings": float(sum(lab is not None for lab in label)),
    }


def _logistic(train: Settings, features: tuple[F64, F64], words: list[str]) -> NDArray[np.intp]:
    rank = {w: i for i, w in enumerate(words)}
    rows, labels = [], []
    for i, ws in enumerate(train.words):
        found = [rank[w] for w in ws if w in rank]
        if found:
            rows.append(i)
            labels.append(max(found))
    mean, scale = features[0][rows].mean(axis=0), features[0][rows].std(axis=0) + 1e-6
    x = torch.from_numpy((features[0][rows] - mean) / scale).float()
    y = torch.tensor(labels)
    weight = 1.0 / torch.bincount(y, minlength=len(words)).clamp(min=1).float()
    layer = torch.nn.Linear(x.shape[1], len(words))
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(layer(x), y, weight=weight) + 3e-3 * (layer.weight**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return np.asarray(layer(torch.from_numpy((features[1] - mean) / scale).float()).argmax(dim=1).numpy())
