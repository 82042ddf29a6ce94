"""Address patterns of OSC 1.0, against regular expressions and through a handler."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cspace.plugins import Eq, Gain
from cspace.realtime.chain import Chain
from cspace.realtime.oscpattern import MAX_LENGTH, Pattern, PatternError
from tests.realtime.osctools import Ear, f32, i32, msg


@pytest.mark.parametrize(
    ("pattern", "fits", "not_"),
    [
        ("gain", ["gain"], ["gain2", "gai", ""]),
        ("gain?", ["gain2", "gainx"], ["gain", "gain22"]),
        ("gain*", ["gain", "gain2", "gain_db"], ["again"]),
        ("*", ["", "anything"], []),
        ("*a*b*", ["ab", "xaxbx", "aab"], ["ba", "b"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[!a-c]x", ["dx", "!x", "-x"], ["ax", "x"]),
        ("[a!]x", ["ax", "!x"], ["bx"]),  # '!' has a meaning in the first place only
        ("[ab-]x", ["-x", "ax"], ["cx"]),  # '-' has none in the last
        ("[-a]x", ["-x", "ax"], ["bx"]),
        ("{gain,eq}", ["gain", "eq"], ["gaineq", "e"]),
        ("gain{,2}", ["gain", "gain2"], ["gain3"]),
        ("g{ain,x}{2,3}", ["gain2", "gx3"], ["gain", "gain4"]),
        ("{a,ab}{c,bc}", ["ac", "abc", "abbc"], ["abb"]),
        ("ga{in,xx}_d{b,c}", ["gain_db", "gaxx_dc"], ["gain_dd"]),
    ],
)
def test_patterns(pattern: str, fits: list[str], not_: list[str]) -> None:
    p = Pattern(pattern)
    assert [n for n in fits + not_ if p.matches(n)] == fits


@pytest.mark.parametrize(
    "pattern", ["{gain", "gain}", "[ab", "ab]", "[]", "[!]", "{a,{b}}", "{a*}", "[a[b]", "[z-a]", "}{", "a{b,c", "[a*]"]
)
def test_malformed(pattern: str) -> None:
    with pytest.raises(PatternError):
        Pattern(pattern)


_part = st.one_of(
    st.sampled_from(["*", "?", "a", "b", "[ab]", "[!a]", "[a-c]", "{a,bb}", "{,ab}", "{b,a,c}"]).map(lambda s: s),
)


def _regex(pattern: str) -> str:
    """The same as a regular expression."""
    out = re.sub(r"\{([^}]*)\}", lambda m: "(?:" + m[1].replace(",", "|") + ")", pattern)
    return out.replace("[!", "[^").replace("*", ".*").replace("?", ".").replace("(.:", "(?:")


@given(st.lists(_part, max_size=6).map("".join), st.text("abcd", max_size=8))
@settings(max_examples=500, deadline=None)
def test_as_regular_expressions_match(pattern: str, name: str) -> None:
    assert Pattern(pattern).matches(name) == bool(re.fullmatch(_regex(pattern), name))


@pytest.mark.parametrize("piece", ["*a", "{a,aa}", "*?", "[ab]*", "{a,a,a,a}*", "*{a,b}"])
def test_no_pattern_takes_long(piece: str) -> None:
    """Each has exponentially many ways to be read: trying them would outlast the suite."""
    pattern = piece * (MAX_LENGTH // len(piece)) + "c"
    assert not Pattern(pattern).matches("a" * 200 + "b")


# ---- through a handler -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "moved"),
    [
        ("/chain/gain/ga{in,xx}_d{b,c}", ["gain"]),
        ("/chain/g{ain,x}{2,3}/gain_db", ["gain2"]),
        ("/*/gain/gain_db", ["gain"]),
        ("/{chain,x}/gain?/gain_db", ["gain2"]),
        ("/ch[a]in/*/g?in_db", ["gain", "gain2"]),
        ("/ch*/gain{,2}/[a-z]*_db", ["gain", "gain2"]),
        ("/?????/[!e]*/*", []),  # bypass is among them, and -9 is no switch
    ],
)
def test_patterns_in_any_part(address: str, moved: list[str]) -> None:
    chain = Chain([Eq(), Gain(), Gain()])
    replies = Ear(chain).say(msg(address, "f", f32(-9.0)))
    assert [n for n in ("gain", "gain2") if chain[n].gain_db == -9.0] == moved
    assert [r[0] for r in replies] == ([] if moved else ["/error"])


@pytest.mark.parametrize("address", ["/byp*", "/{bypass,x}", "/[a-c]ypass", "/b?????"])
def test_patterns_of_the_hosts_own_addresses(address: str) -> None:
    ear = Ear(Chain([Gain()]))
    assert ear.say(msg(address, "i", i32(1))) == []
    assert ear.control.all_bypassed
    assert ear.say(msg(address, "i", i32(0))) == []
    assert not ear.control.all_bypassed
    assert ear.say(msg("/p[!a]ng", "i", i32(5))) == [("/pong", [5])]


def test_patterns_of_presets_and_panic(tmp_path) -> None:  # type: ignore[no-untyped-def]
    panics = []

    class Engine:
        def panic(self) -> None:
            panics.append(1)

    chain = Chain([Gain(gain_db=-5.0)])
    ear = Ear(chain, presets=tmp_path / "presets")
    ear.control._engine = Engine  # type: ignore[assignment]
    assert ear.say(msg("/pres?t/{save,x}", "s", b"one\0")) == []
    chain["gain"].gain_db = 0.0
    assert ear.say(msg("/*/l[a-o]ad", "s", b"one\0")) == []
    assert chain["gain"].gain_db == -5.0
    assert ear.say(msg("/pan*")) == []
    assert panics == [1]


@pytest.mark.parametrize(
    "address",
    [
        "/chain/{gain/gain_db",
        "/chain/gain}/gain_db",
        "/chain/gain/{gain_db",
        "/chain/[gain/gain_db",
        "/chain/gain]/gain_db",
        "/chain/{gain/gain_db}",
        "/{chain/gain}/gain_db",
        "/chain*gain_db",
        "/*",
        "/chain/*",
        "/*/*/*/*",
        "/chain/gain?/x*",
    ],
)
def test_what_is_malformed_or_crosses_a_slash_fits_nothing(address: str) -> None:
    chain = Chain([Gain(), Gain()])
    replies = Ear(chain).say(msg(address, "f", f32(-9.0)))
    assert [r[0] for r in replies] == ["/error"]
    assert [p.gain_db for p in chain] == [0.0, 0.0]
