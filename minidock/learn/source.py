"""Start files and solutions, both made from the engine's own functions: nothing is copied by hand.

The solution of a chapter *is* the engine's source of its seams, cut out of the module with `ast`; the start
file is the same with the bodies taken out. What a function uses besides itself is imported at the head of
both files, and so handed over: the reader writes the steps, not the ctypes.
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minidock.learn.chapters import Chapter, Seam

UNWRITTEN = "raise NotImplemented" + "Error"
_INDENT = "    "
_STANDARD = ("os", "signal", "fcntl", "errno")


@dataclass(frozen=True)
class Cut:
    """One function cut out of its module: its text, and the import lines that its names need."""

    function: str
    text: str
    imports: tuple[str, ...]


def solution(chapter: Chapter) -> str:
    """Return the file that passes: the engine's own functions."""
    return _file(chapter, [cut(chapter, seam) for seam in chapter.seams], _solved(chapter))


def start(chapter: Chapter) -> str:
    """Return the file that a learner begins with: signatures and contracts, no bodies."""
    cuts = [cut(chapter, seam) for seam in chapter.seams]
    emptied = [Cut(one.function, _emptied(one.text), one.imports) for one in cuts]
    return _file(chapter, emptied, _head(chapter, cuts))


def cut(chapter: Chapter, seam: Seam) -> Cut:
    """Cut `seam`'s function out of its module."""
    path = source_file(chapter, seam)
    text = path.read_text()
    tree = ast.parse(text, str(path))
    node = _definition(tree, seam.function, path)
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    siblings = {each.function for each in chapter.seams if each.module == seam.module}
    imports = _imports(tree, node, seam, siblings)
    return Cut(seam.function, "\n".join(lines) + "\n", tuple(imports))


def source_file(chapter: Chapter, seam: Seam) -> Path:
    """Return the file that holds the seam's function."""
    if seam.own:
        return chapter.directory / seam.module
    file = importlib.import_module(seam.module).__file__
    assert file is not None
    return Path(file)


def line_of(text: str, function: str) -> int:
    """Return the line on which `function` begins in `text`, 1 when it is not there or nothing parses."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return 1
    found = [n.lineno for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    return found[-1] if found else 1  # of two with one name Python takes the last


def unwritten(text: str, functions: Sequence[str]) -> list[str]:
    """Return those of `functions` that still are as the start file has them. What does not parse is looked
    at as text.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError:
        bodies = {name: text.partition(f"def {name}(")[2].partition("\ndef ")[0] for name in functions}
        return [name for name, body in bodies.items() if UNWRITTEN in body]
    found = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(step) == UNWRITTEN for step in node.body)
    ]
    return [name for name in functions if name in found]


def statements(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield (function, statement, the text without that statement) for every statement of a function."""
    tree = ast.parse(text)
    lines = text.splitlines()
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        for node in _inner(function):
            first, last = node.lineno - 1, node.end_lineno or node.lineno
            indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
            without = [*lines[:first], f"{indent}pass", *lines[last:]]
            yield function.name, ast.unparse(node).splitlines()[0], "\n".join(without) + "\n"


def _inner(function: ast.FunctionDef) -> Iterator[ast.stmt]:
    for node in ast.walk(function):
        if node is function or not isinstance(node, ast.stmt):
            continue
        if isinstance(node, ast.Pass) or (node is function.body[0] and ast.get_docstring(function)):
            continue
        yield node


def _solved(chapter: Chapter) -> str:
    return f'"""Chapter {chapter.number}, {chapter.title}: the engine\'s own functions."""\n'


def _head(chapter: Chapter, cuts: list[Cut]) -> str:
    lines = [f"Chapter {chapter.number}, {chapter.title}: {chapter.question}", ""]
    lines += textwrap.wrap(
        "Write the bodies. `sudo minidock learn check` grades this file; `minidock learn hint` helps. "
        "Handed over to you:",
        100,
    )
    lines.append("")
    for name, about in handed_over(chapter, cuts):
        lines += textwrap.wrap(f"{name}: {about}", 104, initial_indent="  ", subsequent_indent="      ")
    return '"""' + "\n".join(lines) + '\n"""\n'


def handed_over(chapter: Chapter, cuts: list[Cut]) -> list[tuple[str, str]]:
    """Return each primitive that the functions use, as (call, first line of its docstring)."""
    found: dict[str, str] = {}
    own = set(chapter.functions)
    for one in cuts:
        scope: dict[str, Any] = {}
        exec("\n".join(one.imports), scope)
        for node in ast.walk(ast.parse(one.text)):
            name = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
            value = _resolve(scope, name)
            if not _is_ours(value) or name in own:
                continue
            about = (inspect.getdoc(value) or "").splitlines()[0]
            found.setdefault(name + (_parameters(value) if inspect.isfunction(value) else ""), about)
    return [*sorted(found.items()), *_constants(cuts)]


def _parameters(function: Callable[..., Any]) -> str:
    """Return the parameters without their types, which take three lines and say little here."""
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([each.replace(annotation=each.empty) for each in parameters]))


def _constants(cuts: list[Cut]) -> Iterator[tuple[str, str]]:
    """Yield the constants and tables that the functions take from minidock's modules or that their contracts
    name, each with its value's comment where it is defined.
    """
    found = dict[str, str]()
    for one in cuts:
        scope: dict[str, Any] = {}
        exec("\n".join(one.imports), scope)
        tree = ast.parse(one.text)
        names = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name)]
        for name in [*names, *_promised(tree, scope)]:
            if not name.rpartition(".")[2].isupper() or name.partition(".")[0] in _STANDARD:
                continue
            value = _resolve(scope, name)
            if isinstance(value, int | str):
                found[name] = _comment(_home(one, scope, name), name.rpartition(".")[2]) or repr(value)
            elif isinstance(value, dict):
                key, entry = next(iter(value.items()))
                found[name] = f"a table of {', '.join(value)}; {name}[{key!r}] is {entry!r}"
    yield from sorted(found.items())


def _promised(tree: ast.Module, scope: dict[str, Any]) -> Iterator[str]:
    """Yield the constants of the imported modules that the function's docstring speaks of."""
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    modules = {name: value for name, value in scope.items() if inspect.ismodule(value)}
    for word in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", ast.get_docstring(function) or ""):
        yield from (f"{name}.{word}" for name, module in modules.items() if hasattr(module, word))


def _home(one: Cut, scope: dict[str, Any], name: str) -> str:
    """Return the source of the module that defines a constant."""
    head, _, last = name.rpartition(".")
    if head:
        return inspect.getsource(scope[head])
    line = next(line for line in one.imports if last in line.partition(" import ")[2].split(", "))
    return inspect.getsource(importlib.import_module(line.split()[1]))


def _comment(text: str, name: str) -> str:
    """Return the comment behind a constant, or else the line of comment above it."""
    behind = re.search(rf"^{name}\b[^=\n]*=[^#\n]*#\s*(.+)$", text, re.MULTILINE)
    above = re.search(rf"^#\s*(.+)\n{name}\b[^=\n]*=", text, re.MULTILINE)
    return behind[1] if behind else above[1] if above else ""


def _is_ours(value: object) -> bool:
    kind = inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, BaseException))
    return kind and getattr(value, "__module__", "").startswith("minidock.")


def _resolve(scope: dict[str, Any], name: str) -> Any:
    head, *rest = name.split(".")
    value = scope.get(head)
    for part in rest:
        value = getattr(value, part, None)
    return value


def _file(chapter: Chapter, cuts: list[Cut], head: str) -> str:
    imports = _joined({line for one in cuts for line in one.imports})
    standard = [line for line in imports if "minidock" not in line]
    ours = [line for line in imports if "minidock" in line]
    groups = ["\n".join(group) + "\n" for group in (standard, ours) if group]
    return "\n".join([head, *groups, "\n" + "\n\n".join(one.text for one in cuts)])


def _joined(lines: set[str]) -> list[str]:
    """Sort import lines as ruff does, with one line for each module."""
    names: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("from "):
            module, _, name = line.removeprefix("from ").partition(" import ")
            names.setdefault(module, []).append(name)
    plain = sorted(line for line in lines if line.startswith("import "))
    return [*plain, *(f"from {module} import {', '.join(sorted(names[module]))}" for module in sorted(names))]


def _emptied(text: str) -> str:
    """Return the function with its docstring and nothing else."""
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.FunctionDef)
    documented = node.body[0]
    kept = text.splitlines()[: documented.end_lineno]
    return "\n".join([*kept, _INDENT + UNWRITTEN]) + "\n"


def _definition(tree: ast.Module, function: str, path: Path) -> ast.FunctionDef:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return node
    raise LookupError(f"{path} has no function {function}")


def _imports(tree: ast.Module, node: ast.FunctionDef, seam: Seam, siblings: set[str]) -> Iterator[str]:
    """Yield the import lines that `node` needs; what its module defines itself is imported from there."""
    used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                if (alias.asname or alias.name.partition(".")[0]) in used:
                    yield f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if (alias.asname or alias.name) in used:
                    renamed = f" as {alias.asname}" if alias.asname else ""
                    yield f"from {statement.module} import {alias.name}{renamed}"
        else:
            for name in _defined(statement):
                if name in used and name not in siblings:
                    yield f"from {seam.module} import {name}"


def _defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    return []
