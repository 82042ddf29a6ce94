"""The running host: chain, parameters, devices, OSC, web panel, statistics, offline render."""
