"""What `ps`, `images` and `history` share: rows of named fields, as a table, as JSON, or in a template."""

from __future__ import annotations

import sys

from minidock.cli.table import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from minidock.formats.gotemplate import Template

Row = dict[str, "Any"]


class Words:
    """What a verb says of a `--format` that cannot be parsed or executed, and its exit code then."""

    __slots__ = ("executing", "exit_code", "parsing")

    def __init__(self, parsing: str, executing: str, exit_code: int = 1) -> None:
        self.parsing, self.executing, self.exit_code = parsing, executing, exit_code


PLAIN = Words("failed to parse template", "failed to execute template")
USUAL = Words("template parsing error", "template parsing error")


class Listing:
    """How to print rows: headers by field, columns of the default table, Go's name of a row for errors."""

    def __init__(
        self,
        headers: dict[str, str],
        columns: Sequence[str],
        type_name: str,
        text: str = "",
        words: Words = PLAIN,
    ) -> None:
        """Parse the `--format` text; raise Failure, in the verb's own `words`, when it is malformed."""
        self.headers, self.columns, self.type_name, self.words = headers, columns, type_name, words
        self.is_json = text == "json"
        self.as_table = not text or text == "table" or text.startswith("table ")
        text = text.removeprefix("table").strip() if self.as_table else text
        text = "{{json .}}" if self.is_json else text
        self.template = parse_template(text, True, words) if text else None

    def uses(self, field: str) -> bool:
        """Return whether `field` will be shown, when a template says so."""
        if self.template is None or self.is_json:
            return False  # docker learns what its own "json" shows only after it has asked
        return field in self.template.fields or "." in self.template.fields

    def write(self, rows: Iterable[Row]) -> None:
        """Print the rows."""
        if self.as_table:
            lines = ["\t".join(self.headers[name] for name in self.columns)]
            lines += ["\t".join(str(row[name]) for name in self.columns) for row in rows]
            if self.template:
                head = {**self.headers, **({"Label": _heading} if "Labels" in self.headers else {})}
                lines = [self._execute(head)] + [self._execute(row) for row in rows]
            sys.stdout.write(align("\n".join(lines)) + "\n")
        else:
            for row in rows:
                sys.stdout.write(self._execute(row) + "\n")

    def _execute(self, row: Row) -> str:
        assert self.template
        return execute(self.template, row, self.type_name, self.words)


def label_of(labels: dict[str, str]) -> Callable[[str], str]:
    """Return the method `.Label "name"` of a row."""

    def label(name: str) -> str:
        return labels.get(name, "")

    return label


def _heading(name: str) -> str:
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


def parse_template(text: str, rows: bool = False, words: Words = PLAIN) -> Template:
    """Parse a `--format`: backslash sequences that the shell left alone become tabs and newlines first.

    Docker's `json` makes a whole row safe for HTML, being another piece of code there, but nothing else.
    """
    from minidock.cli.failure import Failure
    from minidock.errors import InvalidParameter
    from minidock.formats.gotemplate import Template
    from minidock.formats.gotemplate_functions import to_html_safe_json, to_json

    def row_json(value: Any) -> str:
        if not isinstance(value, dict):
            return to_json(value)
        return to_html_safe_json({name: value[name] for name in sorted(value) if not callable(value[name])})

    functions = {"json": row_json} if rows else {}
    try:
        return Template(text.replace("\\t", "\t").replace("\\n", "\n"), functions)
    except InvalidParameter as error:
        raise Failure(f"{words.parsing}: {error}", words.exit_code) from None


def execute(template: Template, row: Row, type_name: str, words: Words = PLAIN) -> str:
    """Return one row through the template."""
    from minidock.cli.failure import Failure
    from minidock.errors import InvalidParameter

    try:
        return template.execute(row, type_name)
    except InvalidParameter as error:
        raise Failure(f"{words.executing}: {error}", words.exit_code) from None


def write_template(
    text: str, data: Row, type_name: str, name: str = "", inner: Mapping[int, str] | None = None
) -> None:
    """Print what `info` and `version` tell, through a template: a wrong one ends with 64, a failing with 1.

    `inner` gives Go's names of the types of objects in `data`, by id.
    """
    from minidock.cli.failure import Failure
    from minidock.errors import InvalidParameter
    from minidock.formats.gotemplate import Template

    def named(error: InvalidParameter) -> str:
        return (
            str(error)
            .replace("template: :1", f"template: {name}:1", 1)
            .replace('executing ""', f'executing "{name}"', 1)
        )

    try:
        template = Template(text)
    except InvalidParameter as error:
        raise Failure(f"template parsing error: {named(error)}", 64) from None
    try:
        sys.stdout.write(template.execute(data, type_name, inner=inner or {}) + "\n")
    except InvalidParameter as error:
        sys.stdout.write("\n")
        raise Failure(named(error)) from None
