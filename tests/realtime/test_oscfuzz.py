"""OSC and HTTP under attack, in a process of its own: no crash, no traceback, flat memory, no file elsewhere."""

from __future__ import annotations

import contextlib
import os
import time
import urllib.request
from pathlib import Path

import pytest

from tests.realtime import oscfuzz
from tests.realtime.osctools import Client, Live, f32, msg

MOST_MB = 5.0


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files beside the preset folder, with what is in them."""
    files = (Path(at, name) for at, _, names in os.walk(folder) for name in names)
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in files if "presets" not in p.relative_to(folder).parts[:1]
    }


def attack(folder: Path, *, osc: int, http: int, warm_up_s: float = 0.0) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "precious.txt").write_text("precious")
    (folder / "presets").mkdir()
    (folder / "presets" / "c.2.toml").symlink_to(folder / "precious.txt")
    with contextlib.closing(Live(folder, oscfuzz.CHAIN, "--presets", "presets")) as live:
        before = snapshot(folder)
        nodes = oscfuzz.leaves(live.http)
        paths = [str(n["FULL_PATH"]) for n in nodes]
        # Memory stays once all that is bounded is full, and what is loaded at first use is loaded. The
        # engine's ring of block times is touched as it fills: 4,096 records, 6 s at 64 frames and 48 kHz.
        warm = max(osc // 5, 2_000), max(http // 5, 300)
        began = time.monotonic()
        oscfuzz.attack_osc(live.osc, nodes, warm[0], seed=1)
        oscfuzz.attack_http(live.http, paths, warm[1], seed=1)
        if warm_up_s:
            time.sleep(max(0.0, warm_up_s - (time.monotonic() - began)))
        rss = live.rss_mb()
        oscfuzz.attack_osc(live.osc, nodes, osc - warm[0] if osc > warm[0] else osc, seed=2)
        answered = oscfuzz.attack_http(live.http, paths, http, seed=2)
        grown = live.rss_mb() - rss

        client = Client(live.osc)
        oscfuzz.ping(client)
        client.send(msg("/bypass", "F"))
        client.send(msg("/chain/gain/gain_db", "f", f32(-17.0)))
        oscfuzz.ping(client)
        with urllib.request.urlopen(f"http://127.0.0.1:{live.http}/chain/gain/gain_db?VALUE", timeout=60) as answer:
            assert answer.read() == b'{"VALUE": [-17.0]}'
        client.socket.settimeout(60)
        stats = client.stats()
        client.close()
        assert stats["osc_errors"] > 0.2 * osc / 2
        assert answered > 0
        assert live.open_files() < 200
        assert grown < MOST_MB, f"memory grew by {grown:.1f} MB after {rss:.1f} MB"
        assert live.stop() == 0
        errors = live.errors.read_text()
        assert errors.strip() == "", errors[-2000:]
        after = snapshot(folder)
        after["stderr.txt"] = before["stderr.txt"]
        assert after == before
        assert (folder / "presets" / "c.2.toml").is_symlink()


def test_a_short_attack(tmp_path: Path) -> None:
    attack(tmp_path / "live", osc=3_000, http=500)


@pytest.mark.heavy
@pytest.mark.timeout(3600)
def test_300000_packets_and_50000_requests(tmp_path: Path) -> None:
    attack(tmp_path / "live", osc=300_000, http=50_000, warm_up_s=10.0)
