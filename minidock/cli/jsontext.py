"""Re-indent JSON without decoding it, so that `inspect` shows the engine's own spelling of everything."""

from __future__ import annotations


def indent(text: str, step: str = "    ", prefix: str = "") -> str:
    """Return JSON `text` spread over lines, each level `step` deeper, all but the first behind `prefix`."""
    parts: list[str] = []
    depth = 0
    position = 0
    while position < len(text):
        character = text[position]
        if character == '"':
            end = _string_end(text, position)
            parts.append(text[position:end])
            position = end
            continue
        if character in "{[":
            closing = _skip_blanks(text, position + 1)
            if text[closing] in "}]":
                parts.append(character + text[closing])
                position = closing + 1
                continue
            depth += 1
            parts.append(f"{character}\n{prefix}{step * depth}")
        elif character in "}]":
            depth -= 1
            parts.append(f"\n{prefix}{step * depth}{character}")
        elif character == ",":
            parts.append(f",\n{prefix}{step * depth}")
        elif character == ":":
            parts.append(": ")
        elif character not in " \t\r\n":
            parts.append(character)
        position += 1
    return "".join(parts)


def _string_end(text: str, start: int) -> int:
    position = start + 1
    while True:
        quote = text.index('"', position)
        backslashes = len(text[start + 1 : quote]) - len(text[start + 1 : quote].rstrip("\\"))
        if backslashes % 2 == 0:
            return quote + 1
        position = quote + 1


def _skip_blanks(text: str, position: int) -> int:
    while text[position] in " \t\r\n":
        position += 1
    return position
