"""The run slots of an account as blocks: those that are taken, those that are free."""

from __future__ import annotations

from django.utils.safestring import SafeString

from jobsvc.console.pictures.svg import element

BLOCK, GAP = 18, 4  # pixels
MOST_BLOCKS = 40
A_LINE = 20


def slots_gauge(*, taken: int, allowed: int, waiting: int) -> SafeString:
    """``allowed`` blocks, ``taken`` of them filled; the picture of many shows the first 40."""
    blocks = []
    shown = min(max(allowed, taken), MOST_BLOCKS)
    for place in range(shown):
        blocks.append(
            element(
                "rect",
                class_=f"slot {'taken' if place < taken else 'free'}",
                x=1 + place % A_LINE * (BLOCK + GAP),
                y=1 + place // A_LINE * (BLOCK + GAP),
                width=BLOCK,
                height=BLOCK,
                rx=3,
            )
        )
    width = min(shown, A_LINE) * (BLOCK + GAP) - GAP + 2
    height = (1 + (shown - 1) // A_LINE) * (BLOCK + GAP) - GAP + 2
    words = f"{taken} of {allowed} run slots are taken, {waiting} runs wait"
    return element(
        "svg",
        element("title", words),
        *blocks,
        class_="slots",
        role="img",
        aria_label=words,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
    )
