"""OSCQuery: the OSC address space as JSON over HTTP, so that controllers can find every parameter.

`GET /` gives the whole tree, `GET /chain/eq` a part of it, `?VALUE` one attribute, `?HOST_INFO` who
we are. Nothing can be changed and no file is served; `httpguard.py` keeps it within its limits.
Thread: a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ..wholefile import plain
from .control import Control, Knob
from .errors import CspaceError
from .httpguard import LIFE_S, Guard, is_wildcard, known_names, name_of, plain_ip, silent_logger
from .listening import bound, resolved
from .osc import OscHandler

if TYPE_CHECKING:
    from .slot import Slot

_log = logging.getLogger(__name__)

ATTRIBUTES = ("FULL_PATH", "CONTENTS", "ACCESS", "TYPE", "RANGE", "VALUE", "DESCRIPTION", "UNIT")
_WRITE, _READ_WRITE = 2, 3


def tree(control: Control) -> dict[str, Any]:
    """The OSCQuery node of `/` with everything below it."""
    chain = {slot.name: _processor(control, slot) for slot in control.slots}
    presets = control.preset_names()
    preset = {
        "load": _action("/preset/load", "s", "Loads a preset by name.", [{"VALS": presets}]),
        "save": _action("/preset/save", "s", "Saves the chain as a preset."),
    }
    return _group(
        "/",
        {
            "chain": _group("/chain", chain, "The processors in order."),
            "preset": _group("/preset", preset, "Presets."),
            "bypass": _switch("/bypass", control.all_bypassed, "Lets sound pass by the whole chain."),
            "panic": _action("/panic", "", "Fades out, forgets all sound, fades in."),
            "stats": _action("/stats", "", "Answers with counters and times."),
            "ping": _action("/ping", "", "Answers /pong with the same arguments."),
        },
        "CSpace",
    )


def _processor(control: Control, slot: Slot) -> dict[str, Any]:
    path = f"/chain/{slot.name}"
    nodes = {k["name"]: _knob(path, k, slot.get(k["name"])) for k in control.knobs_of(slot)}
    nodes["bypass"] = _switch(f"{path}/bypass", slot.bypass, f"Lets sound pass by {slot.name}.")
    return _group(path, nodes, slot.native.info["doc"] if slot.native else "")


def _group(path: str, contents: dict[str, Any], doc: str) -> dict[str, Any]:
    return {"FULL_PATH": path, "DESCRIPTION": doc, "ACCESS": 0, "CONTENTS": contents}


def _action(path: str, types: str, doc: str, range: list[Any] | None = None) -> dict[str, Any]:
    node: dict[str, Any] = {"FULL_PATH": path, "DESCRIPTION": doc, "ACCESS": _WRITE, "TYPE": types or "N"}
    return node | ({"RANGE": range} if range else {})


def _switch(path: str, on: bool, doc: str) -> dict[str, Any]:
    return {"FULL_PATH": path, "DESCRIPTION": doc, "ACCESS": _READ_WRITE, "TYPE": "T" if on else "F", "VALUE": [on]}


def _knob(path: str, knob: Knob, value: Any) -> dict[str, Any]:
    kind = {"int": "i", "choice": "s", "text": "s", "toggle": "T" if value else "F"}.get(knob["scale"], "f")
    node: dict[str, Any] = {
        "FULL_PATH": f"{path}/{knob['name']}",
        "DESCRIPTION": knob["doc"],
        "ACCESS": _READ_WRITE,
        "TYPE": kind,
        "VALUE": [value],
    }
    if knob["scale"] == "choice":
        node["RANGE"] = [{"VALS": knob["choices"]}]
    elif knob["min"] is not None and knob["scale"] != "toggle":
        node["RANGE"] = [{"MIN": knob["min"], "MAX": knob["max"]}]
    if knob["unit"]:
        node["UNIT"] = [knob["unit"]]
    return node


def host_info(osc_ip: str, osc_port: int) -> dict[str, Any]:
    """Who we are and where OSC goes."""
    return {
        "NAME": "CSpace",
        "OSC_IP": osc_ip,
        "OSC_PORT": osc_port,
        "OSC_TRANSPORT": "UDP",
        "EXTENSIONS": {"ACCESS": True, "VALUE": True, "RANGE": True, "DESCRIPTION": True, "TYPE": True, "UNIT": True},
    }


class OscQueryServer:
    """The HTTP server. Use it with `with`.

    Parameters
    ----------
    handler : the OSC handler whose controls are shown
    osc_port, osc_ip : where the OSC server listens. Of one that listens everywhere, clients are told
        the address at which they reached this server
    port : 0 takes any free one; see `port`
    host : 127.0.0.1 keeps other machines out
    """

    def __init__(
        self, handler: OscHandler, osc_port: int, *, osc_ip: str = "127.0.0.1", port: int = 0, host: str = "127.0.0.1"
    ):
        self._control = handler.control
        self._osc = osc_ip, osc_port
        self.host, self.port = host, port
        self._address = resolved(host, "OSCQuery")[1][0]
        self.counts: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: self._failed())  # such as: no more files may be opened
        self._started = threading.Event()
        self._error: CspaceError | OSError | None = None
        self._thread = threading.Thread(target=self._run, name="cspace-oscquery", daemon=True)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        here = "::1" if ":" in plain_ip(self._address) else "127.0.0.1"
        host = here if is_wildcard(self._address) else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def start(self) -> OscQueryServer:
        """Begins to listen. CspaceError if the port is taken."""
        self._thread.start()
        self._started.wait(10.0)
        if isinstance(self._error, CspaceError):
            raise self._error
        if self._error is not None:
            raise CspaceError(f"OSCQuery cannot listen on {self.host}:{self.port}: {self._error.strerror}")
        return self

    def close(self) -> None:
        """Stops. Idempotent."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5.0)

    def __enter__(self) -> OscQueryServer:
        return self if self._thread.is_alive() else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _failed(self) -> None:
        self.counts["http_failures"] += 1

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(logger=silent_logger(self.counts))
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=silent_logger(self.counts),
            keepalive_timeout=LIFE_S,
            lingering_time=0.5,
            handle_signals=False,
        )
        server: asyncio.Server | None = None
        try:
            server = self._loop.run_until_complete(self._listen(runner))
            self.port = int(server.sockets[0].getsockname()[1])
        except (CspaceError, OSError) as e:
            self._error = e
        self._started.set()
        try:
            if server is not None:
                self._loop.run_forever()
                server.close()
        finally:
            self._loop.run_until_complete(runner.cleanup())
            self._loop.close()

    async def _listen(self, runner: web.AppRunner) -> asyncio.Server:
        await runner.setup()
        assert runner.server is not None
        at = bound(self.host, self.port, socket.SOCK_STREAM, "OSCQuery", "another program has that port")
        return await self._loop.create_server(Guard(runner.server, self.counts), sock=at)

    # ---- questions ---------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.Response:
        local = str(request.transport.get_extra_info("sockname")[0]) if request.transport else self.host
        status, data = self._refusal(request, local) or self._found(request, local)
        response = web.Response(text=json.dumps(plain(data)), status=status, content_type="application/json")
        if status == 405:
            response.headers["Allow"] = "GET, HEAD"
        if status == 204:
            response = web.Response(status=204)
        response.force_close()
        return response

    def _refusal(self, request: web.Request, local: str) -> tuple[int, Any] | None:
        """Why a request is not answered; None if it is."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1:
            return 400, {"error": "one Host header is needed"}
        if name_of(hosts[0]) not in known_names(self.host, self._address, local):
            return 403, {"error": "unknown host name"}
        for origin in request.headers.getall("Origin", []):
            if origin.strip().lower() != f"http://{hosts[0].strip().lower()}":
                return 403, {"error": "a page of another site may not ask"}
        if request.method not in ("GET", "HEAD"):
            return 405, {"error": "only GET and HEAD are answered; parameters are set by OSC"}
        return None

    def _found(self, request: web.Request, local: str) -> tuple[int, Any]:
        asked = request.query_string.split("&")[0].split("=")[0]
        if asked == "HOST_INFO":
            ip, port = self._osc
            return 200, host_info(plain_ip(local) if is_wildcard(ip) else ip, port)
        try:
            node: Any = tree(self._control)
        except Exception:  # a defect must not fill the terminal
            self._failed()
            _log.debug("OSCQuery", exc_info=True)
            return 500, {"error": "it failed here"}
        for part in request.match_info["path"].split("/"):
            if part:
                node = node.get("CONTENTS", {}).get(part)
                if node is None:
                    return 404, {"error": "there is no such address"}
        if not asked:
            return 200, node
        if asked not in ATTRIBUTES:
            return 400, {"error": "unknown attribute"}
        return (200, {asked: node[asked]}) if asked in node else (204, None)
