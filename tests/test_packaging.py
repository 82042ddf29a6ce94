"""The wheel holds everything, and works in an environment that has never seen this repository."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINKED = ("realtime", "plugins", "offline", "export")
# Names are read from the files: to walk packages is to import them, and with them torch.
PROBE = """
import importlib, pathlib, sys
import cspace
home = pathlib.Path(cspace.__file__).parent
files = [p.relative_to(home.parent) for p in home.rglob("*.py") if p.stem != "__main__"]
names = sorted({".".join(p.with_suffix("").parts).removesuffix(".__init__") for p in files} | {"cspace._native"})
studies = [n for n in names if n.startswith(("cspace.offline.", "cspace.export."))]
for name in names:
    if name not in studies:
        importlib.import_module(name)
assert "torch" not in sys.modules, "importing cspace must not import torch"
for name in studies:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as missing:  # what the extras of a plain install would bring
        assert not missing.name.startswith("cspace"), missing
assert "pedalboard" not in sys.modules, "pedalboard is GPL and optional: import it lazily"
print(home)
print(" ".join(names))
"""


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def sources(folder: str) -> set[str]:
    """Files git knows or would take, below one folder: what a wheel must carry."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder, cwd=ROOT).split("\n")
    return {name for name in listed if name and (ROOT / name).is_file()}


def maturin(*args: object) -> None:
    # The environment `make setup` builds in: anything else would compile pyo3 once more.
    prefix = Path(sys.prefix)
    env = os.environ | {"VIRTUAL_ENV": str(prefix), "PATH": f"{prefix / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    run(prefix / "bin" / "maturin", *args, cwd=ROOT, env=env)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    maturin("build", "--release", "--out", out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel in it.

    Only the wheel is installed: the dependencies, unpacked once by `make setup`, are lent by path,
    so that the test needs no network. test_full_install fetches them too.
    """
    home = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", home / "venv", cwd=home)
    python = home / "venv" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('{}'))"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=home)
    lender = run(sys.executable, "-c", where.format("platlib"), cwd=home).strip()
    borrower = run(python, "-c", where.format("platlib"), cwd=home).strip()
    # A path in a .pth file is appended without reading the .pth files there: the editable install
    # of the repository stays invisible.
    Path(borrower, "lent.pth").write_text(lender + "\n", encoding="utf-8")
    return python


def check(python: Path, cwd: Path) -> None:
    """Every subpackage imports from the environment itself, and both commands answer."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    where, names = run(python, "-c", PROBE, cwd=cwd, env=env).splitlines()
    assert Path(where).is_relative_to(python.parent.parent)
    expected = {f"cspace.{folder}" for folder in LINKED} | {"cspace._native", "cspace.cli"}
    assert expected <= set(names.split())
    version = importlib.metadata.version("cspace")
    assert run(python, "-m", "cspace", "--version", cwd=cwd, env=env).split() == ["cspace", version]
    assert "Usage" in run(python.parent / "cspace", "--help", cwd=cwd, env=env)


@pytest.mark.timeout(600)  # a cold build on a slow machine
def test_wheel_holds_every_source_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.namelist()
    assert len(packed) == len(set(packed)), "a file is packed twice"
    for folder in LINKED:
        assert sources(folder) == {n.removeprefix("cspace/") for n in packed if n.startswith(f"cspace/{folder}/")}
    own = {n.removeprefix("src/") for n in sources("src/cspace")}
    assert own <= set(packed)
    assert not [n for n in packed if n.endswith((".pyc", ".part"))]
    assert {Path(n).name for n in packed} >= {"LICENSE-MIT", "LICENSE-APACHE", "py.typed"}
    assert re.search(r"-cp310-abi3-", wheel.name), "one wheel for every Python from 3.10 on"


@pytest.mark.timeout(600)
def test_clean_environment(clean_python: Path, tmp_path: Path) -> None:
    check(clean_python, tmp_path)


@pytest.mark.timeout(300)
def test_sdist_holds_what_a_build_needs(tmp_path: Path) -> None:
    maturin("sdist", "--out", tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        packed = {n.partition("/")[2] for n in tar.getnames()}
    for folder in LINKED:
        assert {f"src/cspace/{n}" for n in sources(folder)} <= packed
    assert {"Cargo.lock", "Cargo.toml", "pyproject.toml", "LICENSE-MIT", "LICENSE-APACHE"} <= packed
    assert {n for n in sources("rust") if n.endswith((".rs", ".toml"))} <= packed


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_full_install(wheel: Path, tmp_path: Path) -> None:
    """The wheel with its declared dependencies, fetched from the package index."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel, cwd=tmp_path)
    check(python, tmp_path)


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_sdist_builds(tmp_path: Path) -> None:
    """A wheel made from the source archive alone holds the same files."""
    maturin("sdist", "--out", tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", tmp_path, archive, cwd=tmp_path)
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as packed:
        names = set(packed.namelist())
    for folder in LINKED:
        assert {f"cspace/{n}" for n in sources(folder)} <= names


def test_links_are_relative() -> None:
    for folder in LINKED:
        link = ROOT / "src" / "cspace" / folder
        assert link.is_symlink(), f"{link} must be a link to ../../{folder}"
        assert os.readlink(link) == f"../../{folder}"


def test_no_index_address_in_the_repository() -> None:
    """Where packages come from is the business of the machine. The registry's name in Cargo.lock is not an address."""
    canonical = "registry+https://github.com/rust-lang/crates.io-index"
    address = re.compile(r"https?://[^\s\"')]*(?:/simple\b|pypi|index|mirror|registry)[^\s\"')]*", re.IGNORECASE)
    found = []
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\n"):
        path = ROOT / name
        if not name or path == Path(__file__) or path.is_symlink() or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        if name == "Cargo.lock":
            text = text.replace(canonical, "")
        found += [f"{name}: {hit}" for hit in address.findall(text)]
    assert not found


def top_level_imports(tree: ast.Module) -> set[str]:
    """Packages a module needs in order to be imported; imports inside functions are lazy and not counted."""
    found: set[str] = set()
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).partition(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return found


def test_imports_are_declared() -> None:
    """The clean environment above borrows its dependencies, so here: the wheel asks for all it imports."""
    declared = {
        re.split(r"[^\w.-]", r)[0].lower() for r in importlib.metadata.requires("cspace") or [] if "extra ==" not in r
    }
    owners = importlib.metadata.packages_distributions()
    stdlib = set(sys.stdlib_module_names) | {"tomllib"}  # tomllib from 3.11 on, tomli before
    for name in sources("realtime") | sources("plugins") | {n for n in sources("src/cspace") if n.endswith(".py")}:
        path = ROOT / name
        if path.suffix != ".py":
            continue
        for package in top_level_imports(ast.parse(path.read_text(encoding="utf-8"))) - stdlib:
            distributions = {d.lower() for d in owners.get(package, [package])}
            assert distributions & declared, f"{name} imports {package}, which pyproject.toml does not declare"
