"""The text of `docs/theory.md`; `cspace lab theory` fills in the figures."""

PAGE = """# What is shown about CSpace, and what is only claimed

Made by `cspace lab theory --page docs/theory.md --force`; the figures are computed when the page is made.
Symbols: λ = r e^(jθ) is the pole of an oscillator, b = 1 − r its input gain, x the sound.

## Shown

**1. The recursion is the kernel.** F[t] = λ F[t−1] + b x[t] from rest gives, put into itself,
F[t] = Σₙ b λⁿ x[t−n]: exactly the convolution with the endless kernel. A kernel cut at K samples leaves
out Σ_(n≥K) b rⁿ |x| ≤ r^K max|x|, since b Σ_(n≥K) rⁿ = r^K. The original's kernel, divided by its own sum,
is the same with b / (1 − r^K). {kernel}

**2. States are bounded by the sound.** |F[t]| ≤ b Σ rⁿ max|x| = max|x|. {bounded}
So a run that begins R samples late differs by at most r^R max|x| from then on: short excerpts can be
analysed on their own (the slowest oscillator of this bank rings for {ring_ms} ms to −60 dB).

**3. Given the state before, states and sound are one and the same.** x[t] = (F[t] − λ F[t−1]) / b, for any
one oscillator: no two sounds have the same states over time. {inverse}
The price is noise: errors are multiplied by up to 2/b. From float32 states of the slowest oscillator
(b = {slowest_b}) samples come back within {inverse_float32} of the loudest.
This is why searching a recording for one of its own vectors must succeed and says nothing (defect 1). It
does *not* make one vector S[t] unique: 4 N numbers cannot hold all of a past and a future.

**4. The squared state distance is a filtered waveform distance.** For a difference e that has rung out,
by Parseval Σₜ Σₖ |ΔF|² + |ΔB|² = mean over ω of |E(ω)|² W(ω), with W(ω) = Σₖ |Hₖ(ω)|² + |Hₖ(−ω)|².
{parseval}
A bank, however many oscillators it has, acts on this distance as one equaliser. What makes it differ from
the plain waveform distance is the shape of W and nothing else; the phase of E does not enter. A cut
window adds an edge term. Distances that are not sums of squares (L1, magnitudes) are outside of this.

**5. What leaves it unchanged, and what does not.** A delay of the sound delays the states and changes
nothing else. {shift}
Nothing else is invariant. Gain: the distance to a copy g times as loud is |g − 1| ‖S‖. {gain}
A copy 6 dB louder is as far away as silence. Polarity: −x is twice as far away as silence. A phase shift
by φ of everything: 2 |sin(φ/2)| ‖S‖. Added noise n adds its own filtered energy, mean of |N|² W. A small
delay s is no small change either: see 6. A level-normalised form removes gain only.

**6. How far the gradient points home.** For e = x(t+s) − x(t) in an endless window, with weighted power
P(ω) = |X|² W, D²(s) = 2 Σ P (1 − cos ωs) and dD²/ds = 2 Σ P ω sin ωs. While s is below half the period of
the highest frequency with power, every term has the sign of s: the direction is right for certain.
{half_period}
For one tone the half period is also the end. In general the bound is only sufficient: the direction
stays right as long as the strong terms, weighted by ω, agree. So W decides: weight on low frequencies
widens the basin, and any bank without it has the basin of the waveform (4). Low frequencies cost: the
minimum becomes flat (curvature 2 Σ P ω²) and low noise counts more.

**7. There is no convex bowl.** The curvature 2 Σ P ω² cos ωs is negative for a tone past a quarter period,
and D² comes back down after a half. {not_convex}

**8. The echo state network is bounded, whatever its radius.** s is a mean of its old value and a tanh, so
it stays within ±1. {esn_bounded}

**9. When it surely forgets.** tanh has slope at most 1, so two runs of one sound obey
‖Δs′‖∞ ≤ max_i [(1 − aᵢ) + aᵢ Σⱼ |Wᵢⱼ|] ‖Δs‖∞: with every row sum below 1 they approach each other.
{esn_contraction}
A spectral radius below 1 is less than that. It decides for small states without input; under sound it is
neither needed nor enough in general.

## Measured, not shown

- That float32 states do not drift from float64 over hours: `cspace lab drift`. Rounding is forgotten
  like anything else, which makes it plausible; the size is measured.
- That the network forgets at radius 0.99, and how fast: measured for the sounds tried.
- How far gradients point home on real sound, with noise: `cspace lab landscape`, docs/lab-landscape.md.
- Recall of search on changed copies, and what int8 does to it: `cspace lab search`, `robustness`, `quantize`.

## Only claimed

- That distance in state space is distance to the ear. Nothing here tests hearing. By 4 and 5 it is a
  filtered waveform distance, which the ear is known not to follow: it barely hears delay, polarity and
  slow phase.
- That a codec trained on states alone sounds better than one trained on spectra.
- That 64 oscillators, or any number, are needed: by 4 a distance of squares needs one filter.
"""
