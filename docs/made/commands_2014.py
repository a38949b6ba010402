"""The 32 commands of Docker in 2014: their forms, what each means, and an example that the tests run.

The data is docs/reference/commands-2014.toml; this module renders it as Markdown, in English or Chinese, and
marks from the code what is served.
"""

import tomllib
from dataclasses import dataclass
from typing import Any

from docs.made import served, source
from docs.made.transcript import Block

FILE = source.CHECKOUT / "docs" / "reference" / "commands-2014.toml"
WORDS = {
    "en": ("Then and now", "Not in this version yet", "form in 2014", "what it does"),
    "zh": ("当年与现在", "此版本尚未实现", "2014 年的写法", "作用"),
}


@dataclass(frozen=True)
class Command:
    """One command: `forms` are (as written in 2014, meaning in English, in Chinese)."""

    name: str
    needs: str
    forms: tuple[tuple[str, str, str], ...]
    today: str
    today_zh: str
    examples: tuple[dict[str, Any], ...]

    def blocks(self) -> list[Block]:
        """Return the examples; each needs what its command needs."""
        return [
            Block(
                f"reference/commands-2014.toml, {self.name}",
                index,
                {"needs": ",".join(filter(None, (self.needs, example.get("needs", ""))))}
                | ({"terminal": ""} if example.get("terminal") else {}),
                example["text"],
            )
            for index, example in enumerate(self.examples)
        ]

    @property
    def is_served(self) -> bool:
        return not served.missing(self.needs)


def load() -> list[Command]:
    """Read the 32 commands."""
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return [
        Command(
            name=name,
            needs=row.get("needs", ""),
            forms=tuple((form[0], form[1], form[2]) for form in row["forms"]),
            today=row.get("today", ""),
            today_zh=row.get("today_zh", ""),
            examples=tuple(row.get("example", ())),
        )
        for name, row in table.items()
    ]


def markdown(language: str) -> str:
    """Return the reference of all commands as Markdown."""
    return "\n".join(line for command in load() for line in _section(command, language))


def _section(command: Command, language: str) -> list[str]:
    then_and_now, not_yet, form_word, meaning_word = WORDS[language]
    lines = [f"({language}-2014-{command.name})=", f"## {command.name}", ""]
    if not command.is_served:
        lines += [f"{{bdg-warning}}`{not_yet}`", ""]
    lines += [f"| {form_word} | {meaning_word} |", "|---|---|"]
    for form, english, chinese in command.forms:
        written = form.replace("|", "\\|")
        code = f"`` {written} ``" if "`" in written else f"`{written}`"
        lines.append(f"| {code} | {chinese if language == 'zh' else english} |")
    lines.append("")
    note = command.today_zh if language == "zh" else command.today
    if note:
        lines += [f"{then_and_now}: {note}" if language == "en" else f"{then_and_now}：{note}", ""]
    for block in command.blocks():
        options = [f":needs: {block.options['needs']}"] if block.options["needs"] else []
        options += [":terminal:"] if block.is_terminal else []
        lines += ["```{transcript}", *options, block.text.rstrip("\n"), "```", ""]
    return lines
