"""Words as a Dockerfile means them: quotes, escapes and variables, as in a shell that runs nothing.

Splitting keeps the words as they were written, since `a="b c"` must be cut at `=` before its quotes go;
`expand` then takes the quotes away and puts the variables in. Docker documentation, "Environment replacement"
in the Dockerfile reference; unknown variables are empty.
"""

import json
from collections.abc import Mapping

from minidock.errors import InvalidParameter

BLANK = " \t\r\n"


def split(text: str, escape: str = "\\") -> list[str]:
    """Cut `text` at blanks that are neither quoted nor escaped; the words keep quotes and escapes."""
    words: list[str] = []
    word, quote = "", ""
    characters = iter(text)
    for character in characters:
        if not quote and character in BLANK:
            if word:
                words.append(word)
            word = ""
            continue
        word += character
        if character == escape and quote != "'":
            word += next(characters, "")
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
    return [*words, word] if word else words


def expand(word: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Return `word` without its quotes, with `$NAME`, `${NAME}`, `${NAME:-else}`, `${NAME:+then}` and
    `${NAME:?complaint}` replaced.

    Without the colon an empty variable counts as set. InvalidParameter for an open quote or brace.
    """
    return _Expansion(word, variables, escape).text("")


class _Expansion:
    """One word and how far it has been read."""

    def __init__(self, word: str, variables: Mapping[str, str], escape: str) -> None:
        self._word = word
        self._variables = variables
        self._escape = escape
        self._position = 0

    def text(self, end: str) -> str:
        """Read up to the unquoted character `end`, which is consumed; "" means the end of the word."""
        result = ""
        while character := self._next():
            if end and character == end:
                return result
            if character == "'":
                result += self._single_quoted()
            elif character == '"':
                result += self._double_quoted()
            elif character == "$":
                result += self._variable()
            elif character == self._escape:
                result += self._next() or character
            else:
                result += character
        if end:
            raise self._failure(f"unexpected end of statement while looking for matching {end!r}")
        return result

    def _next(self) -> str:
        character = self._peek()
        self._position += 1
        return character

    def _peek(self) -> str:
        return self._word[self._position : self._position + 1]

    def _single_quoted(self) -> str:
        text, quote, _ = self._word[self._position :].partition("'")
        if not quote:
            raise self._failure("unexpected end of statement while looking for matching single-quote")
        self._position += len(text) + 1
        return text

    def _double_quoted(self) -> str:
        result = ""
        while character := self._next():
            if character == '"':
                return result
            if character == "$":
                result += self._variable()
            elif character == self._escape and self._peek() in ('"', "$", self._escape):
                result += self._next()
            else:
                result += character
        raise self._failure("unexpected end of statement while looking for matching double-quote")

    def _variable(self) -> str:
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, "") if name else "$"
        self._next()
        name = self._name()
        if not name:
            raise self._failure("bad substitution")
        counts_empty = self._peek() == ":"
        operator = self._next()
        if counts_empty:
            operator = self._next()
        value = self._variables.get(name)
        if operator == "}" and not counts_empty:
            return value or ""
        if operator not in ("-", "+", "?") or not operator:
            raise self._failure(f"unsupported modifier ({operator}) in substitution")
        other = self.text("}")
        is_set = bool(value) if counts_empty else value is not None
        if operator == "+":
            return other if is_set else ""
        if is_set:
            return value or ""
        if operator == "?":
            raise self._failure(f"{name}: {other or 'is not allowed to be unset'}")
        return other

    def _name(self) -> str:
        start = self._position
        if self._peek().isdigit() or self._peek() in tuple("@*#?-$!"):
            self._position += 1  # a shell's own parameters: never set here, but no part of the text either
        else:
            while self._peek() == "_" or (self._peek().isascii() and self._peek().isalnum()):
                self._position += 1
        return self._word[start : self._position]

    def _failure(self, reason: str) -> InvalidParameter:
        return InvalidParameter(f"failed to process {json.dumps(self._word, ensure_ascii=False)}: {reason}")
