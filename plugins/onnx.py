"""Any streaming ONNX model with our manifest, as a processor."""

from __future__ import annotations

from ._hosted import HostedPlugin


class OnnxStream(HostedPlugin, hosted="onnx", doc="Runs a streaming ONNX model from a package on disk."):
    """Hosts a model package: `OnnxStream("models/mine", wet=0.8)`.

    The model runs hop by hop on a worker thread live and inline offline, with the same samples. Its
    own parameters are parameters of the instance, beside these:

    `wet` mixes the model with the input, delayed alike. `conceal` says what is heard for a hop that is
    missing: "fade", the last 10 ms backwards and fading out, or "dry", the input. `drop_rate` throws
    that share of the hops away, chosen by `drop_seed`, to hear what loss sounds like. `spare_ms` is the
    time the worker has beyond one hop before its result is due, live: less latency against late hops.

    The format of packages, the table of latencies and what late means: docs/neural.md. Needs the extra
    `neural`: pip install 'cspace[neural]'.

    Raises PackageError for a package that is not what its manifest says.

    >>> from cspace.plugins import OnnxStream
    >>> model = OnnxStream(package, drop_rate=0.05, conceal="dry")  # package: a folder
    >>> y = model(x, sample_rate=model.manifest.sample_rate)
    """

    wet: float
    conceal: str
    drop_rate: float
    drop_seed: int
    spare_ms: float
