"""A search index over recordings: build once over a folder, then find a clip's file and sample.

Two stages. The coarse one compares compressed band energies of the Rust bank at a 20 ms hop, int8 on
disk. The exact one decodes the recordings around the best candidates and compares oscillator states
at every sample. docs/lab-index.md has the method, the format and the figures.

>>> from cspace.offline.index.build import build
>>> from cspace.offline.index.search import Searcher
>>> from cspace.offline.index.store import Index
>>> build("recordings", "recordings.index")
>>> answer = Searcher(Index("recordings.index")).query(clip)  # mono float32 at the index's rate
>>> answer.found, answer.matches[0].path, answer.matches[0].sample
"""
