"""What every run leaves: settings, who ran what when, a log, and a line in the manifest at its start and its end."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from .... import __version__
from ....plugins._errors import FileError, ParameterError
from ....textfile import read_text
from ....wholefile import plain, whole, write_json, write_text
from ..config import fingerprint, to_yaml
from .spec import Tier1Spec

CONFIG, INFO, LOG, METRICS, TABLES, MANIFEST = (
    "config.yaml",
    "run_info.json",
    "run.log",
    "metrics.json",
    "tables.csv",
    "manifest.jsonl",
)
#: Settings that change how a run is done, not what comes out.
_NO_MATTER = {"accelerator", "devices", "precision", "num_workers", "compile", "compile_mode", "checkpoint_every"}


def identity(spec: Tier1Spec, **more: Any) -> dict[str, Any]:
    """All that a run's results depend on."""
    table = spec.model_dump(mode="json")
    table["train"] = {k: v for k, v in table["train"].items() if k not in _NO_MATTER}
    return {**table, **more}


class RunFolder:
    """The folder `<out>/<run id>/<experiment>`, as a context: the manifest gets its end line whatever happens.

    >>> with RunFolder(out, "mimi", "exp1", spec, about, force=False) as run:
    ...     run.log("begins")

    Raises FileError for a folder with results of other settings, unless `force`, which empties it.
    """

    def __init__(self, out: Path, run_id: str, experiment: str, spec: Tier1Spec, about: dict[str, Any], *, force: bool):
        if not run_id or run_id in (".", "..") or Path(run_id).name != run_id:
            raise ParameterError(f"--run-id is {run_id!r}; it must be the name of a folder")
        self.out, self.run_id, self.experiment, self.spec, self.about = out, run_id, experiment, spec, about
        self.folder = out / run_id / experiment
        self.identity = identity(spec, **about)
        self.began = time.monotonic()
        #: Of several processes, one for each device, the first writes.
        self.writes = int(os.environ.get("LOCAL_RANK", "0")) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0
        if force and self.writes and self.folder.exists():
            if not (self.folder / INFO).exists() and any(self.folder.iterdir()):
                raise FileError(f"{self.folder}: is not empty and holds no run; --force empties a run only")
            shutil.rmtree(self.folder)
        self._check()

    def _check(self) -> None:
        found = self.folder / INFO
        if not self.writes or not found.exists() or not self.begun:
            return
        try:
            old = json.loads(read_text(found))["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise FileError(f"{found}: cannot be read ({e}); say --force to begin again") from None
        if old != fingerprint(self.identity):
            raise FileError(f"{self.folder}: holds a run of other settings; give another --run-id, or --force")

    @property
    def begun(self) -> bool:
        """Whether something worth keeping is there; a run that failed before it made anything is not in the way."""
        return self.finished or any(self.folder.rglob("*.safetensors"))

    @property
    def finished(self) -> bool:
        """Whether its results are there, made with these settings."""
        return (self.folder / METRICS).exists()

    def __enter__(self) -> RunFolder:
        if not self.writes:
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / CONFIG, to_yaml(self.spec))
        self._info("running")
        self._manifest("start")
        self.log(f"{self.experiment} of run {self.run_id} begins")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.writes:
            return
        status = "done" if error is None else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        reason = (str(error).splitlines() or [type(error).__name__])[0] if error is not None else ""
        self.log(f"{status}{': ' + reason if reason else ''}")
        self._info(status)
        self._manifest("end", status=status, seconds=round(time.monotonic() - self.began, 1))

    def _info(self, status: str) -> None:
        import torch

        write_json(
            self.folder / INFO,
            {
                "version": __version__,
                "experiment": self.experiment,
                "run_id": self.run_id,
                "status": status,
                "at": _now(),
                "seconds": round(time.monotonic() - self.began, 1),
                "fingerprint": fingerprint(self.identity),
                "about": self.about,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "accelerator": self.spec.train.accelerator,
                "devices": self.spec.train.devices,
                "precision": self.spec.train.precision,
            },
        )

    def _manifest(self, event: str, **more: Any) -> None:
        line = {"event": event, "at": _now(), "run_id": self.run_id, "experiment": self.experiment, **more}
        _append(self.out / MANIFEST, json.dumps(plain(line), ensure_ascii=False))

    def log(self, line: str) -> None:
        """One line in run.log, with the time."""
        if self.writes:
            _append(self.folder / LOG, f"{_now()} {line}")

    def results(self, metrics: dict[str, Any], table: list[dict[str, Any]]) -> None:
        """Writes tables.csv and then metrics.json, whose presence says that the run is done."""
        if not self.writes:
            return
        write_csv(self.folder / TABLES, table)
        write_json(self.folder / METRICS, {"version": __version__, "run_id": self.run_id, **self.about, **metrics})


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _append(path: Path, line: str) -> None:
    """A whole line at once, so that runs side by side do not mix theirs."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, (line.replace("\n", " ") + "\n").encode())
        finally:
            os.close(handle)
    except OSError as e:
        raise FileError(f"{path}: cannot be written: {e.strerror or e}") from None


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """A CSV of all keys in the order they first come; whole or not at all."""
    import csv

    keys = list(dict.fromkeys(k for row in rows for k in row))
    with whole(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows([{k: _short(v) for k, v in row.items()} for row in rows])


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
