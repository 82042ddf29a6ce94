"""Step `latents`: each utterance through the encoder, into the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from ...plugins._errors import FileError
from .config import EncoderSettings, Phase0Config, fingerprint
from .data import Utterance
from .encoders import Encoder, make
from .splits import Splits
from .store import Entry, LatentStore, check_rate
from .work import Workers, chunks


def extract(
    config: Phase0Config,
    utterances: list[Utterance],
    splits: Splits,
    folder: Path,
    workers: Workers,
    done: Callable[[int, int], None],
    *,
    force: bool = False,
) -> LatentStore:
    """Fills the store; utterances that are there are kept. `done` gets how many of how many are finished.

    Raises FileError for a store of another encoder (unless forced), AudioError and FileError for utterances.
    """
    if force and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    encoder = make(config.encoder, folder)
    train = set(splits.train_utterances)
    if encoder.needs_fit:
        encoder = _fitted(config, [u for u in utterances if u.utterance_id in train], folder, encoder)
    store = LatentStore.create(folder, encoder.info)
    text = config.encoder.model_dump_json()
    token = encoder.info.fingerprint + (fingerprint([u.utterance_id for u in utterances]) if encoder.needs_fit else "")
    entries: list[Entry] = []
    for made in workers.map(_extract, chunks(utterances, 4), text, str(folder), token):
        entries += made
        done(len(entries), len(utterances))
    store.finish(entries)
    return LatentStore.open(folder)


def _fitted(config: Phase0Config, train: list[Utterance], folder: Path, encoder: Encoder) -> Encoder:
    """Fits the encoder to the training utterances, once; a fit to others is refused."""
    from .encoders.logmel import fitted_utterances

    wanted = fingerprint([u.utterance_id for u in train])
    found = fitted_utterances(folder)
    if found is None:
        encoder.fit(train, lambda: None)
    elif found != wanted:
        raise FileError(
            f"{folder}: the encoder was fitted to other training utterances; give another folder, or --force"
        )
    return make(config.encoder, folder)


@lru_cache(maxsize=2)
def _encoder(settings: str, folder: str, token: str) -> Encoder:
    """Made once in each process for what `token` stands for."""
    return make(EncoderSettings.model_validate_json(settings), Path(folder))


def _extract(utterances: list[Utterance], settings: str, folder: str, token: str) -> list[Entry]:
    """Thread: any worker's. Writes what is missing and reads back the rest."""
    encoder = _encoder(settings, folder, token)
    store = LatentStore(folder, encoder.info)
    entries = []
    for u in utterances:
        latents = store.read(u.utterance_id) if store.has(u.utterance_id) else encoder.latents(u)
        check_rate(u.utterance_id, len(latents.x), u.duration_sec, encoder.info)
        if not store.has(u.utterance_id):
            store.write(u.utterance_id, latents)
        entries.append(Entry(u.utterance_id, u.speaker_id, len(latents.x), u.duration_sec, u.audio_path))
    return entries
