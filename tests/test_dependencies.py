"""Every package that is imported is a declared dependency."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]

# pydantic depends on one version of it exactly.
WITH_ANOTHER = {"pydantic-core"}


def imported(path: Path) -> set[str]:
    """The packages that a file imports anywhere."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names}


def test_every_imported_package_is_a_declared_dependency() -> None:
    """No package is installed only as a dependency of another one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = project["dependencies"]
    assert declared == sorted(declared)
    extras = project["optional-dependencies"]
    optional = [line for extra, lines in extras.items() if extra != "dev" for line in lines]
    packages = set().union(*map(imported, (ROOT / "nas").rglob("*.py"))) - sys.stdlib_module_names - {"nas"}
    owners = packages_distributions()
    # Extras need not be installed: their packages are called as their modules are.
    needed = {re.sub("[-_.]+", "-", owners.get(name, [name])[0]).lower() for name in packages}
    assert needed - WITH_ANOTHER <= {re.split("[<>=]", line)[0] for line in (*declared, *optional)}
