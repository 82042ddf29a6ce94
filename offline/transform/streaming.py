"""Both halves of CSpace for sound that is still coming in, at a known latency. No torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...plugins._errors import AudioError, ParameterError
from ..bank import BankSpec

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

#: Memory that the look-ahead may take.
MOST_BYTES = 512 * 1024**2


class StreamingCSpace:
    """Forward states of the Rust bank, and backward states over a bounded look-ahead, sample by sample.

    The backward half of `CSpace` needs the whole future; here it sees `lookahead_ms` of it, and
    everything comes that late. The part not seen is λ^W B[n + W], W being the window in samples: each
    oscillator's error is its own later state faded by exp(−decay W), `truncation_db` below itself.

    Memory is bounded (16 bytes per oscillator and sample of look-ahead, and the rows of one call) and
    the rows are the same bits for any block sizes. A call in which W samples have gone by since the
    last such call costs a run of the bank over W samples more than others.

    Parameters
    ----------
    spec : which bank
    sample_rate : Hz of the sound
    lookahead_ms : 0 or more; rounded to whole samples, `latency_samples`
    hop : a row for every so many samples

    >>> live = StreamingCSpace(BankSpec(), 48_000, lookahead_ms=50.0)
    >>> rows = live.process(block)  # those of the samples 50 ms ago
    """

    def __init__(
        self, spec: BankSpec | None = None, sample_rate: float = 24_000, *, lookahead_ms: float = 50.0, hop: int = 1
    ):
        self.spec = spec or BankSpec()
        self.sample_rate = float(sample_rate)
        if not (np.isfinite(lookahead_ms) and lookahead_ms >= 0.0):
            raise ParameterError(f"lookahead_ms is {lookahead_ms}; 0 ms or more is needed")
        if hop < 1:
            raise ParameterError(f"hop is {hop}; 1 sample or more is needed")
        self._samples = round(lookahead_ms * self.sample_rate / 1000.0)
        most = MOST_BYTES // (16 * self.spec.oscillators)
        if self._samples > most:
            raise ParameterError(
                f"lookahead_ms is {lookahead_ms:g}; at most {most / self.sample_rate * 1000:.0f} ms can be kept for "
                f"{self.spec.oscillators} oscillators at {self.sample_rate:g} Hz"
            )
        self._decay, angle = self.spec.poles(sample_rate)
        self._bank = _native.LookaheadBank(self._decay, angle, self._samples, hop)

    @property
    def latency_samples(self) -> int:
        """Samples between a sample and its row: the look-ahead."""
        return self._samples

    @property
    def hop(self) -> int:
        """Every how many samples there is a row."""
        return self._bank.hop

    @property
    def truncation_db(self) -> F64:
        """Level of each backward state's error against that state, for a steady sound [shape=(oscillators,)]."""
        db: F64 = -20.0 / np.log(10.0) * self._decay * (self._samples + 1)
        return db

    def process(self, audio: F32) -> F32:
        """The rows that these samples complete.

        Parameters
        ----------
        audio : float32 [shape=(samples,)], mono, any number of samples

        Returns
        -------
        rows : [shape=(frames, 4 N)]: Re F, Im F, Re B, Im B of samples 0, hop, 2 hop … since the start;
            the first comes when `latency_samples` have gone by after it

        Raises AudioError for other shapes, NaN and Inf; the states are then as before the call.
        """
        x = np.asarray(audio)
        if x.ndim != 1:
            raise AudioError(f"audio has shape {x.shape}; one channel, shape (samples,), is needed")
        if x.dtype.kind != "f":
            raise AudioError(f"audio holds {x.dtype}; float32 is needed")
        x = np.ascontiguousarray(x, np.float32)
        bad = int(np.count_nonzero(~np.isfinite(x)))
        if bad:
            raise AudioError(f"{bad} of {len(x)} samples are NaN or Inf")
        return self._bank.process(x)

    def finish(self) -> F32:
        """The rows still due [shape=(frames, 4 N)], as if silence followed; then back to rest.

        With these, there is a row for every `hop`th sample given since the start.
        """
        rows = self._bank.process(np.zeros(self._samples, np.float32))
        self._bank.reset()
        return rows

    def reset(self) -> None:
        """Back to rest."""
        self._bank.reset()
