"""A few shapes of SVG: enough for boxes, arrows and words that follow the page's light or dark colours.

Colours are the theme's CSS variables, so one drawing serves both; words are real text, so that they can be
searched and read aloud.
"""

import math
from html import escape

CHARACTER = 7.3  # the width of a character of our 13 px text, on the safe side


class Drawing:
    """Shapes in the order in which they are painted; coordinates are pixels at the natural width."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self._shapes: list[str] = []
        self._above: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, kind: str = "box") -> None:
        """Draw a rounded rectangle whose upper left corner is at x, y."""
        self._shapes.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"/>'
        )

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "middle") -> None:
        """Write one line; `y` is its baseline."""
        self._above.append(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "line", head: bool = True) -> None:
        """Draw a straight line, with an arrow head at its end."""
        marker = ' marker-end="url(#head)"' if head else ""
        self._shapes.append(f'<path class="{kind}" d="M{x1:.1f},{y1:.1f} L{x2:.1f},{y2:.1f}"{marker}/>')

    def curve(self, begin: tuple[float, float], end: tuple[float, float], bend: float, label: str) -> None:
        """Draw an arrow that bends to its left by `bend`, with its label at the middle."""
        (x1, y1), (x2, y2) = begin, end
        length = math.hypot(x2 - x1, y2 - y1) or 1
        middle_x = (x1 + x2) / 2 + (y2 - y1) / length * bend
        middle_y = (y1 + y2) / 2 - (x2 - x1) / length * bend
        control_x, control_y = 2 * middle_x - (x1 + x2) / 2, 2 * middle_y - (y1 + y2) / 2
        self._shapes.append(
            f'<path class="line" d="M{x1:.1f},{y1:.1f} Q{control_x:.1f},{control_y:.1f} {x2:.1f},{y2:.1f}"'
            ' marker-end="url(#head)"/>'
        )
        self.text(middle_x, middle_y + 4, label, "label")

    def render(self) -> str:
        """Return the drawing as an inline SVG element."""
        name = escape(self.title, quote=True)
        head = (
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto-start-reverse"><path class="head" d="M0,0.8 L7.5,4 L0,7.2 z"/></marker></defs>'
        )
        return (
            f'<div class="drawn" style="max-width:{self.width:.0f}px">'
            f'<svg role="img" aria-label="{name}" viewBox="0 0 {self.width:.0f} {self.height:.0f}" '
            f'style="min-width:{self.width * 0.72:.0f}px" xmlns="http://www.w3.org/2000/svg">'
            f"<title>{name}</title>{head}{''.join(self._shapes)}{''.join(self._above)}</svg></div>"
        )


def edge_of(
    center: tuple[float, float], half: tuple[float, float], towards: tuple[float, float]
) -> tuple[float, float]:
    """Return where the line from a box's centre towards a point leaves the box."""
    dx, dy = towards[0] - center[0], towards[1] - center[1]
    if not dx and not dy:
        return center
    scale = min(
        (half[0] / abs(dx)) if dx else math.inf,
        (half[1] / abs(dy)) if dy else math.inf,
    )
    return center[0] + dx * scale, center[1] + dy * scale
