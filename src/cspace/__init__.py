"""CSpace: a real-time host for physically grounded and neural audio.

The house: ``cspace.realtime`` runs chains live and offline, ``cspace.plugins`` holds the processors,
``cspace.offline`` trains, ``cspace.export`` turns trained models into packages the engine runs. The
compiled core is ``cspace._native``.
"""

from ._native import __version__

__all__ = ["__version__"]
