"""The rule of `cspace.clioutputs`, asked of every command there is: a new one that forgets it fails here."""

import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
import typer
from typer.testing import CliRunner

from cspace.cli import app
from cspace.clioutputs import OutputFile, OutputFolder, declared

#: Parameters that name what is read. A new path goes here, or declares what it writes (see `clioutputs`).
INPUTS = {
    "chain", "clip", "clips", "config", "checkpoint_file", "data", "eq", "files", "folder", "index", "input", "ksom",
    "latents", "model", "music", "original", "package", "query", "reconstruction", "recordings", "reference", "result",
    "root", "run", "runs", "score", "source", "sources", "speech", "splits", "word",
}  # fmt: skip
#: `presets` is written only when a player saves one by name, over OSC (tests/realtime).
ASKED_LATER = {"presets"}


def leaves(group: typer.Typer, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Callable[..., Any]]]:
    for command in group.registered_commands:
        function: Any = command.callback
        yield (*words, command.name or function.__name__.replace("_", "-")), function
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from leaves(inner.typer_instance, (*words, str(inner.typer_instance.info.name)))


COMMANDS = dict(leaves(app))
# Built once: typer's runner would build all commands anew for every line.
COMMAND: Any = typer.main.get_command(app)
FILES = [
    (words, name, kind)
    for words, function in COMMANDS.items()
    for name, kind in declared(function).items()
    if isinstance(kind, OutputFile)
]
FOLDERS = [
    (words, name, kind)
    for words, function in COMMANDS.items()
    for name, kind in declared(function).items()
    if isinstance(kind, OutputFolder)
]


def ids(case: Any) -> str:
    return " ".join(case) if isinstance(case, tuple) else str(case) if isinstance(case, str) else ""


def base(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def is_path(parameter: inspect.Parameter) -> bool:
    kind = base(parameter.annotation)
    return Path in (kind, *get_args(kind))


def inputs(words: tuple[str, ...]) -> list[str]:
    """The parameters of a command that name what it reads."""
    function = COMMANDS[words]
    named = inspect.signature(function, eval_str=True).parameters.items()
    return [n for n, p in named if n not in declared(function) and is_path(p)]


def arguments(words: tuple[str, ...], given: dict[str, Path]) -> list[str]:
    """A command line with what the command needs; `given` over that, by parameter."""
    command = COMMAND
    for word in words:
        command = command.commands[word]
    line = list(words)
    # Arguments are by place: those before a given one are needed as well.
    places = [p.name for p in command.params if p.param_type_name == "argument"]
    last = max((places.index(n) for n in given if n in places), default=-1)
    free = {n: f"free{suffix(k)}" for n, k in declared(COMMANDS[words]).items() if isinstance(k, OutputFile)}
    for p in command.params:
        if p.param_type_name == "argument":
            if p.name in given:
                line.append(str(given[p.name]))
            elif p.required or places.index(p.name) <= last:
                line.append(free.get(p.name, "7"))  # a number is what every type takes; no file has this name
        elif p.name in given:
            line += [max(p.opts, key=len), str(given[p.name])]
        elif p.required:
            line += [max(p.opts, key=len), free.get(p.name, "7")]
    return line


def refused(line: list[str]) -> str:
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 2, (line, result.output, result.exception)
    text = " ".join(result.output.split())
    assert text.startswith("cspace: "), text
    assert "Traceback" not in text
    return text


def suffix(kind: OutputFile) -> str:
    return kind.suffixes[0] if kind.suffixes else ".wav"


@pytest.fixture(autouse=True)
def _built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.testing._get_command", lambda _: COMMAND)


# ---- nothing is forgotten --------------------------------------------------------------------


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 50
    assert len(FILES) > 25
    assert len(FOLDERS) > 20


@pytest.mark.parametrize("words", COMMANDS, ids=ids)
def test_every_path_is_read_or_declared_as_written(words: tuple[str, ...]) -> None:
    function = COMMANDS[words]
    outputs = declared(function)
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if is_path(parameter):
            assert name in outputs or name in INPUTS | ASKED_LATER, f"{' '.join(words)}: is {name} read or written?"
            help_text = next(a.help for a in get_args(parameter.annotation)[1:] if hasattr(a, "help")) or ""
            written = any(w in help_text.lower() for w in ("write", "draw", "folder for ", "copy"))
            assert not written or name in outputs, f"{' '.join(words)}: {name} ({help_text}) is written"


@pytest.mark.parametrize("words", COMMANDS, ids=ids)
def test_what_writes_can_be_forced(words: tuple[str, ...]) -> None:
    outputs = declared(COMMANDS[words])
    needs = any(not getattr(kind, "own", False) for kind in outputs.values())
    assert ("force" in inspect.signature(COMMANDS[words]).parameters) == needs


# ---- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "name", "kind"), FILES, ids=ids)
def test_another_suffix_is_refused(
    words: tuple[str, ...], name: str, kind: OutputFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for other in ("x.doc", "x.toml", "x.png.bak") + (() if kind.suffixes and ".wav" not in kind.suffixes else ("x",)):
        if other == "x" and kind.port:
            continue  # a device may have this name
        path = tmp_path / other
        text = refused(arguments(words, {name: path}))
        assert other in text
        assert not path.exists()


@pytest.mark.parametrize(("words", "name", "kind"), FILES, ids=ids)
def test_a_file_is_kept(
    words: tuple[str, ...], name: str, kind: OutputFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"x{suffix(kind)}"
    path.write_bytes(b"precious")
    line = arguments(words, {name: path})
    if not kind.updates:
        assert "exists and is kept; --force replaces it" in refused(line)
        (tmp_path / f"l{suffix(kind)}").symlink_to(path)
        assert "is kept" in refused(arguments(words, {name: tmp_path / f"l{suffix(kind)}"}))
    path.chmod(0o444)
    assert "chmod u+w" in refused([*line, "--force"])
    assert path.read_bytes() == b"precious"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize(("words", "name", "kind"), FILES, ids=ids)
def test_a_place_that_takes_no_file_is_told(
    words: tuple[str, ...], name: str, kind: OutputFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    end = suffix(kind)
    (tmp_path / f"folder{end}").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / f"pipe{end}")
    (tmp_path / f"loop{end}").symlink_to(f"loop{end}")
    for path, said in (
        (f"folder{end}", "is a folder"),
        (f"file/x{end}", "is a file, not a folder"),
        (f"none/x{end}", "does not exist"),
        (f"pipe{end}", "is a pipe"),
        (f"loop{end}", "leads back to itself"),
        (f"{'n' * 300}{end}", "too long"),
        (f"/proc/x{end}", "/proc/x"),
    ):
        assert said in refused([*arguments(words, {name: tmp_path / path}), "--force"])


@pytest.mark.parametrize(("words", "name", "kind"), [f for f in FILES if inputs(f[0])], ids=ids)
def test_an_input_is_no_output(
    words: tuple[str, ...], name: str, kind: OutputFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, link, hard = (tmp_path / f"{n}{suffix(kind)}" for n in ("x", "link", "hard"))
    path.write_bytes(b"precious")
    link.symlink_to(path)
    os.link(path, hard)
    for source in inputs(words):
        for target in (path, link, hard):
            line = arguments(words, {source: path, name: target})
            for full in (line, [*line, "--force"]):
                assert "is the input" in refused(full), (source, target)
    assert path.read_bytes() == b"precious"
    assert link.is_symlink()


def test_two_results_into_one_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.wav").write_bytes(b"x")
    for model in ("new.wav.json", "./new.wav.json"):
        assert "two results" in refused(["ksom", "generate", "in.wav", "-o", "new.wav", "--model", model])


# ---- folders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "name", "kind"), FOLDERS, ids=ids)
def test_a_place_that_takes_no_folder_is_told(
    words: tuple[str, ...], name: str, kind: OutputFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, said in (
        ("file", "is a file"),
        ("pipe", "is a file"),
        ("file/x", "is a file, not a folder"),
        ("file/x/y", "is a file, not a folder"),
        ("loop", "leads back to itself"),
        ("/proc/x", "/proc/x"),
    ):
        assert said in refused(arguments(words, {name: tmp_path / path}))
    assert (tmp_path / "file").read_bytes() == b"x"


# ---- names that commands make up -------------------------------------------------------------

MADE_UP: list[tuple[list[str], str]] = [
    (["codec", "encode", "in.wav"], "in.csc"),
    (["codec", "decode", "in.csc"], "in.wav"),
    (["ksom", "generate", "in.wav", "-o", "new.wav"], "new.wav.json"),
    (["ksom", "generate", "in.wav", "-o", "new.wav", "--plots", "p"], "p/states.png"),
    (["eq", "apply", "in.wav", "-w", "warm", "-i", "0.7", "-o", "p"], "p/in.warm.+0.70.wav"),
    (["eq", "compare", "in.wav", "-w", "warm", "-i", "0.7", "-o", "p"], "p/in.warm.+0.70.B.wav"),
    (["eq", "compare", "in.wav", "-w", "warm", "-i", "0.7", "-o", "p"], "p/in.warm.+0.70.json"),
    (["eq", "pictures", "--data", "synthetic", "--music", "in.wav", "-o", "p"], "p/eq_latents.png"),
    (["manifold", "data", "-r", "p"], "p/manifold_data_chords.png"),
    (["manifold", "ablate", "-r", "p"], "p/manifold_ablate.md"),
    (["manifold", "heal", "-r", "p"], "p/manifold_heal.json"),
    (["manifold", "portrait", "run", "-r", "p"], "p/manifold_portrait.png"),
    (["manifold", "impute", "rotor", "-r", "p"], "p/manifold_impute.wav"),
    (["lab", "search", "in.wav", "100", "-r", "p"], "p/search_in_q100.json"),
    (["lab", "robustness", "in.wav", "100", "-r", "p"], "p/robustness_in_q100.png"),
    (["lab", "quantize", "in.wav", "100", "-r", "p"], "p/quantize_in_q100.json"),
    (["lab", "recall", ".", "-r", "p"], "p/recall_report.json"),
    (["lab", "spectrogram", "in.wav", "100", "-r", "p"], "p/spectrogram_in_100.png"),
    (["lab", "drift", "-r", "p"], "p/drift_made.json"),
    (["lab", "landscape", "in.wav", "-r", "p"], "p/landscape_in.json"),
    (["lab", "theory", "-r", "p"], "p/theory.json"),
    (["lab", "agreement", "in.wav", "-r", "p"], "p/agreement.json"),
    (["lab", "lookahead", "in.wav", "-r", "p"], "p/lookahead.png"),
    (["lab", "losses", "in.wav", "-r", "p"], "p/losses_in.json"),
    (["phase0", "tier1", "check", "-r", "p"], "p/tier1_check.json"),
    (["phase0", "tier1", "collect", "-o", "p"], "p/results.md"),
    (["manifold", "export", "run", "p"], "p/CARD.md"),
    (["train", "codec", "--data", "synthetic", "--out", "p"], "p/CARD.md"),
    (["train", "codec", "--data", "synthetic", "--out", "p"], "p/music.txt"),
    (["train", "codec", "--data", "synthetic", "--out", "p", "--no-resume"], "p/checkpoint.json"),
    (["train", "eq", "--data", "synthetic", "--out", "p"], "p/eq.json"),
    (["train", "audio-encoder", "--data", "synthetic", "--out", "p"], "p/model.json"),
    (["manifold", "train", "--out", "p"], "p/song.wav"),
    (["manifold", "train", "--out", "p", "--no-resume"], "p/run.json"),
    (["phase0", "prepare", "-o", "p"], "p/config.yaml"),
    (["index", "build", "lib", "p"], "p/song.wav"),
]


@pytest.mark.parametrize(("line", "name"), MADE_UP, ids=[f"{' '.join(line)}: {name}" for line, name in MADE_UP])
def test_names_that_a_command_makes_up_are_kept_too(
    line: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for made in ("in.wav", "in.csc"):
        Path(made).write_bytes(b"no sound, so that work would fail otherwise")
    Path("run").mkdir()
    Path("lib").mkdir()
    Path("lib/in.wav").write_bytes(b"no sound")
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(b"precious")
    text = refused(line)
    assert any(w in text for w in ("--force", "is not empty")), text
    assert Path(name).read_bytes() == b"precious"
    assert [p for p in Path(name).parent.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (["phase0", "run", "-o", "p", "--force"], "p/latents/mine.txt"),
        (["phase0", "tier1", "exp1", "lat", "-o", "p", "--run-id", "a", "--force"], "p/a/exp1/mine.txt"),
        (["manifold", "export", "run", "p", "--no-onnx", "--force"], "p/mine.txt"),
    ],
    ids=["phase0", "tier1", "export"],
)
def test_force_empties_no_folder_of_others(
    line: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path(name).parent.mkdir(parents=True)
    Path(name).write_bytes(b"precious")
    assert CliRunner().invoke(app, line).exit_code == 2
    assert Path(name).read_bytes() == b"precious"


def test_two_inputs_of_one_name_do_not_lose_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "song.wav").write_bytes(b"x")
    text = refused(["eq", "apply", "a/song.wav", "b/song.wav", "-w", "warm", "-i", "0.5"])
    assert "two results" in text


def test_a_file_in_a_folder_that_is_read_is_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("album").mkdir()
    Path("album/new.wav").write_bytes(b"precious")
    Path("there").symlink_to("album")
    for target in ("album/new.wav", "there/new.wav"):
        text = refused(["ksom", "generate", "album", "-o", target, "--force"])
        assert "is one of the files in album" in text
    assert Path("album/new.wav").read_bytes() == b"precious"


@pytest.mark.parametrize("forced", [False, True])
def test_a_sound_file_is_never_taken_for_the_coded_one(
    forced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav", "c.flac"):
        Path(name).write_bytes(name.encode())
    for other in ("b.wav", "c.flac", "a.wav"):
        assert ".csc" in refused(["codec", "encode", "a.wav", other, *(["--force"] if forced else [])])
    for name in ("a.wav", "b.wav", "c.flac"):
        assert Path(name).read_bytes() == name.encode()


# ---- asked at a terminal ---------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "replaced"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_it_is_asked_at_a_terminal(
    answer: str, replaced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import soundfile as sf

    from cspace import clioutputs

    monkeypatch.chdir(tmp_path)
    Path("g.toml").write_text('[[processor]]\ntype = "gain"\n')
    sf.write("in.wav", np.zeros(480, np.float32), 48_000)
    Path("out.wav").write_bytes(b"precious")
    monkeypatch.setattr(clioutputs, "_at_terminal", lambda: True)
    result = CliRunner().invoke(app, ["render", "g.toml", "in.wav", "out.wav"], input=answer)
    assert "out.wav exists; replace it?" in result.output
    assert result.exit_code == (0 if replaced else 1)
    assert (Path("out.wav").read_bytes() != b"precious") == replaced
