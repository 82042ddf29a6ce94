"""OSCQuery: the OSC address space as JSON over HTTP, so that controllers can find every parameter.

`GET /` gives the whole tree, `GET /chain/eq` a part of it, `?VALUE` one attribute, `?HOST_INFO` who
we are. Nothing can be changed and no file is served. Thread: a thread of its own.
"""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from aiohttp import web

from .control import Control, Knob
from .errors import CspaceError
from .osc import OscHandler

ATTRIBUTES = ("FULL_PATH", "CONTENTS", "ACCESS", "TYPE", "RANGE", "VALUE", "DESCRIPTION", "UNIT")
_WRITE, _READ_WRITE = 2, 3


def tree(control: Control) -> dict[str, Any]:
    """The OSCQuery node of `/` with everything below it."""
    chain: dict[str, Any] = {}
    with control.lock:
        for slot in control.chain.slots:
            path = f"/chain/{slot.name}"
            nodes = {k["name"]: _knob(path, k, control.get(slot.name, k["name"])) for k in control.knobs(slot.name)}
            nodes["bypass"] = _switch(f"{path}/bypass", slot.bypass, f"Lets sound pass by {slot.name}.")
            native = slot.native
            chain[slot.name] = _group(path, nodes, native.info["doc"] if native else "")
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
    osc_ip, osc_port : where the OSC server listens
    port : 0 takes any free one; see `port`
    host : 127.0.0.1 keeps other machines out
    """

    def __init__(
        self, handler: OscHandler, osc_port: int, *, osc_ip: str = "127.0.0.1", port: int = 0, host: str = "127.0.0.1"
    ):
        self._control = handler.control
        self._info = host_info(osc_ip, osc_port)
        self.host, self.port = host, port
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="cspace-oscquery", daemon=True)

    def start(self) -> OscQueryServer:
        """Begins to listen. CspaceError if the port is taken."""
        self._thread.start()
        self._started.wait(10.0)
        if self._error is not None:
            raise CspaceError(f"OSCQuery cannot listen on {self.host}:{self.port}: {self._error.strerror}")
        return self

    def close(self) -> None:
        """Stops. Idempotent."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5.0)

    def __enter__(self) -> OscQueryServer:
        return self if self._thread.is_alive() else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        try:
            self._loop.run_until_complete(runner.setup())
            site = web.TCPSite(runner, self.host, self.port)
            self._loop.run_until_complete(site.start())
            self.port = int(runner.addresses[0][1])
        except OSError as e:
            self._error = e
        self._started.set()
        try:
            if self._error is None:
                self._loop.run_forever()
        finally:
            self._loop.run_until_complete(runner.cleanup())
            self._loop.close()

    async def _answer(self, request: web.Request) -> web.Response:
        # Another site's page in a browser must not read this through a name that points here.
        if self.host == "127.0.0.1" and request.host.rsplit(":", 1)[0] not in ("127.0.0.1", "localhost"):
            return _json({"error": "unknown host name"}, 403)
        asked = request.query_string.split("&")[0].split("=")[0]
        if asked == "HOST_INFO":
            return _json(self._info)
        node: Any = await asyncio.to_thread(tree, self._control)
        for part in request.match_info["path"].split("/"):
            if part:
                node = node.get("CONTENTS", {}).get(part)
                if node is None:
                    return _json({"error": "there is no such address"}, 404)
        if asked:
            if asked not in ATTRIBUTES:
                return _json({"error": "unknown attribute"}, 400)
            if asked not in node:
                return web.Response(status=204)
            node = {asked: node[asked]}
        return _json(node)


def _json(data: Any, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(data), status=status, content_type="application/json")
