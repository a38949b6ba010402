"""Go templates as `docker --format` uses them, as far as command lines need them.

Parsing gives a tree of small tuples and executing walks it, so that a template which is wrong is refused
before anything is printed. Positions are kept because Docker's messages name them. Docker's own is Go's
text/template plus the functions of docker/cli's `templates` package; `define`, `template`, `block`, `break`
and `continue` are refused.
"""

from __future__ import annotations

from minidock.errors import InvalidParameter
from minidock.formats.gotemplate_functions import FUNCTIONS, FunctionError, is_true, show
from minidock.formats.gotemplate_lexer import Token, pieces, tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

    Node = tuple[Any, ...]
    Scope = dict[str, Any]

REFUSED = ("block", "break", "continue", "define", "template")
END = ("end", "else")


class Template:
    """A parsed template; `execute` may be called any number of times."""

    def __init__(self, text: str, functions: Mapping[str, Callable[..., Any]] | None = None) -> None:
        """Parse `text`; raise InvalidParameter with Go's wording when it is malformed."""
        self._functions = {**FUNCTIONS, **(functions or {})}
        self._pieces = pieces(text)
        self._position = 0
        self._body, ending = self._parse_list(inside="")
        assert not ending
        self.fields = _top_fields(self._body)

    def execute(
        self,
        data: Any,
        type_name: str = "",
        optional: Collection[str] = (),
        inner: Mapping[int, str] | None = None,
    ) -> str:
        """Return the text for `data` (JSON values).

        A field that is missing is an error, worded for the Go struct `type_name` if that is given, unless its
        name is in `optional`: those are the fields that Docker leaves out of its JSON when they are empty.
        `inner` names the Go structs of objects inside `data`, by their id.
        """
        types = {**(inner or {}), **({id(data): type_name} if type_name else {})}
        return _Execution(self._functions, data, types, optional).run(self._body)

    # Parsing: one function per level; a node is a tuple ("kind", position, ...).

    def _parse_list(self, inside: str) -> tuple[list[Node], list[Token]]:
        """Parse up to the `end` or `else` that closes `inside`; return the nodes and that action's tokens."""
        nodes: list[Node] = []
        while self._position < len(self._pieces):
            is_action, text, offset = self._pieces[self._position]
            self._position += 1
            if not is_action:
                nodes.append(("text", offset, text))
                continue
            words = tokens(text, offset)
            if not words:
                raise InvalidParameter("template: :1: missing value for command")
            head = words[0].text if words[0].kind == "name" else ""
            if head in REFUSED:
                raise InvalidParameter(f"template: :1: the action '{head}' is not supported")
            if head in END:
                if not inside:
                    raise InvalidParameter(f"template: :1: unexpected {{{{{head}}}}}")
                return nodes, words
            nodes.append(
                self._parse_block(head, words) if head in ("if", "with", "range") else _pipe(words, self)
            )
        if inside:
            raise InvalidParameter("template: :1: unexpected EOF")
        return nodes, []

    def _parse_block(self, kind: str, words: list[Token]) -> Node:
        pipe = _pipe(words[1:], self, where=kind)
        body, closing = self._parse_list(kind)
        otherwise: list[Node] = []
        if closing[0].text == "else":
            if len(closing) > 1:
                chained = closing[1].text
                if chained not in ("if", "with"):
                    raise InvalidParameter(f'template: :1: unexpected "{chained}" in else')
                otherwise = [self._parse_block(chained, closing[1:])]
            else:
                otherwise, _ = self._parse_list(kind)
        return (kind, words[0].offset, pipe, body, otherwise)

    def knows(self, name: str) -> bool:
        """Return whether `name` is a function of this template."""
        return name in self._functions


def _pipe(words: list[Token], template: Template, where: str = "command") -> Node:
    """Parse `[$x [, $y] :=|=] command | command ...`."""
    names: list[str] = []
    index = 0
    while index < len(words) and words[index].kind == "variable":
        if index + 1 < len(words) and words[index + 1].text in (",", ":=", "="):
            names.append(words[index].text)
            separator = words[index + 1].text
            index += 2
            if separator != ",":
                break
        else:
            break
    commands: list[list[Node]] = [[]]
    while index < len(words):
        if words[index].text == "|" and words[index].kind == "mark":
            commands.append([])
            index += 1
            continue
        operand, index = _operand(words, index, template)
        commands[-1].append(operand)
    if not all(commands):
        raise InvalidParameter(f"template: :1: missing value for {where}")
    return ("pipe", words[0].offset if words else 0, tuple(names), commands)


def _operand(words: list[Token], index: int, template: Template) -> tuple[Node, int]:
    token = words[index]
    index += 1
    node: Node
    if token.text == "(" and token.kind == "mark":
        depth, start = 1, index
        while index < len(words) and depth:
            depth += (
                (words[index].text == "(") - (words[index].text == ")") if words[index].kind == "mark" else 0
            )
            index += 1
        if depth:
            raise InvalidParameter("template: :1: unclosed left paren")
        node = _pipe(words[start : index - 1], template)
    elif token.kind == "field":
        node = ("dot", token.offset)
    elif token.kind == "variable":
        node = ("variable", token.offset, token.text)
    elif token.kind == "constant":
        node = ("constant", token.offset, token.value)
    elif token.kind == "name" and template.knows(token.text):
        return ("function", token.offset, token.text), index
    elif token.kind == "name":
        raise InvalidParameter(f'template: :1: function "{token.text}" not defined')
    else:
        raise InvalidParameter(f'template: :1: unexpected "{token.text}" in operand')
    names = [token.text[1:]] if token.kind == "field" and token.text != "." else []
    offset = token.offset
    while index < len(words) and words[index].kind == "field" and words[index].joined:
        names.append(words[index].text[1:])
        offset = words[index].offset
        index += 1
    return (("fields", offset, node, tuple(names)) if names else node), index


def _top_fields(nodes: list[Node]) -> frozenset[str]:
    """Return the names of all first fields used, and "." for the whole: a listing asks for what it shows."""
    found: set[str] = set()

    def walk(item: Any) -> None:
        if isinstance(item, tuple) and len(item) == 4 and item[0] == "fields":
            found.add(item[3][0])
            if item[2][0] == "dot":
                return
        if isinstance(item, tuple) and len(item) == 2 and item[0] == "dot":
            found.add(".")
        if isinstance(item, (tuple, list)):
            for part in item:
                walk(part)

    walk(nodes)
    return frozenset(found)


class _Execution:
    """One run of a template: the dot travels as an argument, variables in a chain of scopes."""

    def __init__(
        self,
        functions: Mapping[str, Callable[..., Any]],
        data: Any,
        types: Mapping[int, str],
        optional: Collection[str],
    ) -> None:
        self.functions = functions
        self.data = data
        self.types = types
        self.optional = optional

    def run(self, body: list[Node]) -> str:
        return self.nodes(body, self.data, {"$": self.data})

    def nodes(self, body: list[Node], dot: Any, scope: Scope) -> str:
        return "".join([self.node(node, dot, scope) for node in body])

    def node(self, node: Node, dot: Any, scope: Scope) -> str:
        kind = node[0]
        if kind == "text":
            return str(node[2])
        if kind == "pipe":
            value = self.pipe(node, dot, scope)
            return "" if node[2] else show(value)
        inner = dict(scope)
        _, _, pipe, body, otherwise = node
        value = self.pipe(pipe, dot, inner)
        if kind == "range":
            return self.loop(node, value, dot, inner)
        if not is_true(value):
            return self.nodes(otherwise, dot, inner)
        return self.nodes(body, value if kind == "with" else dot, inner)

    def loop(self, node: Node, value: Any, dot: Any, scope: Scope) -> str:
        _, _, pipe, body, otherwise = node
        if isinstance(value, dict):
            pairs: list[tuple[Any, Any]] = sorted(value.items())
        elif isinstance(value, (list, tuple)) or value is None:
            pairs = list(enumerate(value or ()))
        elif isinstance(value, int) and not isinstance(value, bool):
            pairs = [(index, index) for index in range(value)]
        else:
            raise self.failure(pipe, f"range can't iterate over {show(value)}")
        if not pairs:
            return self.nodes(otherwise, dot, scope)
        text = []
        for key, item in pairs:
            names = pipe[2]
            inner = {**scope, **(dict(zip(names, (key, item), strict=True)) if len(names) == 2 else {})}
            if len(names) == 1:
                inner[names[0]] = item
            text.append(self.nodes(body, item, inner))
        return "".join(text)

    def pipe(self, node: Node, dot: Any, scope: Scope) -> Any:
        _, _, names, commands = node
        value: Any = None
        for number, command in enumerate(commands):
            value = self.command(command, dot, scope, (value,) if number else ())
        for name in names[:1]:
            scope[name] = value
        return value

    def command(self, command: list[Node], dot: Any, scope: Scope, last: tuple[Any, ...]) -> Any:
        head = command[0]
        if head[0] != "function":
            method = self.value(head, dot, scope) if head[0] == "fields" else None
            if callable(method):
                return self.method(
                    method, head, [self.value(one, dot, scope) for one in command[1:]] + [*last]
                )
            if len(command) > 1 or last:
                raise self.failure(head, f"can't give argument to non-function {_source(head)}")
            return self.value(head, dot, scope)
        arguments = [self.value(argument, dot, scope) for argument in command[1:]]
        try:
            return self.functions[head[2]](*arguments, *last)
        except FunctionError as error:
            call = " ".join(_source(each) for each in command)
            raise self.failure(head, f"error calling {head[2]}: {error}", call) from None
        except TypeError:
            raise self.failure(head, f"wrong number of args for {head[2]}: got {len(arguments)}") from None

    def value(self, node: Node, dot: Any, scope: Scope) -> Any:
        kind = node[0]
        if kind == "dot":
            return dot
        if kind == "constant":
            return node[2]
        if kind == "variable":
            if node[2] not in scope:
                raise InvalidParameter(f'template: :1: undefined variable "{node[2]}"')
            return scope[node[2]]
        if kind == "pipe":
            return self.pipe(node, dot, scope)
        if kind == "function":
            return self.command([node], dot, scope, ())
        value = self.value(node[2], dot, scope)
        for name in node[3]:
            value = self.field(node, value, name)
        return value

    def field(self, node: Node, value: Any, name: str) -> Any:
        if isinstance(value, dict):
            if name in value:
                return value[name]
            if name in self.optional:
                return None
            if id(value) in self.types:
                raise self.failure(node, f"can't evaluate field {name} in type {self.types[id(value)]}")
            raise self.failure(node, f'map has no entry for key "{name}"')
        if value is None:
            raise self.failure(node, f'nil data; no entry for key "{name}"')
        raise self.failure(node, f"can't evaluate field {name} in type {_type_name(value)}")

    def method(self, method: Callable[[Any], Any], node: Node, arguments: list[Any]) -> Any:
        """Call a method of a row; all that rows have take one argument."""
        if len(arguments) != 1:
            problem = f"wrong number of args for {node[3][-1]}: want 1 got {len(arguments)}"
            raise self.failure(node, problem)
        return method(arguments[0])

    def failure(self, node: Node, problem: str, source: str = "") -> InvalidParameter:
        where = source or _source(node)
        return InvalidParameter(f'template: :1:{node[1]}: executing "" at <{where}>: {problem}')


def _source(node: Node) -> str:
    """Return roughly the text that `node` was parsed from, as Go's messages quote it."""
    kind = node[0]
    if kind == "fields":
        inner = node[2]
        return ("" if inner[0] == "dot" else _source(inner)) + "".join(f".{name}" for name in node[3])
    if kind == "constant":
        return show(node[2])
    if kind in ("variable", "function"):
        return str(node[2])
    if kind == "pipe":
        return " | ".join(" ".join(_source(operand) for operand in command) for command in node[3])
    return "."


def _type_name(value: Any) -> str:
    names = {bool: "bool", int: "int", float: "float64", str: "string", list: "[]interface {}"}
    return names.get(type(value), "interface {}")
