"""Two workers of a dask cluster give the files one process gives, also when one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.phase0 import work
from cspace.offline.phase0.study import Study
from tests.offline.phase0.small import config, files, run

SETTINGS: dict[str, Any] = {"lags": [1], "encoder__synthetic__speakers": 6}


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """A scheduler and two workers with a process each, as a user starts them."""
    address = tmp_path / "address"
    script = f"""
import os, time
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        with open({str(address)!r} + ".part", "w") as f:
            f.write(cluster.scheduler_address)
        os.rename({str(address)!r} + ".part", {str(address)!r})
        while os.getppid() == {os.getpid()}:
            time.sleep(0.2)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 120
        while not address.exists():
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.1)
        yield address.read_text()
    finally:
        process.terminate()
        process.wait(30)


def test_two_workers_give_the_same_files_and_a_killed_one_loses_nothing(scheduler: str, tmp_path: Path) -> None:
    run(config(tmp_path / "one", **SETTINGS))
    with work.connect(scheduler, None) as crew:
        assert crew.count == 2
        Study(config(tmp_path / "two", **SETTINGS), crew).run()
    assert files(tmp_path / "two") == files(tmp_path / "one")

    with work.connect(scheduler, None) as crew:
        client: Any = crew._client  # type: ignore[attr-defined]
        victims = list(client.run(os.getpid).values())
        assert len(victims) == 2
        killed: list[str] = []

        def kill_one(line: str) -> None:
            if line.startswith(("fit: lag 1: mean_vq64", "evaluate: pca8_vq256")) and victims:
                os.kill(victims.pop(), signal.SIGKILL)
                killed.append(line)

        Study(config(tmp_path / "three", **SETTINGS), crew, say=kill_one).run()
        assert len(killed) == 2
    assert files(tmp_path / "three") == files(tmp_path / "one")


def test_a_scheduler_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "CONNECT_SECONDS", 1)
    found = CliRunner().invoke(app, ["phase0", "prepare", "-o", str(tmp_path), "--scheduler", "tcp://127.0.0.1:9"])
    assert found.exit_code == 2
    assert "--scheduler tcp://127.0.0.1:9: cannot be reached" in found.stderr
