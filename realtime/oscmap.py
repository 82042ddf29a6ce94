"""The OSC addresses there are, and which of them a message means. Thread: control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .control import Control
from .errors import near
from .oscpattern import MAX_LENGTH, Pattern, PatternError, is_pattern

Tree = dict[str, Any]  # part → Tree or Target


class Target(NamedTuple):
    """An address: of a parameter or switch of a processor, or one of the host's own."""

    address: str
    processor: str = ""
    name: str = ""


class AddressMap:
    """All addresses as a tree, made anew only when the chain's processors or their parameters change.

    Parameters
    ----------
    control : whose processors stand under /chain
    fixed : the host's own addresses
    """

    def __init__(self, control: Control, fixed: Sequence[str]):
        self._control = control
        self._fixed = list(fixed)
        self._made: tuple[list[Any], Tree] = ([], {})

    def tree(self) -> Tree:
        """The addresses of now."""
        slots = self._control.slots
        key = [x for s in slots for x in (s, s.native._params if s.native is not None else s.plugin)]
        seen, tree = self._made
        if not tree or len(seen) != len(key) or any(a is not b for a, b in zip(seen, key, strict=True)):
            tree = {}
            for slot in slots:
                names = [*slot.params(), "bypass"]
                for n in names:
                    _put(tree, Target(f"/chain/{slot.name}/{n}", slot.name, n))
            for address in self._fixed:
                _put(tree, Target(address))
            self._made = key, tree
        return tree

    def all(self) -> list[str]:
        """Every address, in the chain's order."""
        return [t.address for t in _leaves(self.tree())]

    def find(self, address: str) -> list[Target]:
        """What an address or pattern means, in the chain's order; empty if nothing does. Raises PatternError."""
        parts = address.split("/")[1:]
        if not is_pattern(address):
            node: Any = self.tree()
            for part in parts:
                node = node.get(part) if isinstance(node, dict) else None
            return [node] if isinstance(node, Target) else []
        if len(address) > MAX_LENGTH:
            raise PatternError(f"a pattern has at most {MAX_LENGTH} characters, this one {len(address)}")
        patterns = [Pattern(p) for p in parts]  # each is read, so that a malformed one never fits in part
        nodes: list[Any] = [self.tree()]
        for pattern in patterns:
            fits: dict[str, bool] = {}
            below: list[Any] = []
            for node in nodes:
                if isinstance(node, dict):
                    for name, child in node.items():
                        if name not in fits:
                            fits[name] = pattern.matches(name)
                        if fits[name]:
                            below.append(child)
            nodes = below
        return [n for n in nodes if isinstance(n, Target)]

    def near(self, address: str) -> str:
        """An address like this one, as the end of a sentence; empty if there is none."""
        node: Any = self.tree()
        for part in address.split("/")[1:]:
            if not isinstance(node, dict):
                return ""
            if part not in node:
                hint = near(part[:40], node)
                if not hint:
                    return ""
                part = hint.split("'")[1]
            node = node[part]
        return f"; did you mean {node.address!r}?" if isinstance(node, Target) else ""


def _put(tree: Tree, target: Target) -> None:
    *groups, last = target.address.split("/")[1:]
    for part in groups:
        tree = tree.setdefault(part, {})
    tree[last] = target


def _leaves(tree: Tree) -> list[Target]:
    out: list[Target] = []
    for node in tree.values():
        out += _leaves(node) if isinstance(node, dict) else [node]
    return out
