"""The Sphinx extension: directives for what is made from the code, roles whose targets must exist.

Everything that cannot be resolved is a warning, and `make docs` takes warnings for errors.
"""

import inspect
import re
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from docs.made import chapters, figures, served, source, tables

AGAIN = "if the code has changed: sudo python -m docs.made.record"
OPTIONAL = re.compile(r"^%optional (\w+)\n", re.MULTILINE)
MODULES = re.compile(r"^%modules-of (\w+)$", re.MULTILINE)


class Figure(SphinxDirective):
    """`{figure-of} NAME` with the caption as content."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # the page changes with the code
        try:
            svg = figures.FIGURES[self.arguments[0]]()
        except source.UnknownReference as error:
            raise self.error(f"{error}; {AGAIN}") from error
        drawn = nodes.raw("", svg, format="html")
        figure = nodes.figure("", drawn, classes=["drawn-figure"])
        caption = nodes.caption()
        parsed = self.parse_content_to_nodes()
        for node in parsed:
            caption += node.children
        figure += caption
        return [figure]


class Table(SphinxDirective):
    """`{table-of} NAME [ARGUMENT]`: Markdown made from the code."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        try:
            text = tables.TABLES[self.arguments[0]](*self.arguments[1:])
        except source.UnknownReference as error:
            raise self.error(f"{error}; {AGAIN}") from error
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Transcript(SphinxDirective):
    """`{transcript}`: a console block that the tests run, or a mark that its verb is not built."""

    has_content = True
    option_spec = {"needs": directives.unchanged, "terminal": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        missing = served.missing(self.options.get("needs", ""))
        literal = nodes.literal_block("\n".join(self.content), "\n".join(self.content), language="console")
        self.set_source_info(literal)
        kind = "not-built" if missing else "tested"
        box = nodes.container("", literal, classes=["transcript", kind])
        if missing:
            chinese = self.env.docname.startswith("zh/")
            needs = ", ".join(missing)
            words = (
                f"此版本尚未实现（{needs}）；输出来自 Docker，测试不运行它。"
                if chinese
                else f"Not in this version yet ({needs}). The lines are Docker's; the tests skip them."
            )
            box += nodes.paragraph("", words, classes=["not-built-note"])
        return [box]


class FunctionRole(SphinxRole):
    """{fn}`minidock.module:name`: a link to the Python reference; the name must be in the source."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            found = source.resolve(self.text)
        except source.UnknownReference as error:
            return [], [self.inliner.reporter.warning(str(error), line=self.lineno)]
        target = f"{found.module}.{found.name}" if _is_on_a_page(found) else found.module
        shown = self.text.removeprefix("minidock.")
        link = addnodes.pending_xref(
            "", refdomain="py", reftype="obj", reftarget=target, refexplicit=True, refwarn=True,
            refdoc=self.env.docname,
        )  # fmt: skip
        link += nodes.literal("", shown, classes=["xref", "py"])
        self.set_source_info(link)
        return [link], []


def _is_on_a_page(found: source.Definition) -> bool:
    """Tell whether autodoc shows it: it and its class have docstrings, and no underscore before their
    names.
    """
    parts = found.name.split(".")
    outer = [
        source.definitions(found.module)[".".join(parts[:count])]
        for count in range(1, len(parts) + 1)
        if parts[0]
    ]
    return all(
        each.has_docstring and not each.name.split(".")[-1].startswith("_") for each in outer
    ) and bool(outer)


class TestRole(SphinxRole):
    """{test}`tests/x/test_y.py::test_z`: the test must exist; its name is shown as the sentence it is."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            source.resolve_test(self.text)
        except source.UnknownReference as error:
            return [], [self.inliner.reporter.warning(str(error), line=self.lineno)]
        file, _, name = self.text.partition("::")
        sentence = name.removeprefix("test_").replace("_", " ")
        node = nodes.inline("", "", classes=["test-name"])
        node += nodes.Text(f"{sentence} " if sentence else "")
        node += nodes.literal("", file)
        return [node], []


class FileRole(SphinxRole):
    """{file-of}`path`: a file of the checkout, which must exist."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        if not (source.CHECKOUT / self.text).exists():
            return [], [self.inliner.reporter.warning(f"there is no {self.text}", line=self.lineno)]
        return [nodes.literal("", self.text)], []


def make_pages(_app: Sphinx, docname: str, content: list[str]) -> None:
    """Fill pages: `%modules-of PACKAGE` becomes a section for each module, and a line `%optional PAGE` of a
    toctree the page, if it is there. The decisions become children of their list.
    """
    if docname == "decisions/STATUS":
        content[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"
    content[0] = OPTIONAL.sub(
        lambda found: (
            found[0].removeprefix("%optional ")
            if (source.CHECKOUT / "docs" / f"{found[1]}.md").exists()
            else ""
        ),
        content[0],
    )
    content[0] = MODULES.sub(lambda found: _module_sections(found[1]), content[0])


def _module_sections(package: str) -> str:
    top = f"minidock.{package}"
    if package not in (*source.packages(), "top"):
        return f"There is no package `{package}` in this version yet."
    if package == "top":
        names = [
            name
            for name in source.modules()
            if name.count(".") == 1 and name.split(".")[1] not in source.packages()
        ]
    else:
        names = [name for name in source.modules() if name == top or name.startswith(f"{top}.")]
    parts = []
    for name in names:
        if name.endswith("__main__"):
            continue
        heading = "" if name == top else f"## {name}\n\n"
        parts.append(f"{heading}```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n")
    return "\n".join(parts)


def plain_docstring(
    _app: Sphinx, _what: str, _name: str, thing: Any, _options: Any, lines: list[str]
) -> None:
    """Turn a docstring, which is plain text with backticks, into reStructuredText that cannot be misread."""
    inherited = inspect.isclass(thing) and not thing.__dict__.get("__doc__")
    text = "" if inherited else inspect.cleandoc("\n".join(lines))
    result: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        block = paragraph.splitlines()
        if block and all(line.startswith((" ", "\t")) for line in block):
            result += ["::", "", *(f"    {line}" for line in block), ""]
        else:
            first_indented = next((n for n, line in enumerate(block) if line.startswith("  ")), len(block))
            result += [_escaped(line) for line in block[:first_indented]] + [""]
            if first_indented < len(block):
                result += ["::", "", *(f"    {line}" for line in block[first_indented:]), ""]
    lines[:] = result


def _escaped(line: str) -> str:
    parts = line.split("`")
    for index, part in enumerate(parts):
        if index % 2 and index < len(parts) - 1 and part.strip() == part and part:
            parts[index] = f"``{part}``"
        else:
            parts[index] = re.sub(r"([\\*_|<>:#+.=~^-])", r"\\\1", part)
    joined = "".join(parts)
    return (
        re.sub(r"(?<=\w)``|``(?=\w)", lambda found: f"{found[0]}", joined)
        .replace("``(", "``\\ (")
        .replace("``s", "``\\ s")
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of it with Sphinx."""
    app.add_directive("figure-of", Figure)
    app.add_directive("table-of", Table)
    app.add_directive("transcript", Transcript)
    app.add_role("fn", FunctionRole())
    app.add_role("test", TestRole())
    app.add_role("file-of", FileRole())
    app.connect("builder-inited", chapters.write_pages)
    app.connect("source-read", make_pages)
    app.connect("autodoc-process-docstring", plain_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
