"""Types of the compiled core. Thread rules: every method here is for control threads."""

from collections.abc import Callable
from typing import Any, TypedDict, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from .modelmanifest import Manifest

F32 = NDArray[np.float32]

__version__: str

_T = TypeVar("_T")

class ParamInfo(TypedDict):
    name: str
    unit: str
    min: float
    max: float
    default: float
    scale: str  # "linear" | "log" | "int" | "toggle" | "choice"
    choices: list[str]  # names of a choice, else empty
    smooth_ms: float
    setup: bool  # takes effect in prepare; live changes rebuild the processor
    doc: str

class TapInfo(TypedDict):
    name: str
    doc: str

class ArrayInfo(TypedDict):
    name: str
    live: bool
    doc: str

class ProcessorInfo(TypedDict):
    name: str
    doc: str
    params: list[ParamInfo]
    taps: list[TapInfo]
    arrays: list[ArrayInfo]

class TimeStats(TypedDict):
    count: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float
    mean_us: float

class SlotStats(TypedDict):
    slot: int
    name: str
    faults: int  # blocks muted because of NaN or Inf
    panics: int  # 1 if the processor, or its model, panicked and is out of use
    out_of_use: bool  # it runs no more; the input passes in its place
    fault: str  # what went wrong last: the words of a panic, the reason of a failed or stopped hop; else empty
    late_blocks: int  # workers: blocks concealed; players and recorders: blocks with missing or lost frames
    time: TimeStats
    hops: int  # models: hops run; the rest is 0 for other processors
    late_hops: int  # hops that were not there at their first sample
    dropped_hops: int  # hops dropped on purpose
    failed_hops: int  # hops whose run failed: the slot was muted and reset
    stopped_hops: int  # hops stopped because they took too long: they were concealed
    hop_time: TimeStats  # time of the model per hop, on its worker thread

class EngineStats(TypedDict):
    sample_time: int  # samples played since the start
    blocks: int
    load: float  # mean share of the deadline used since the last reset_stats
    deadline_misses: int  # blocks whose computation took longer than they last
    input_xruns: int  # input overflow or underflow flagged by the device
    output_xruns: int
    bad_input_samples: int  # NaN or Inf from outside, replaced by 0
    dropped_events: int  # parameter events lost because a queue was full
    dropped_records: int  # timing records lost
    panics: int  # caught, in the engine and in workers
    stuck_threads: int  # of this program, left behind in models that do not let themselves be stopped
    histograms: int  # of times, kept for the slots that are there; each takes 230 KB
    input_peak: list[float]  # per channel, linear, since the last stats() call
    output_peak: list[float]
    output_rms: list[float]  # per channel, linear, over about 300 ms
    time: TimeStats  # whole block
    slots: list[SlotStats]

def processors() -> list[ProcessorInfo]:
    """All native processors, in the order shown to people."""

def eq_response_db(params: dict[str, float], freqs_hz: NDArray[np.float64], sample_rate: float) -> NDArray[np.float64]:
    """Magnitude of the `eq` processor's true transfer function, in dB, one value per frequency."""

def bank_poles(
    centers_hz: NDArray[np.float64],
    sample_rate: float,
    law: str,
    q: float = 8.0,
    r_low: float = 0.999,
    r_high: float = 0.6,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Decay in nepers per sample and angle in radians per sample of oscillators at these centres.

    `law`: `constant_q` (r = exp(−π f / (q sample_rate))) or `legacy` (r from `r_low` to `r_high` in equal steps).
    ValueError names what is out of range.
    """

@final
class OscillatorBank:
    """The bank of `cspace` alone, one channel, for analysis: states out of sound, exact at every sample.

    z ← z + (λ − 1) z + b x with λ = exp(−decay + j angle) and b = 1 − |λ|. Calls go on where the last ended, so
    a long sound can be passed piece by piece. The GIL is free meanwhile.
    """

    def __new__(cls, decay: NDArray[np.float64], angle: NDArray[np.float64], hop: int = 1) -> OscillatorBank: ...
    def __len__(self) -> int: ...
    @property
    def hop(self) -> int: ...
    def process(self, audio: F32) -> F32:
        """States after samples 0, hop, 2 hop … since the start or `reset` [shape=(frames, 2 N)]: Re z (N), Im z (N)."""

    def energies(self, audio: F32) -> F32:
        """Mean |z|² over each full frame of `hop` samples since the start or `reset` [shape=(frames, N)].

        Moves the same states as `process`; the samples of a frame not yet full are carried to the next call.
        """

    def reset(self) -> None: ...

def hosted_info(kind: str, doc: str) -> ProcessorInfo:
    """What every processor that hosts a model has, under this name, before a model adds its own parameters."""

def hosted_latency(hop: int, block: int, spare: int) -> int:
    """Samples from input to output of a hosted model live, without the model's own: see docs/neural.md."""

@final
class Model:
    """A verified model package, opened by the runtime. The manifest's entries are taken as they are."""

    def __new__(cls, library: str, kind: str, doc: str, manifest: Manifest, model: bytes) -> Model:
        """`library`: absolute path of libonnxruntime. The model is opened and run three times, GIL released.

        ValueError with the reason if it cannot be opened or run, or takes too long (docs/neural.md). Ctrl-C ends the
        wait.
        """

    @property
    def info(self) -> ProcessorInfo: ...

@final
class LookaheadBank:
    """`OscillatorBank` in both directions, live: the backward half sees `lookahead_samples` ahead, and rows come that late.

    Re F, Im F, Re B, Im B, with B[n] = Σ λ^m b x[n + m] over m = 0 … lookahead_samples. Calls go on where the last
    ended; any division of a sound gives the same bits. The GIL is free meanwhile.
    """

    def __new__(
        cls, decay: NDArray[np.float64], angle: NDArray[np.float64], lookahead_samples: int, hop: int = 1
    ) -> LookaheadBank: ...
    def __len__(self) -> int: ...
    @property
    def hop(self) -> int: ...
    @property
    def latency_samples(self) -> int: ...
    def process(self, audio: F32) -> F32:
        """Rows of the samples 0, hop, 2 hop … whose look-ahead these samples complete [shape=(frames, 4 N)]."""

    def reset(self) -> None: ...

@final
class EsnAnalysis:
    """The network of `esn` alone, one channel, for analysis: every state out of sound, the same bits as the processor's.

    s ← s + leak ∘ (tanh(w_in x + W s) − s). Calls go on where the last ended. The GIL is free meanwhile.
    ValueError names a setting that is out of range.
    """

    def __new__(
        cls,
        nodes: int = 64,
        density: float = 0.1,
        spectral_radius: float = 0.99,
        seed: int = 42,
        leak_min: float = 1e-4,
        leak_max: float = 1.0,
    ) -> EsnAnalysis: ...
    def __len__(self) -> int: ...
    @property
    def achieved_radius(self) -> float:
        """Largest eigenvalue modulus of W as it runs; 0 where W has no cycle."""

    @property
    def w(self) -> F32:
        """Recurrent weights [shape=(N, N)]; row i feeds node i."""

    @property
    def w_in(self) -> F32:
        """Input weights [shape=(N,)]."""

    @property
    def leak(self) -> F32:
        """Leak rates per sample [shape=(N,)], node 0 the slowest."""

    def process(self, audio: F32) -> F32:
        """States after each sample of a sound [shape=(samples,)]: float32 [shape=(samples, N)]."""

    def set_state(self, state: F32) -> None:
        """Goes on from this state [shape=(N,)], numbers from -1 to 1."""

    def reset(self) -> None:
        """Back to the state 0."""

@final
class ManifoldStepper:
    """A trained manifold, one frame at a time from carried state (`offline/manifold`). The GIL is free meanwhile.

    A step's cost does not depend on how long the stream is; it grows at most linearly with `history_frames`, the
    states that the dynamics look back on, which is `window` of torch's `rollout`. A recurrent unit
    (`dynamics = "residual"`) carries a state of its own and looks back on all.

    ValueError names a setting or tensor that does not fit, and a frame with NaN or Inf, which changes nothing.
    """

    def __new__(
        cls,
        spec: dict[str, Any],
        tensors: dict[str, F32],
        history_frames: int = 128,
        predicts: bool = True,
    ) -> ManifoldStepper:
        """Spec: the entries of `ModelSpec`, in a dict; tensors: torch's state_dict as float32, in a dict.

        predicts: a rotor finds its rotation in every frame, which `ahead` needs and rollouts do not.
        """

    @property
    def channels(self) -> int: ...
    @property
    def latent(self) -> int: ...
    @property
    def history_frames(self) -> int: ...
    def push(self, frames: F32) -> F32:
        """Frames that were heard [shape=(count, channels)] -> their states [shape=(count, latent)]."""

    def place(self, states: F32) -> None:
        """States in place of frames [shape=(count, latent)]."""

    def ahead(self) -> F32:
        """The state one frame on [shape=(1, latent)]; nothing moves."""

    def roll(self, count: int) -> F32:
        """Lost frames: the states that follow [shape=(count, latent)], each fed back."""

    def decode(self, states: F32) -> F32:
        """Frames [shape=(count, channels)] of states [shape=(count, latent)], each alone."""

    def step(self, frames: F32, lost: NDArray[np.bool_]) -> F32:
        """A stream [shape=(count, channels)], some of it lost [shape=(count,)] and not looked at -> decoded states.

        The encoder hears what was put in for lost frames. Lost frames before the first heard one give zeros.
        """

    def reset(self) -> None:
        """Forgets all that was heard."""

@final
class Processor:
    """One native processor, used alone or handed to an Engine (which builds its own copy)."""

    def __new__(cls, name: str) -> Processor:
        """KeyError if there is no such processor."""

    @staticmethod
    def of_model(model: Model) -> Processor:
        """A processor that hosts this model: inline alone and in offline engines, on a worker in live ones."""

    @property
    def name(self) -> str: ...
    @property
    def info(self) -> ProcessorInfo: ...
    def set(self, name: str, value: float) -> None:
        """Sets a parameter (clamped). KeyError for an unknown name."""

    def get(self, name: str) -> float: ...
    def set_array(self, name: str, data: F32) -> None:
        """1-D or 2-D float32 (flattened row-major). KeyError; ValueError if the length does not fit or the array can not be set after prepare."""

    def prepare(self, sample_rate: float, max_block: int, channels: int) -> None:
        """ValueError with a sentence when the settings can not work."""

    def process(self, audio: F32) -> F32:
        """(channels, frames) in, the same shape out; any number of frames. GIL released; calls of several threads take turns.

        A block that came out with NaN or Inf is silence, the processor starts over, and `faults` counts it. RuntimeError
        before prepare, if another thread prepares it anew meanwhile, and for a model that is out of use.
        """

    @property
    def faults(self) -> int:
        """Blocks muted because of NaN or Inf, ever."""

    def reset(self) -> None: ...
    @property
    def latency_samples(self) -> int: ...
    @property
    def tail_samples(self) -> int: ...
    def tap(self, name: str) -> F32:
        """The tap's values after the last sample processed."""

    def save_state(self) -> bytes: ...
    def load_state(self, state: bytes) -> None:
        """ValueError if it was saved with other settings."""

@final
class Tap:
    """A subscription: frames of one tap of one slot, every `hop` samples, at exact sample times."""

    @property
    def width(self) -> int: ...
    @property
    def hop(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    def read(self) -> tuple[NDArray[np.uint64], F32]:
        """All frames waiting: times (n,) in samples processed, values (n, width)."""

@final
class Worker:
    """The worker's half of a processor that runs on its own thread (pedalboard, VST3, models)."""

    @property
    def slot(self) -> int: ...
    @property
    def hop(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def latency_samples(self) -> int: ...
    def pull(self, timeout_s: float) -> F32 | None:
        """Waits (GIL released) for the next `hop` frames: (channels, hop), or None on time-out or when closed."""

    def push(self, audio: F32) -> None:
        """Gives `hop` processed frames back, in order."""

    @property
    def closed(self) -> bool:
        """True once the slot was removed or the engine dropped."""

@final
class Player:
    """The feeding half of a slot that plays a file into a chain driven by a device."""

    @property
    def slot(self) -> int: ...
    def feed(self, audio: F32) -> int:
        """Queues (channels, frames); returns how many frames fitted."""

    def end(self) -> None:
        """No more will come: the silence after the last frame is no fault."""

    @property
    def played(self) -> int:
        """Frames played so far."""

    @property
    def finished(self) -> bool:
        """All that was fed before `end` was played."""

@final
class Recorder:
    """The draining half of a slot that keeps what passes through it, or of `Engine.listen`."""

    @property
    def slot(self) -> int: ...
    def drain(self, max_frames: int) -> F32:
        """What waits, up to max_frames: (channels, n)."""

    @property
    def dropped(self) -> int:
        """Frames lost because the ring was full."""

@final
class Engine:
    """The real engine. Driven by a device (callback addresses below), by a PacedStream, or by process()."""

    def __new__(cls, sample_rate: float, channels: int, max_block: int = 1024) -> Engine: ...
    @property
    def sample_rate(self) -> float: ...
    @property
    def channels(self) -> int: ...
    @property
    def max_block(self) -> int: ...
    @property
    def live(self) -> bool:
        """Whether models that are inserted from now on get worker threads; a device can only drive such an engine."""

    @live.setter
    def live(self, on: bool) -> None: ...
    # -- chain edits: cross-faded over 10 ms; `processor` is built and prepared here, on this thread
    def insert(self, index: int, processor: Processor) -> int:
        """Takes parameters and arrays of `processor` into a new slot; returns the slot's id. The processor object stays usable and independent."""

    def insert_inline(
        self,
        index: int,
        call: Callable[[F32], F32],
        latency_samples: int,
        tail_samples: int,
        name: str,
        reset: Callable[[], None],
        keeper: tuple[Callable[[], None], Callable[[], None]] | None = None,
    ) -> int:
        """A Python processor run in the block loop. Offline only: RuntimeError once a device or PacedStream drives the engine.

        keeper: keeps the sound as it is now, and puts it back, for `ahead`.
        """

    def insert_worker(self, index: int, hop: int, latency_samples: int, tail_samples: int, name: str) -> Worker:
        """A slot served by another thread. Total latency = latency_samples, at least hop + max_block; late blocks are concealed by the delayed dry signal."""

    def insert_player(self, index: int, ring_seconds: float) -> Player:
        """A slot that plays what is fed, in place of its input. Missing frames are silence and counted in its late_blocks."""

    def insert_recorder(self, index: int, ring_seconds: float) -> Recorder:
        """A slot that keeps a copy of what passes through it. Blocks that find no room are counted in its late_blocks."""

    def listen(self, slot: int, ring_seconds: float) -> Recorder:
        """Hands a copy of what enters a slot to the Recorder, at no latency, until that is dropped or `listen` is called again."""

    def replace(self, slot: int, processor: Processor) -> None: ...
    def remove(self, slot: int) -> None: ...
    def move(self, slot: int, index: int) -> None: ...
    def bypass(self, slot: int, on: bool) -> None: ...
    # -- parameters
    def set(self, slot: int, name: str, value: float, time: int | None = None) -> None:
        """At sample `time` (see sample_time), or at the next block. Setup parameters: ValueError (use replace)."""

    def set_array(self, slot: int, name: str, data: F32) -> None:
        """Live arrays only."""

    def get(self, slot: int, name: str) -> float:
        """Last value set."""

    def panic(self) -> None:
        """Fades out over 10 ms, resets every processor, fades in."""

    def subscribe(self, slot: int, tap: str, hop: int) -> Tap: ...
    # -- state
    def slots(self) -> list[int]:
        """Slot ids in chain order."""

    @property
    def latency_samples(self) -> int: ...
    @property
    def tail_samples(self) -> int: ...
    @property
    def sample_time(self) -> int:
        """Samples played so far; the clock of timed events."""

    def stats(self) -> EngineStats: ...
    def reset_stats(self) -> None: ...
    # -- drive it
    def process(self, audio: F32) -> F32:
        """Device-free driver: (channels, frames) in and out, any number of frames, cut into max_block.

        RuntimeError while a device drives the engine, and, unless it is live, once a slot is out of use.
        """

    def ahead(self, frames: int) -> F32:
        """What comes out if `frames` of silence follow now: (channels, frames); everything stays as it is.

        Device-free like `process`. RuntimeError if a processor cannot keep its sound and put it back.
        """

    def attach(self) -> tuple[int, int]:
        """(address of the PaStreamCallback, address of its userdata); the device owns the audio side until detach()."""

    def fade_out(self, patience_s: float) -> bool:
        """Fades what the attached device plays to silence within 10 ms; False if it asks for no more blocks.

        Waits for the device, at most `patience_s` (0 to 10 s), without the GIL. The next `attach` fades in.
        """

    def detach(self) -> None:
        """To call after the stream is closed."""

    @property
    def attached(self) -> bool: ...

@final
class PacedStream:
    """Drives an engine at real-time pace on a native thread, from and to rings: the file and null devices."""

    def __new__(cls, engine: Engine, block: int, ring_seconds: float = 10.0, null: bool = False) -> PacedStream: ...
    def feed(self, audio: F32) -> int:
        """Queues (channels, frames) input; returns how many frames fitted."""

    def end(self) -> None:
        """No more input: the stream finishes after the last queued frame."""

    def drain(self, max_frames: int) -> F32:
        """Output waiting, up to max_frames: (channels, n)."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    @property
    def finished(self) -> bool:
        """All input was played (output may still wait in the ring)."""

    @property
    def stalls(self) -> int:
        """Blocks that started late because input was missing or the output ring full; nothing is lost."""

    @property
    def late_starts(self) -> int:
        """Blocks that started more than one block period late (scheduling)."""

def detected_simd() -> str:
    """ "avx2" or "plain"."""

def keep_float_mode(call: Callable[[], _T]) -> _T:
    """Calls `call` and brings this thread's floating-point mode back afterwards: plugin files built with -ffast-math change it by being loaded, and then all of Python computes without denormals."""
