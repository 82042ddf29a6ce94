"""Sound devices as PortAudio sees them, and how one is found by name. Thread: control."""

from __future__ import annotations

from dataclasses import dataclass

from . import soundlibrary
from .errors import DeviceError, DeviceLost, RateRefused, near
from .soundlibrary import refresh

__all__ = ["Device", "DeviceError", "DeviceLost", "RateRefused", "devices", "find", "refresh"]


@dataclass(frozen=True)
class Device:
    """One device as people choose it."""

    index: int
    name: str
    host_api: str
    inputs: int
    outputs: int
    sample_rate: float
    default_input: bool
    default_output: bool


def devices() -> list[Device]:
    """All devices PortAudio sees; an empty list on a machine without sound."""
    sd = soundlibrary.sounddevice()
    with soundlibrary.lock, soundlibrary.quiet_stderr():
        apis = sd.query_hostapis()
        listed = sd.query_devices()
        ins, outs = sd.default.device
        if ins < 0 or outs < 0:  # no default of the user's: that of the first API that has one
            ins = next((a["default_input_device"] for a in apis if a["default_input_device"] >= 0), -1)
            outs = next((a["default_output_device"] for a in apis if a["default_output_device"] >= 0), -1)
    return [
        Device(
            index=i,
            name=d["name"],
            host_api=apis[d["hostapi"]]["name"],
            inputs=d["max_input_channels"],
            outputs=d["max_output_channels"],
            sample_rate=d["default_samplerate"],
            default_input=i == ins,
            default_output=i == outs,
        )
        for i, d in enumerate(listed)
    ]


def find(which: int | str | None, kind: str, channels: int) -> Device:
    """The device with this number or name (or a unique part of "API: name").

    Parameters
    ----------
    which : None means the default device
    kind : "input" or "output"
    channels : how many the stream needs
    """
    able = [d for d in devices() if _channels(d, kind) > 0]
    if not able:
        raise DeviceError(f"this machine has no sound {kind}")
    if which is None:
        device = next((d for d in able if getattr(d, f"default_{kind}")), able[0])
    elif isinstance(which, int) or which.isdecimal():
        number = int(which)
        found = [d for d in able if d.index == number]
        if not found:
            raise DeviceError(f"there is no {kind} device number {number}; `cspace devices` lists them")
        device = found[0]
    else:
        device = _named(which, kind, able)
    if _channels(device, kind) < channels:
        raise DeviceError(
            f"device {device.name!r} has {_channels(device, kind)} {kind} channels, not {channels}; use --channels"
        )
    return device


def _channels(device: Device, kind: str) -> int:
    return device.inputs if kind == "input" else device.outputs


def _named(which: str, kind: str, able: list[Device]) -> Device:
    def full(d: Device) -> str:
        return f"{d.host_api}: {d.name}"

    word = which.lower()
    exact = [d for d in able if word in (d.name.lower(), full(d).lower())]
    part = exact or [d for d in able if word in full(d).lower()]
    if len(part) == 1:
        return part[0]
    if not part:
        known = near(which, [d.name for d in able]) or "; there are " + ", ".join(repr(full(d)) for d in able)
        raise DeviceError(f"there is no {kind} device {which!r}{known}")
    raise DeviceError(f"{which!r} fits several {kind} devices: " + ", ".join(f"{d.index} {full(d)!r}" for d in part))
