"""Pages made by code say what the code says."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_processor_reference_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("docs_script", ROOT / "scripts" / "docs.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = (ROOT / "docs" / "processors.md").read_text(encoding="utf-8")
    assert page == script.reference(), "run .venv/bin/python scripts/docs.py"


def test_every_processor_is_in_the_readme() -> None:
    from cspace import _native

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for p in _native.processors():
        assert f"| `{p['name']}` |" in readme, f"{p['name']} is not in the README's table"
