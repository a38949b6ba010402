"""What `ps`, `images` and `history` share: rows of named fields, as a table, as JSON, or in a template."""

from __future__ import annotations

import sys

from minidock.cli.table import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from minidock.formats.gotemplate import Template

Row = dict[str, "Any"]


class Listing:
    """How to print rows: headers by field, columns of the default table, Go's name of a row for errors."""

    def __init__(
        self, headers: dict[str, str], columns: Sequence[str], type_name: str, text: str = ""
    ) -> None:
        """Parse the `--format` text; raise Failure when the template is malformed."""
        self.headers, self.columns, self.type_name = headers, columns, type_name
        self.as_table = not text or text == "table" or text.startswith("table ")
        text = text.removeprefix("table").strip() if self.as_table else text
        self.template = parse_template("{{json .}}" if text == "json" else text, True) if text else None

    def uses(self, field: str) -> bool:
        """Return whether `field` will be shown, when a template says so."""
        return self.template is not None and field in self.template.fields

    def write(self, rows: Iterable[Row]) -> None:
        """Print the rows."""
        if self.as_table:
            lines = ["\t".join(self.headers[name] for name in self.columns)]
            lines += ["\t".join(str(row[name]) for name in self.columns) for row in rows]
            if self.template:
                lines = [execute(self.template, {**self.headers}, self.type_name)]
                lines += [execute(self.template, row, self.type_name) for row in rows]
            sys.stdout.write(align("\n".join(lines)) + "\n")
        else:
            assert self.template
            for row in rows:
                sys.stdout.write(execute(self.template, row, self.type_name) + "\n")


def parse_template(text: str, rows: bool = False) -> Template:
    """Parse a `--format`: backslash sequences that the shell left alone become tabs and newlines first.

    Docker's `json` makes a whole row safe for HTML, being another piece of code there, but nothing else.
    """
    from minidock.cli.failure import Failure
    from minidock.errors import InvalidParameter
    from minidock.formats.gotemplate import Template
    from minidock.formats.gotemplate_functions import to_html_safe_json, to_json

    def row_json(value: Any) -> str:
        return to_html_safe_json(value) if isinstance(value, dict) else to_json(value)

    functions = {"json": row_json} if rows else {}
    try:
        return Template(text.replace("\\t", "\t").replace("\\n", "\n"), functions)
    except InvalidParameter as error:
        raise Failure(f"failed to parse template: {error}") from None


def execute(template: Template, row: Row, type_name: str) -> str:
    """Return one row through the template."""
    from minidock.cli.failure import Failure
    from minidock.errors import InvalidParameter

    try:
        return template.execute(row, type_name)
    except InvalidParameter as error:
        raise Failure(f"failed to execute template: {error}") from None
