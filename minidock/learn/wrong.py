"""What a check says when it fails: what was expected, what was seen, and where to look."""

from dataclasses import dataclass


@dataclass
class Wrong(Exception):
    """A failed check. `look` is the likely cause, read from the state in which it was found."""

    expected: str
    seen: str
    look: str = ""

    def __str__(self) -> str:
        return f"expected {self.expected}; seen {self.seen}; look: {self.look}"


def expect(holds: object, expected: str, seen: object, look: str = "") -> None:
    """Raise Wrong unless `holds`."""
    if not holds:
        raise Wrong(expected, seen if isinstance(seen, str) else repr(seen), look)
