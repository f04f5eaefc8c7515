"""Who may import whom (design.md), and that nothing on the app's import path brings in torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"curate_app", "loop", "model", "data"}
ALLOWED = {"curate_app": {"loop", "data"}, "loop": {"model", "data"}, "model": set(), "data": set()}
TORCH = {"torch", "torchvision", "torchcfm", "safetensors"}
APP = [
    "curate_app.web.app", "curate_app.cli", "curate_app.processes", "loop.study", "loop.raters.journey",
    "loop.config", "loop.presets", "data.store", "data.choice_log.export", "data.datasets", "data.images",
    "model.config", "loop.selfcheck", "loop.analysis.report", "loop.analysis.plan",
]  # fmt: skip


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """The modules that a file imports; with `everywhere`, inside functions too."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found.add(node.module or "")
    return found


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_imports_only_those_it_may(package: str):
    files = modules(package)
    assert len(files) > 3
    for path in files:
        others = {name.split(".")[0] for name in imports(path)} & PACKAGES - {package}
        assert others <= ALLOWED[package], f"{path.relative_to(ROOT)} imports {others - ALLOWED[package]}"


@pytest.mark.parametrize("package", ["curate_app", "data"])
def test_torch_is_never_imported_at_the_top_of_these(package: str):
    for path in modules(package):
        assert not {name.split(".")[0] for name in imports(path, everywhere=False)} & TORCH, path


def test_model_knows_no_files_of_studies():
    for path in modules("model"):
        assert not imports(path) & {"sqlite3", "sqlite_utils", "tomlkit"}, path


def test_importing_the_app_leaves_torch_out():
    code = f"import sys\nfor module in {APP!r}:\n    __import__(module)\n"
    code += f"    print(module, *sorted({TORCH!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == APP


def test_the_test_sees_torch_where_it_is():
    code = "import sys, loop.worker; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "True"
