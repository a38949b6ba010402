"""The rules of how minidock is written that a program can check: sizes, imports, and what is never there.

A rule that scans nothing would be green for ever, so the scan itself is tested, and each rule has a twin: a
source that must break it.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
MODULE_LINES = 400
FUNCTION_LINES = 60
SHARED = {"errors", "paths", "ids", "atomic"}
# Each layer and what it may import; all may import the shared modules and their own layer.
LAYERS: dict[str, set[str]] = {
    "kernel": set(),
    "formats": set(),
    "storage": {"kernel", "formats"},
    "network": {"kernel", "formats"},
    "runtime": {"kernel"},
    "registry": {"kernel", "formats", "storage", "network"},
    "engine": {"kernel", "formats", "storage", "network", "runtime", "registry"},
    "api": {"kernel", "formats", "storage", "network", "runtime", "registry", "engine"},
    "cli": set(),
}
# What the command line may import inside a function or in a verb's own module, which itself is imported
# lazily.
LAZILY_BY_CLI = {"formats", "explain", "learn"}
FREE = {"explain", "learn"}
# The verb `daemon` is where the command line becomes the engine.
BRIDGES = {("cli/daemon.py", "api")}
# These have no log: they send what they caught to whoever asked, over the channel that exists for it.
TELL_THE_ASKER = {"runtime/control.py", "runtime/execute.py", "runtime/init.py", "learn/sandbox.py"}
WORDS_NEVER_USED = ("manager", "helper", "util", "handle")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")


@dataclass(frozen=True)
class Module:
    """One source file: its path below minidock/, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def layer(self) -> str:
        return self.path.split("/")[0].removesuffix(".py")


def parse(path: str, text: str) -> Module:
    return Module(path, text, ast.parse(text, path))


def modules_below(name: str) -> list[Module]:
    paths = sorted((TOP / name).rglob("*.py"))
    return [parse(path.relative_to(TOP / name).as_posix(), path.read_text()) for path in paths]


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def long_functions(module: Module) -> list[str]:
    return [
        f"{module.path}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in functions(module)
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]


def imported_layers(module: Module) -> Iterator[tuple[str, bool]]:
    """Yield each part of minidock that a module imports, and whether it does so inside a function."""
    inside = {id(node) for function in functions(module) for node in ast.walk(function)}
    for node in ast.walk(module.tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.path}:{node.lineno}: a relative import hides its layer"
            one_by_one = node.module == "minidock"
            names = [f"minidock.{alias.name}" for alias in node.names] if one_by_one else [node.module or ""]
        for name in names:
            parts = name.split(".")
            if parts[0] == "minidock" and len(parts) > 1:
                yield parts[1], id(node) in inside


def forbidden_imports(module: Module) -> list[str]:
    if module.layer in FREE:
        return []
    found = []
    for target, lazily in imported_layers(module):
        allowed = SHARED | {"__version__", module.layer} | LAYERS.get(module.layer, set())
        is_verb = module.layer == "cli" and (lazily or module.path != "cli/main.py")
        if target in allowed or (is_verb and target in LAZILY_BY_CLI) or (module.path, target) in BRIDGES:
            continue
        found.append(f"{module.path} imports minidock.{target}")
    return found


def swallowed_exceptions(module: Module) -> list[str]:
    """Return the broad handlers that neither raise again nor log the traceback."""
    if module.path in TELL_THE_ASKER:
        return []
    found = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ExceptHandler) or not _is_broad(node.type):
            continue
        inner = [part for statement in node.body for part in ast.walk(statement)]
        raises = any(isinstance(part, ast.Raise) for part in inner)
        called = {ast.unparse(part.func).split(".")[-1] for part in inner if isinstance(part, ast.Call)}
        if not raises and not called & {"exception", "print_exc", "format_exc", "format_exception", "_exit"}:
            found.append(f"{module.path}:{node.lineno}: a broad `except` that hides what it caught")
    return found


def _is_broad(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    names = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(isinstance(name, ast.Name) and name.id in ("Exception", "BaseException") for name in names)


def body_beside_docstring(module: Module) -> list[ast.stmt]:
    return module.tree.body[1:] if ast.get_docstring(module.tree) else module.tree.body


def unfinished(module: Module) -> list[str]:
    return [
        f"{module.path}:{number}: {line.strip()}"
        for number, line in enumerate(module.text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]


def vague_names(module: Module) -> list[str]:
    found = [node.name for node in functions(module) if node.name.startswith("get_")]
    parts = [*Path(module.path).with_suffix("").parts]
    parts += [node.name for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    found += [part for part in parts if part.lower().endswith(WORDS_NEVER_USED)]
    return [f"{module.path}: {name}" for name in found]


MODULES = modules_below("minidock")
AROUND = [module for name in ("setup", "bench", "chapters") for module in modules_below(name)]


def test_the_scan_finds_every_layer() -> None:
    assert {"kernel", "formats", "storage", "runtime", "engine", "api", "cli"} <= {m.layer for m in MODULES}
    assert len(MODULES) > 50
    assert len(AROUND) > 10


def test_no_module_is_longer_than_the_budget() -> None:
    too_long = {m.path: len(m.text.splitlines()) for m in MODULES + AROUND}
    assert {path: lines for path, lines in too_long.items() if lines > MODULE_LINES} == {}


def test_no_function_is_longer_than_the_budget() -> None:
    assert [line for module in MODULES + AROUND for line in long_functions(module)] == []


def test_every_import_points_to_a_lower_layer() -> None:
    assert [line for module in MODULES for line in forbidden_imports(module)] == []


def test_the_modules_that_all_may_import_import_nothing_but_each_other() -> None:
    shared = [module for module in MODULES if module.layer in SHARED]
    assert len(shared) == len(SHARED)
    assert [
        target for module in shared for target, _ in imported_layers(module) if target not in SHARED
    ] == []


def test_every_module_opens_with_a_docstring() -> None:
    assert [m.path for m in MODULES + AROUND if not ast.get_docstring(m.tree)] == []


def test_a_package_says_what_it_is_and_nothing_else() -> None:
    packages = [m for m in MODULES if m.path.endswith("/__init__.py")]
    assert packages
    assert [m.path for m in packages if body_beside_docstring(m)] == []


def test_nothing_swallows_an_exception_it_does_not_know() -> None:
    assert [line for module in MODULES for line in swallowed_exceptions(module)] == []


def test_nothing_is_left_unfinished() -> None:
    assert [line for module in MODULES for line in unfinished(module)] == []


def test_names_say_what_a_thing_is() -> None:
    assert [line for module in MODULES for line in vague_names(module)] == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("kernel/mounts.py", "from minidock.formats import digest"),
        ("formats/digest.py", "import minidock.kernel.libc"),
        ("runtime/init.py", "from minidock import storage"),
        ("storage/layers.py", "def f():\n    from minidock.engine import engine"),
        ("engine/engine.py", "from minidock.api import wire"),
        ("cli/main.py", "from minidock.formats import reference"),
        ("cli/ps.py", "from minidock.engine import engine"),
        ("errors.py", "from minidock.kernel import libc"),
    ],
)
def test_an_import_that_points_upwards_is_found(path: str, text: str) -> None:
    assert forbidden_imports(parse(path, text))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("engine/engine.py", "from minidock.runtime import launch\nfrom minidock import errors"),
        ("cli/main.py", "def f():\n    from minidock.formats import reference"),
        ("cli/daemon.py", "from minidock.api import daemon"),
        ("explain/story.py", "from minidock.engine import engine"),
    ],
)
def test_an_import_that_points_downwards_is_let_through(path: str, text: str) -> None:
    assert forbidden_imports(parse(path, text)) == []


@pytest.mark.parametrize(
    ("body", "hidden"),
    [
        ("pass", True),
        ("return", True),
        ("raise", False),
        ("log.exception('request failed')", False),
        ("traceback.print_exc()", False),
    ],
)
@pytest.mark.parametrize("kind", ["Exception", "BaseException", "(OSError, Exception)", ""])
def test_a_broad_except_must_raise_or_log(kind: str, body: str, hidden: bool) -> None:
    text = f"def f():\n    try:\n        g()\n    except {kind}:\n        {body}\n"
    assert bool(swallowed_exceptions(parse("engine/x.py", text))) is hidden


def test_a_function_over_the_budget_is_found() -> None:
    assert long_functions(parse("x.py", "def f():\n" + "    g()\n" * FUNCTION_LINES))
    assert long_functions(parse("x.py", "def f():\n" + "    g()\n" * (FUNCTION_LINES - 1))) == []


def test_vague_names_and_unfinished_lines_are_found() -> None:
    assert len(vague_names(parse("engine/utils_util.py", "class ImageManager: pass\ndef get_x(): pass"))) == 3
    assert unfinished(parse("engine/x.py", "raise NotImplementedError"))
