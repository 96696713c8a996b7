"""SVG elements as text: every attribute and every word escaped."""

from __future__ import annotations

import html

MARKS = ("circle", "square", "diamond", "triangle", "circle", "square", "diamond", "triangle")
"""Shape of the marks of each series, so that they differ in print and to those who do not tell colours apart."""


def element(name: str, *within: str, **attributes: str | float) -> str:
    """An element; `within` is markup already. `class_` is `class`, and `stroke_width` is `stroke-width`."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(spelled(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{told}>{''.join(within)}</{name}>" if within else f"<{name}{told}/>"


def spelled(value: str | float) -> str:
    """An attribute's value: coordinates to a tenth."""
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def text(words: str, x: float, y: float, class_: str = "") -> str:
    """Words at a place."""
    return element("text", html.escape(words), x=x, y=y, **({"class_": class_} if class_ else {}))


def mark(shape: str, x: float, y: float, size: float = 4.0) -> str:
    """A mark at a place."""
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "diamond": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
        "triangle": ((0, -1.3), (1.3, 1), (-1.3, 1)),
    }.get(shape)
    if corners is None:
        return element("circle", cx=x, cy=y, r=size)
    return element("polygon", points=" ".join(f"{spelled(x + size * a)},{spelled(y + size * b)}" for a, b in corners))


def linked(drawn: str, title: str, link: str, class_: str) -> str:
    """Something to point at: it says more when hovered over, and leads to its evidence."""
    group = element("g", element("title", html.escape(title)), drawn, class_=class_)
    return element("a", group, href=f"#{link}", aria_label=title) if link else group


def picture(width: float, height: float, title: str, described: str, *within: str) -> str:
    """An image with a title and a description for those who cannot see it."""
    return element(
        "svg",
        element("title", html.escape(title)),
        element("desc", html.escape(described)),
        *within,
        class_="chart",
        viewBox=f"0 0 {spelled(width)} {spelled(height)}",
        role="img" if not any("<a " in part for part in within) else "group",
        aria_label=f"{title}. {described}",
        xmlns="http://www.w3.org/2000/svg",
    )
