"""What became of a node in its last runs: a bar's height is its length, its colour how it went."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from django.urls import reverse
from django.utils.safestring import SafeString

from jobsvc.console.pictures.strip import BAR, GAP, HEIGHT, LOWEST
from jobsvc.console.pictures.svg import element
from jobsvc.runs.looks import duration, node_look
from jobsvc.runs.models import NodeResult


def node_strip(results: Sequence[NodeResult]) -> SafeString:
    """``results`` of one node, oldest first, each with its run; a bar leads to that run."""
    lengths = [node.took.total_seconds() if node.took else 0.0 for node in results]
    longest = max([*lengths, 0.1])
    bars = []
    for place, (node, seconds) in enumerate(zip(results, lengths, strict=True)):
        height = LOWEST + (HEIGHT - LOWEST) * sqrt(seconds / longest)
        shown = node_look(node)
        words = f"Run {node.run_id}: {shown.word}, {duration(node.took)}"
        bar = element(
            "rect",
            class_=f"bar {shown.tone}",
            x=place * (BAR + GAP),
            y=HEIGHT - height,
            width=BAR,
            height=height,
            rx=1,
        )
        address = reverse("console:short_run", args=[node.run_id])
        bars.append(element("a", element("title", words), bar, href=address, aria_label=words))
    went_wrong = sum(1 for node in results if node_look(node).tone == "err")
    width = max(len(results) * (BAR + GAP) - GAP, BAR)
    return element(
        "svg",
        *bars,
        class_="strip",
        role="group",
        aria_label=f"Its last {len(results)} results, {went_wrong} of them failed",
        viewBox=f"0 0 {width} {HEIGHT}",
        width=width,
        height=HEIGHT,
    )
