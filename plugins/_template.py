"""How to add a processor: copy this file to `plugins/<name>.py` and fill it in.

1. Rust: `rust/dsp/src/<name>.rs`, shaped like `gain.rs`, and one line in `registry.rs`. Parameters,
   ranges, taps and arrays are declared there and nowhere else.
2. Python: this file. `native="…"` ties the class to the registry. The annotations are for editors
   and mypy; tests/plugins/test_registry.py tells you if they and the registry part ways.
3. One line each in `plugins/__init__.py`: the import and the entry of `__all__`.

Nothing else: OSC addresses, chain files, presets, the tables of `cspace plugins` and the
whole contract test find it by themselves.
"""

from __future__ import annotations

from ._base import NativePlugin


class Template(NativePlugin, native="gain"):  # "gain" stands for your processor's name in the registry
    """One sentence: what is heard.

    The equation and its source, what the main knobs do, and an example that runs:

    >>> from cspace.plugins import Gain
    >>> y = Gain(gain_db=-6.0)(x, sample_rate=48_000)
    """

    gain_db: float  # parameters: float, int, bool for a switch, str for a choice; arrays: Any

    # Conveniences that only make sense in Python go here, such as `Eq.response_db`.
