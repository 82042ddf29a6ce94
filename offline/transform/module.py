"""CSpace as a torch module: every sample of a sound as the states of a bank run forward and backward over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from ...plugins._errors import AudioError, ParameterError
from ..bank import BankSpec
from . import overlap, scan
from .checks import batch
from .kernels import Kernels

Path = Literal["fft", "recursion"]


class CSpace(nn.Module):
    """Forward and backward states of an oscillator bank at every sample.

    F[t] = λ F[t−1] + b x[t] and B[t] = λ B[t+1] + b x[t], both from rest, λ and b from `BankSpec`
    (the Rust bank's own design). Linear, without weights to train, differentiable in the sound to
    any order.

    Parameters
    ----------
    spec : which bank; the default is constant Q
    sample_rate : Hz of the sound
    path : `fft` convolves with kernels cut at `cut_db` (overlap-save); `recursion` has no cut
    cut_db : 20 to 320; no state is off by more than `cut_error` = 10^(−cut_db/20) of the sound's largest sample
    check_finite : whether NaN and Inf are looked for (on a GPU this waits for it)

    Shape
    -----
    (batch, T) -> (batch, 4 N, T): Re F (N), Im F (N), Re B (N), Im B (N). Nothing else is taken: AudioError.

    The result takes 16 N bytes per sample in float32, 590 MB for 24 s of the default bank at 24 kHz:
    use `chunks` for what is longer.

    >>> cspace = CSpace(BankSpec(oscillators=8), 24_000)
    >>> cspace(torch.randn(2, 1000)).shape
    torch.Size([2, 32, 1000])
    """

    def __init__(
        self,
        spec: BankSpec | None = None,
        sample_rate: float = 24_000,
        *,
        path: Path = "fft",
        cut_db: float = 140.0,
        check_finite: bool = True,
    ):
        super().__init__()
        if path not in ("fft", "recursion"):
            raise ParameterError(f"path is {path!r}; it is 'fft' or 'recursion'")
        self.spec = spec or BankSpec()
        self.sample_rate = float(sample_rate)
        self.path: Path = path
        self.check_finite = check_finite
        self.kernels = Kernels(self.spec, sample_rate, cut_db)
        self._spectra: dict[tuple[torch.dtype, torch.device], overlap.Spectra] = {}
        self._powers: dict[tuple[torch.dtype, torch.device], scan.Powers] = {}

    @property
    def oscillators(self) -> int:
        """N."""
        return self.spec.oscillators

    @property
    def channels(self) -> int:
        """4 N."""
        return 4 * self.spec.oscillators

    @property
    def cut_error(self) -> float:
        """Most that any state is off by the cut, as a share of the sound's largest sample; 0 for `recursion`."""
        return self.kernels.cut_error if self.path == "fft" else 0.0

    @property
    def margin_samples(self) -> int:
        """How far a kernel cut at `cut_db` reaches: what `chunks` looks ahead."""
        return self.kernels.longest - 1

    def extra_repr(self) -> str:
        """Shown by print."""
        return (
            f"{self.oscillators} oscillators, {self.spec.decay_law}, {self.sample_rate:g} Hz, "
            f"{self.path}, cut at -{self.kernels.cut_db:g} dB"
        )

    def forward(self, audio: Tensor) -> Tensor:
        """States at every sample [shape=(batch, 4 N, T)] of sounds [shape=(batch, T)], in the sound's type."""
        x = batch(audio, finite=self.check_finite)
        if torch.is_grad_enabled() and x.requires_grad:
            ahead, back = self._half(x), self._half(x.flip(-1)).flip(-1)
            return torch.cat([ahead.real, ahead.imag, back.real, back.imag], dim=1)
        out = x.new_empty(x.shape[0], self.channels, x.shape[1])
        self._fill(x, out[:, : 2 * self.oscillators])
        # The backward half is written as it comes, from the end of the sound, and turned round in place.
        behind = out[:, 2 * self.oscillators :]
        self._fill(x.flip(-1), behind)
        _reverse(behind)
        return out

    @torch.no_grad()
    def _fill(self, x: Tensor, out: Tensor, past: int = 0) -> None:
        """Writes Re and Im of the states of `x` after `past` to `out` [shape=(batch, 2 N, T)]."""
        n, frames = self.oscillators, x.shape[1] - past
        if self.path == "recursion":
            start = None
            # Pieces whose complex states stay within the workspace.
            piece = max(1024, overlap.WORKSPACE_BYTES // (x.shape[0] * n * x.element_size() * 4))
            for at in range(0, x.shape[1], piece):
                z = scan.states(x[:, at : at + piece], self._scan_powers(x), start)
                start = z[..., -1]
                skip = max(0, past - at)
                if skip < z.shape[-1]:
                    z = z[..., skip:]
                    to = at + skip - past
                    out[:, :n, to : to + z.shape[-1]] = z.real
                    out[:, n:, to : to + z.shape[-1]] = z.imag
            return
        for group in self.kernels.groups(x.shape[1]):
            to = 0
            for z in overlap.convolve(x, group, self._kernel_spectra(x), past):
                out[:, group.first : group.last, to : to + z.shape[-1]] = z.real
                out[:, n + group.first : n + group.last, to : to + z.shape[-1]] = z.imag
                to += z.shape[-1]
            assert to == frames

    def _half(self, x: Tensor) -> Tensor:
        """Complex states [shape=(batch, N, T)], for gradients."""
        if self.path == "recursion":
            return scan.states(x, self._scan_powers(x))
        spectra = self._kernel_spectra(x)
        rows = [torch.cat(overlap.convolve(x, g, spectra), dim=-1) for g in self.kernels.groups(x.shape[1])]
        return torch.cat(rows, dim=1)

    def _kernel_spectra(self, x: Tensor) -> overlap.Spectra:
        key = (x.dtype, x.device)
        if key not in self._spectra:
            self._spectra[key] = overlap.Spectra(self.kernels, *key)
        return self._spectra[key]

    def _scan_powers(self, x: Tensor) -> scan.Powers:
        key = (x.dtype, x.device)
        if key not in self._powers:
            self._powers[key] = scan.Powers(self.kernels, *key)
        return self._powers[key]

    def chunks(self, audio: Tensor | Iterable[Tensor], chunk_samples: int = 16_384) -> Iterator[tuple[int, Tensor]]:
        """The states of a sound of any length in bounded memory, without gradients.

        Reads `margin_samples` ahead for the backward half, which so is cut at `cut_db` on either
        path; the forward half of `recursion` goes on from chunk to chunk without a cut.

        Parameters
        ----------
        audio : a tensor [shape=(batch, T)], or its pieces in order [shape=(batch, t) each], as read from a file
        chunk_samples : states given at a time; at least 1

        Yields
        ------
        (start, states) : first sample of the chunk, and [shape=(batch, 4 N, up to chunk_samples)]

        Raises AudioError for pieces of another shape, or if there are no samples.

        >>> pieces = (torch.from_numpy(x)[None] for x in stream_mono("long.flac", 24_000))
        >>> for start, states in cspace.chunks(pieces):
        ...     energy += states.square().sum()
        """
        if chunk_samples < 1:
            raise ParameterError(f"chunk_samples is {chunk_samples}; at least 1 is needed")
        n, margin = self.oscillators, self.margin_samples
        if isinstance(audio, Tensor):
            audio = torch.split(batch(audio, finite=self.check_finite).detach(), chunk_samples, dim=1)
        source = iter(audio)
        held: Tensor | None = None  # from `start − past` on
        carried: Tensor | None = None
        past = start = 0
        ended = False
        while True:
            gathered = [] if held is None else [held]
            have = 0 if held is None else held.shape[1]
            while not ended and have < past + chunk_samples + margin:
                piece = next(source, None)
                if piece is None:
                    ended = True
                    break
                piece = batch(piece, "audio", at_least=0, finite=self.check_finite)
                if gathered and piece.shape[0] != gathered[0].shape[0]:
                    raise AudioError(
                        f"audio: a piece has {piece.shape[0]} sounds, those before it {gathered[0].shape[0]}; "
                        "every piece needs the same batch"
                    )
                gathered.append(piece)
                have += piece.shape[1]
            now = min(chunk_samples, have - past)
            if now <= 0 and start == 0:
                raise AudioError("audio: has no samples")
            if now <= 0:
                return
            held = torch.cat(gathered, dim=1) if len(gathered) > 1 else gathered[0]
            with torch.no_grad():
                out = held.new_empty(held.shape[0], self.channels, now)
                ahead = held[:, past : past + now + margin]
                self._fill(ahead.flip(-1), out[:, 2 * n :], ahead.shape[1] - now)
                _reverse(out[:, 2 * n :])
                if self.path == "recursion":
                    z = scan.states(held[:, past : past + now], self._scan_powers(held), carried)
                    carried = z[..., -1]
                    out[:, :n], out[:, n : 2 * n] = z.real, z.imag
                else:
                    self._fill(held[:, : past + now], out[:, : 2 * n], past)
            yield start, out
            start += now
            keep = min(margin, past + now) if self.path == "fft" else 0
            held = held[:, past + now - keep :].clone()  # a view would hold on to all that was read
            past = keep


def _reverse(x: Tensor) -> None:
    """Turns the last axis round in place, some channels at a time."""
    for some in torch.split(x, 16, dim=1):
        some.copy_(some.flip(-1))
