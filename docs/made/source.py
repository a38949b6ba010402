"""minidock's own source as data: modules, functions, lines, imports. Nothing of it is imported.

The documentation names functions as `minidock.module:function`; a name that is not in the source is an error
of the page, found at build time and by tests/docs.
"""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "minidock"


class UnknownReference(LookupError):
    """A page names something that is not there."""


@dataclass(frozen=True)
class Definition:
    """A function, method, class or constant: where it stands, and how long it is (decorators included)."""

    module: str
    name: str
    first_line: int
    last_line: int
    kind: str
    has_docstring: bool = False

    @property
    def lines(self) -> int:
        return self.last_line - self.first_line + 1


@functools.cache
def tree(module: str) -> ast.Module:
    """Parse a module of minidock by its dotted name; UnknownReference when there is none."""
    base = CHECKOUT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return ast.parse(path.read_text(encoding="utf-8"), str(path))
    raise UnknownReference(f"there is no module {module}")


def modules() -> list[str]:
    """Return the dotted names of all modules, packages included."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(CHECKOUT).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(found)


def packages() -> list[str]:
    """Return the names of minidock's packages, `kernel` and so on."""
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


@functools.cache
def definitions(module: str) -> dict[str, Definition]:
    """Return what a module defines at its top and in its classes, by qualified name (`Engine.open`)."""
    return {found.name: found for found in _definitions(module, tree(module), "")}


def _definitions(module: str, parent: ast.AST, prefix: str) -> Iterator[Definition]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            yield Definition(
                module,
                prefix + node.name,
                first,
                node.end_lineno or first,
                kind,
                bool(ast.get_docstring(node)),
            )
            if kind == "class":
                yield from _definitions(module, node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try):
            yield from _definitions(module, node, prefix)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield Definition(
                        module, prefix + target.id, node.lineno, node.end_lineno or node.lineno, "data"
                    )


def resolve(reference: str) -> Definition:
    """Return what `minidock.module:name` means; UnknownReference when it means nothing."""
    module, _, name = reference.partition(":")
    if not module.startswith("minidock"):
        raise UnknownReference(f"{reference}: a reference begins with minidock.")
    if not name:
        tree(module)
        return Definition(module, "", 1, 1, "module")
    found = definitions(module).get(name)
    if found is None:
        raise UnknownReference(f"{module} has no {name}")
    return found


def resolve_test(reference: str) -> Path:
    """Return the file of `tests/x/test_y.py::test_z`; UnknownReference when there is no such test."""
    file, _, name = reference.partition("::")
    path = CHECKOUT / file
    if not path.is_file():
        raise UnknownReference(f"there is no {file}")
    names = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
    if name and name not in names:
        raise UnknownReference(f"{file} has no {name}")
    return path


def summary(module: str) -> str:
    """Return the first sentence of a module's docstring, in one line."""
    text = " ".join((ast.get_docstring(tree(module)) or "").split("\n\n")[0].split())
    return text if len(text) < 200 else text.partition(". ")[0].rstrip(".") + "."


def lines_of(package: str) -> int:
    """Return the number of source lines in a package."""
    return sum(len(path.read_text().splitlines()) for path in (PACKAGE / package).rglob("*.py"))


def imports() -> dict[tuple[str, str], int]:
    """Return how many modules of one package import another package: {("engine", "kernel"): 12}."""
    own = set(packages())
    count: dict[tuple[str, str], int] = {}
    for module in modules():
        package = module.split(".")[1] if module.count(".") else ""
        if package not in own:
            continue
        for target in {name for name in _imported(tree(module)) if name in own and name != package}:
            count[package, target] = count.get((package, target), 0) + 1
    return count


def _imported(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "minidock":
            names = [f"minidock.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            parts = name.split(".")
            if parts[0] == "minidock" and len(parts) > 1:
                yield parts[1]
