"""OSC packets: every type against python-osc and liblo, and everything that is cut off, padded wrongly or too much."""

from __future__ import annotations

import contextlib
import math
import shutil
import socket
import struct
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from cspace.plugins import Eq, Gain, Limiter
from cspace.realtime.chain import Chain
from cspace.realtime.oscpacket import IMPULSE, MAX_ARGS, MAX_DEPTH, Message, Other, PacketError, encode, message, parse
from tests.realtime.osctools import Ear, bundle, f32, i32, msg, text

# Each type: its tag, its bytes as the specification gives them, its value.
TYPES: list[tuple[str, bytes, Any]] = [
    ("i", b"\xff\xff\xff\xfe", -2),
    ("f", b"\x3f\xc0\x00\x00", 1.5),
    ("h", b"\x00\x00\x00\x01\x00\x00\x00\x00", 2**32),
    ("d", b"\xbf\xf8\x00\x00\x00\x00\x00\x00", -1.5),
    ("s", b"word\x00\x00\x00\x00", "word"),
    ("s", b"\x00\x00\x00\x00", ""),
    ("S", b"sym\x00", "sym"),
    ("b", b"\x00\x00\x00\x05hello\x00\x00\x00", b"hello"),
    ("b", b"\x00\x00\x00\x00", b""),
    ("c", b"\x00\x00\x00\x41", "A"),
    ("t", b"\x00\x00\x00\x00\x00\x00\x00\x01", Other("t", b"\x00" * 7 + b"\x01")),
    ("r", b"\x01\x02\x03\x04", Other("r", b"\x01\x02\x03\x04")),
    ("m", b"\x00\x90\x40\x7f", Other("m", b"\x00\x90\x40\x7f")),
    ("T", b"", True),
    ("F", b"", False),
    ("N", b"", None),
    ("I", b"", IMPULSE),
    ("[ii]", b"\x00\x00\x00\x01\x00\x00\x00\x02", [1, 2]),
]


@pytest.mark.parametrize(("tags", "data", "value"), TYPES)
def test_every_type(tags: str, data: bytes, value: Any) -> None:
    m = message(msg("/a", "i" + tags + "f", i32(7) + data + f32(0.25)))
    assert m.args == [7, value, 0.25]
    again = message(encode("/a", m.args))  # what was read can be written: /pong
    assert again.args == m.args


@pytest.mark.parametrize(("tags", "data", "value"), [t for t in TYPES if t[1]])
def test_what_is_cut_off_is_an_error(tags: str, data: bytes, value: Any) -> None:
    whole = msg("/a", tags, data)
    for end in range(len(whole) - len(data), len(whole)):
        with pytest.raises(PacketError):
            message(whole[:end])
    for more in (b"\x00" * 4, b"\x00" * 8, b"abcd"):
        with pytest.raises(PacketError, match="follow"):
            message(whole + more)


@pytest.mark.parametrize(
    "data",
    [
        b"/abc",  # no end
        b"/a\x00\x01,i\x00\x00\x00\x00\x00\x01",  # padding that is not zero
        b"/a\x00\x00,i\x00\x01\x00\x00\x00\x01",
        msg("/a", "s", b"word\x00\x00\x00x"),
        msg("/a", "s", b"word"),
        msg("/a", "s", b"\xff\xfe\x00\x00"),  # not UTF-8
        msg("/a", "b", i32(-1)),
        msg("/a", "b", i32(5) + b"hello"),  # no padding
        msg("/a", "b", i32(2**31 - 1) + b"hell"),
        msg("/a", "b", i32(3) + b"abcd"),  # padding that is not zero
        msg("/a", "c", i32(200)),
        msg("/a", "[i", i32(1)),
        msg("/a", "i]", i32(1)),
        msg("/a", "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)),
        msg("/a", "Z"),
        msg("/a", "i,", i32(1)),
        msg("/a", None, b"i\x00\x00\x00\x00\x00\x00\x01"),  # tags without their comma
        msg("/a", None, i32(1)),
        msg("/a", "T" * (MAX_ARGS + 1)),
        text("a") + text(","),
        text("/a\n") + text(","),
        b"/\xc3\xa4\x00,\x00\x00\x00",
    ],
)
def test_unreadable_messages(data: bytes) -> None:
    data += b"\x00" * (-len(data) % 4) if data[-1:] == b"x" else b""
    with pytest.raises(PacketError):
        message(data)


def test_old_senders_leave_tags_out_where_there_are_no_arguments() -> None:
    assert message(text("/panic")).args == []
    assert parse(text("/panic"))[0] == Message("/panic", [], None, text("/panic"))


def test_bundles() -> None:
    a, b = msg("/a", "i", i32(1)), msg("/b", "f", f32(2.0))
    (first, second, third) = parse(bundle(1_700_000_000.25, a, bundle(None, b), b"/bad"))
    assert isinstance(first, Message)
    assert (first.address, first.args, first.time) == ("/a", [1], 1_700_000_000.25)
    assert isinstance(second, Message)
    assert (second.address, second.time) == ("/b", None)
    assert isinstance(third, PacketError)
    # A bundle whose outline breaks off counts as one bad element: nothing in it takes effect.
    broken = bundle(None, a, b)[:-4]
    one, two = parse(bundle(None, broken, b))
    assert isinstance(one, PacketError)
    assert isinstance(two, Message)
    with pytest.raises(PacketError):
        parse(broken)


@given(st.binary(max_size=200), st.sampled_from([b"", b"#bundle\0", b"/a\0\0", b"/a\0\0,", b"/a\0\0,sb\0"]))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_it_fail_otherwise(data: bytes, head: bytes) -> None:
    with contextlib.suppress(PacketError):
        assert all(isinstance(m, (Message, PacketError)) for m in parse(head + data))


_arguments = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF), max_size=20),
    st.binary(min_size=1, max_size=20),  # python-osc writes no empty ones
)


@given(st.lists(_arguments, max_size=6))
@settings(max_examples=200, deadline=None)
def test_as_python_osc_writes_and_reads(args: list[Any]) -> None:
    builder = OscMessageBuilder("/some/address")
    for a in args:
        builder.add_arg(a)
    assert message(builder.build().dgram).args == args
    assert OscMessage(encode("/some/address", args)).params == args


@pytest.mark.parametrize(
    ("value", "tag"), [(2**31 - 1, "i"), (2**31, "h"), (-(2**31) - 1, "h"), (2**80, "h"), (0.5, "f"), (1e300, "d")]
)
def test_numbers_too_large_go_as_64_bits(value: Any, tag: str) -> None:
    data = encode("/a", [value])
    assert data[4:8] == b"," + tag.encode() + b"\0\0"
    (back,) = OscMessage(data).params
    assert back == (min(value, 2**63 - 1) if isinstance(value, int) else value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_can_be_echoed(value: float) -> None:
    (back,) = OscMessage(encode("/pong", message(msg("/ping", "f", f32(value))).args)).params
    assert struct.pack(">d", back) == struct.pack(">d", value)


@pytest.mark.skipif(not shutil.which("oscsend"), reason="needs oscsend (apt install liblo-tools)")
def test_as_liblo_writes() -> None:
    types = [
        "i",
        "-5",
        "h",
        "5000000000",
        "f",
        "1.25",
        "d",
        "-2.5",
        "s",
        "a text",
        "S",
        "sym",
        "c",
        "x",
        "m",
        "0090407f",
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(20)
        port = str(s.getsockname()[1])
        tags, words = "".join(types[::2]) + "TFNI", types[1::2]
        subprocess.run(["oscsend", "127.0.0.1", port, "/from/liblo", tags, *words], check=True, timeout=20)
        m = message(s.recv(65536))
    assert m.address == "/from/liblo"
    assert m.args[:7] == [-5, 5_000_000_000, 1.25, -2.5, "a text", "sym", "x"]
    assert m.args[7].tag == "m"
    assert m.args[8:] == [True, False, None, IMPULSE]


# ---- a bad message changes nothing -----------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        msg("/chain/gain/gain_db", "f"),
        msg("/chain/gain/gain_db", "f", b"\xc0"),
        msg("/chain/gain/gain_db", "d", b"\xc0\x00\x00\x00"),
        msg("/chain/gain/gain_db", "h", b"\x00\x00\x00\x00"),
        msg("/chain/gain/gain_db", "i"),
        msg("/chain/gain/bypass", "i"),
        msg("/chain/gain/bypass", "f"),
        msg("/chain/*/gain_db", "f"),
        msg("/chain/gain/gain_db", "f", f32(-3.0) + b"\x00" * 4),
        msg("/chain/gain/gain_db", "b", i32(4) + f32(-3.0)),
        msg("/chain/gain/gain_db", "[f]", f32(-3.0)),
        msg("/chain/gain/gain_db", "N"),
        msg("/chain/gain/gain_db", "I"),
        msg("/chain/gain/gain_db", "t", b"\x00" * 8),
        msg("/chain/gain/gain_db", "c", i32(51)),
        msg("/chain/gain/gain_db", None),
        bundle(None, msg("/chain/gain/gain_db", "f", f32(-3.0)))[:-4],
        # A pattern that fits several, of which one cannot take the value:
        msg("/chain/*/*", "f", f32(0.5)),
        msg("/chain/gain*/{gain_db,bypass}", "i", i32(1)) + b"\x00" * 4,
        msg("/chain/{gain,limiter}/{gain,ceiling}_db", "f", f32(3.0)),  # right for the gain, too loud for the limiter
        msg("/*", "f", f32(0.5)),
    ],
)
def test_a_bad_message_changes_nothing(data: bytes) -> None:
    chain = Chain([Gain(gain_db=-60.0), Eq(low_gain_db=3.0), Limiter()])
    chain.bypass("gain", True)
    before = [(s.name, s.bypass, s.plugin.to_dict()) for s in chain.slots]
    ear = Ear(chain)
    replies = ear.say(data)
    assert [address for address, _ in replies] == ["/error"]
    assert [(s.name, s.bypass, s.plugin.to_dict()) for s in chain.slots] == before
    assert not ear.control.all_bypassed


def test_all_or_none_where_setting_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found right, but the engine has no room for the third: the first two are set back."""
    chain = Chain([Gain(gain_db=-1.0), Gain(gain_db=-2.0), Gain(gain_db=-3.0)])
    ear = Ear(chain)
    put = ear.control.set

    def full(processor: str, name: str, value: Any, *, time: int | None = None) -> None:
        if processor == "gain3":
            raise RuntimeError("the queue is full")
        put(processor, name, value, time=time)

    monkeypatch.setattr(ear.control, "set", full)
    replies = ear.say(msg("/chain/*/gain_db", "f", f32(6.0)))
    assert [address for address, _ in replies] == ["/error"]
    assert [p.gain_db for p in chain] == [-1.0, -2.0, -3.0]


@pytest.mark.parametrize(
    ("address", "value", "becomes"),
    [
        ("/chain/gain/gain_db", 24.000002, 24.0),  # a fader's end, calculated in float32
        ("/chain/gain/gain_db", -120.00001, -120.0),
        ("/chain/gain/bypass", 0.99999994, True),
        ("/chain/gain/bypass", 1.0000001, True),
        ("/chain/gain/bypass", 5e-8, False),
    ],
)
def test_the_last_bit_of_a_float_is_no_error(address: str, value: float, becomes: Any) -> None:
    chain = Chain([Gain()])
    ear = Ear(chain)
    assert ear.say(msg(address, "f", f32(value))) == []
    got = chain["gain"].gain_db if address.endswith("gain_db") else chain.slot("gain").bypass
    assert got == becomes


@pytest.mark.parametrize(
    ("address", "value"), [("/chain/gain/gain_db", 24.001), ("/chain/gain/bypass", 0.9999), ("/bypass", 0.5)]
)
def test_more_than_that_is_one_and_is_not_shown_as_the_limit(address: str, value: float) -> None:
    ((reply, (_, reason)),) = Ear(Chain([Gain()])).say(msg(address, "f", f32(value)))
    assert reply == "/error"
    shown = float(reason.split(" is not")[0].split()[-1])
    assert abs(shown - value) < 1e-6 * abs(value)
