r"""Address patterns of OSC 1.0, part by part.

    ?           any one character
    *           any characters, also none
    [abc]       one of these; [a-f] a range, [!abc] and [!a-f] none of these
    {gain,eq}   one of these words

No pattern reaches over a `/`. All positions of a name that a pattern can have come to are kept as the
bits of one number, so that the time taken grows with the pattern's length and never with the ways
there are to read it. Thread: control.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_LENGTH = 255  # characters of an address with a pattern in it
_SPECIAL = frozenset("*?[]{}")
_Step = Callable[[dict[str, int], int, int], int]  # where each character stands, all bits, bits so far → bits after


class PatternError(ValueError):
    """Not an OSC pattern; the message says why. It fits nothing."""


def is_pattern(text: str) -> bool:
    """Whether `text` holds any character that makes a pattern."""
    return not _SPECIAL.isdisjoint(text)


class Pattern:
    """One part of an address pattern. Raises PatternError."""

    def __init__(self, text: str):
        self._steps: list[_Step] = []
        at = 0
        while at < len(text):
            step, at = _read(text, at)
            if step is not _star or not self._steps or self._steps[-1] is not _star:
                self._steps.append(step)

    def matches(self, name: str) -> bool:
        """Whether the whole of `name` fits."""
        places: dict[str, int] = {}
        for i, c in enumerate(name):
            places[c] = places.get(c, 0) | 1 << i
        full = (1 << len(name) + 1) - 1
        reached = 1
        for step in self._steps:
            reached = step(places, full, reached)
            if not reached:
                return False
        return bool(reached >> len(name))


def _read(text: str, at: int) -> tuple[_Step, int]:
    """The step at `at`, and where the next one begins."""
    c = text[at]
    if c == "*":
        return _star, at + 1
    if c == "?":
        return _any, at + 1
    if c == "[":
        end = text.find("]", at + 1)
        if end < 0:
            raise PatternError("a '[' has no ']'")
        return _one_of(text[at + 1 : end]), end + 1
    if c == "{":
        end = text.find("}", at + 1)
        if end < 0:
            raise PatternError("a '{' has no '}'")
        words = text[at + 1 : end]
        if is_pattern(words):
            raise PatternError("between '{' and '}' stand words, no patterns")
        return _words(words.split(",")), end + 1
    if c in "]}":
        raise PatternError("a ']' has no '['" if c == "]" else "a '}' has no '{'")
    return _words([c]), at + 1


def _star(places: dict[str, int], full: int, reached: int) -> int:
    return full & ~((reached & -reached) - 1)  # from the first place on, all


def _any(places: dict[str, int], full: int, reached: int) -> int:
    return reached << 1 & full


def _words(words: list[str]) -> _Step:
    def step(places: dict[str, int], full: int, reached: int) -> int:
        out = 0
        for word in words:
            bits = reached
            for c in word:
                bits = (bits & places.get(c, 0)) << 1
                if not bits:
                    break
            out |= bits
        return out

    return step


def _one_of(text: str) -> _Step:
    inverted = text.startswith("!")
    inside = text[1:] if inverted else text
    if not inside:
        raise PatternError("between '[' and ']' stands no character")
    if not set(inside).isdisjoint("[{}*?"):
        raise PatternError("between '[' and ']' stand characters and ranges, no patterns")
    chars: set[str] = set()
    i = 0
    while i < len(inside):
        if inside[i + 1 : i + 2] == "-" and i + 2 < len(inside):
            first, last = inside[i], inside[i + 2]
            if first > last:
                raise PatternError(f"the range {first}-{last} runs backwards")
            chars.update(map(chr, range(ord(first), ord(last) + 1)))
            i += 3
        else:
            chars.add(inside[i])
            i += 1

    def step(places: dict[str, int], full: int, reached: int) -> int:
        fit = 0
        for c, bits in places.items():
            if (c in chars) is not inverted:
                fit |= bits
        return (reached & fit) << 1

    return step
