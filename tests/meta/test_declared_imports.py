"""Each package imports only what its own pyproject declares: the shared environment would hide the rest."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = sorted(
    path.parent for part in ("libs", "services", "deploy") for path in ROOT.glob(f"{part}/*/pyproject.toml")
)
DISTRIBUTIONS = packages_distributions()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(project: Path) -> set[str]:
    document = tomllib.loads((project / "pyproject.toml").read_text())
    return {
        canonical(re.split(r"[\[<>=!~ ;]", item)[0]) for item in document["project"].get("dependencies", [])
    }


def imported(project: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in project.glob("src/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            else:
                continue
            for name in names:
                found.setdefault(name.split(".")[0], path)
    return found


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_a_package_declares_what_it_imports(project: Path) -> None:
    if project.name == "testkit":
        pytest.skip("development only: it may use the whole environment")
    own = tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"]
    allowed = declared(project) | {canonical(own)}
    missing: dict[str, str] = {}
    for module, path in imported(project).items():
        if module in sys.stdlib_module_names or module == "__future__":
            continue
        providers = {canonical(name) for name in DISTRIBUTIONS.get(module, [module])}
        if not providers & allowed:
            missing[module] = str(path.relative_to(ROOT))
    assert missing == {}


def test_no_committed_text_names_an_index_or_a_path_of_one_machine() -> None:
    import subprocess

    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    words = ["py" + "pi.org", "python" + "hosted", "registry.npm" + "js", "/wo" + "rk/", "/ro" + "ot/"]
    found = [
        (name, word)
        for name in files.split("\0")
        if name and (ROOT / name).is_file()
        for word in words
        if word.encode() in (ROOT / name).read_bytes()
    ]
    assert found == []
