"""The lexical half of Go templates: text and actions, and the words of one action.

Docker's shells quote templates in every possible way, so `\\t` and `\\n` outside actions are not touched
here: the caller decides (Docker unescapes them in `--format`). Go's text/template, section "Text and spaces".
"""

from __future__ import annotations

from minidock.errors import InvalidParameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "\\": "\\",
    '"': '"',
    "'": "'",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
}
_SPACE = " \t\r\n"
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


class Token:
    """A word of an action; kind is field, variable, name, constant or mark. `joined`: no blank before it."""

    __slots__ = ("joined", "kind", "offset", "text", "value")

    def __init__(self, kind: str, text: str, offset: int, joined: bool, value: Any = None) -> None:
        self.kind, self.text, self.offset, self.joined, self.value = kind, text, offset, joined, value


def pieces(text: str) -> list[tuple[bool, str, int]]:
    """Split into (is action, content, offset of the content); `{{-`, `-}}` and comments are applied."""
    result: list[tuple[bool, str, int]] = []
    position = 0
    trim = False
    while True:
        start = text.find("{{", position)
        plain = text[position:] if start < 0 else text[position:start]
        if trim:
            plain = plain.lstrip(_SPACE)
        if start < 0:
            if plain:
                result.append((False, plain, position))
            return result
        inner = start + 2
        if text.startswith("{{-", start) and text[start + 3 : start + 4] in tuple(_SPACE):
            plain = plain.rstrip(_SPACE)
            inner += 1
        if plain:
            result.append((False, plain, position))
        end = _closing(text, inner)
        content = text[inner:end]
        trim = content.endswith("-") and content[-2:-1] in tuple(_SPACE)
        if trim:
            content = content[:-1]
        if not content.strip(_SPACE).startswith("/*"):
            result.append((True, content, inner))
        position = end + 2


def _closing(text: str, position: int) -> int:
    """Return where the `}}` of the action at `position` stands; quotes hide it."""
    quote = ""
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\" and quote == '"':
                position += 1
            elif character == quote:
                quote = ""
        elif character in "\"`'":
            quote = character
        elif text.startswith("}}", position):
            return position
        position += 1
    if quote:
        raise InvalidParameter("template: :1: unterminated quoted string")
    raise InvalidParameter("template: :1: unclosed action")


def tokens(text: str, base: int) -> list[Token]:
    """Return the words of an action's text, which begins at column `base` of the template."""
    result: list[Token] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character in _SPACE:
            position += 1
            continue
        joined = position > 0 and text[position - 1] not in _SPACE
        start = position
        token_kind = "mark"
        value: str | float | bool | None = None
        if character in "\"`'":
            value, position = _quoted(text, position)
            token_kind = "constant"
        elif character.isdigit() or (character in "-+" and text[position + 1 : position + 2].isdigit()):
            position = _while_in(text, position + 1, _WORD | {"."})
            value, token_kind = _number(text[start:position]), "constant"
        elif character in ".$" or character in _WORD:
            position = _while_in(text, position + 1, _WORD)
            token_kind = {".": "field", "$": "variable"}.get(character, "name")
        elif text.startswith(":=", position):
            position += 2
        elif character in "()|,=":
            position += 1
        else:
            raise InvalidParameter(f"template: :1: unexpected {character!r} in command")
        word = text[start:position]
        if word in ("true", "false", "nil"):
            token_kind, value = "constant", {"true": True, "false": False, "nil": None}[word]
        result.append(Token(token_kind, word, base + start, joined, value))
    return result


def _while_in(text: str, position: int, allowed: frozenset[str]) -> int:
    while position < len(text) and text[position] in allowed:
        position += 1
    return position


def _number(word: str) -> int | float:
    try:
        return int(word, 0)
    except ValueError:
        pass
    try:
        return float(word)
    except ValueError:
        raise InvalidParameter(f'template: :1: bad number syntax: "{word}"') from None


def _quoted(text: str, position: int) -> tuple[str | int, int]:
    quote = text[position]
    position += 1
    parts: list[str] = []
    while text[position] != quote:
        character = text[position]
        if character == "\\" and quote != "`":
            position += 1
            escaped = text[position]
            if escaped not in _ESCAPES:
                raise InvalidParameter(f"template: :1: unknown escape sequence \\{escaped}")
            character = _ESCAPES[escaped]
        parts.append(character)
        position += 1
    value = "".join(parts)
    return (ord(value) if quote == "'" and len(value) == 1 else value), position + 1
