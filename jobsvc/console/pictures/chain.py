"""Jobs that start each other, from left to right: each a box, each start an arrow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from django.urls import reverse
from django.utils.safestring import SafeString

from jobsvc.console.job_chain import Chain, Link, Member
from jobsvc.console.pictures.svg import element, joined

BOX_WIDTH, BOX_HEIGHT = 176, 34  # pixels
COLUMN, ROW = BOX_WIDTH + 52, BOX_HEIGHT + 14
MARGIN = 4
LONGEST = 22  # characters of a name in its box; its title has all

Place = tuple[float, float]


def chain_picture(chain: Chain, job_id: int) -> SafeString:
    """The chain of the job ``job_id``, which stands out in it."""
    places = _places(chain.members)
    right = max(x for x, _y in places.values()) + BOX_WIDTH + MARGIN
    bottom = max(y for _x, y in places.values()) + BOX_HEIGHT + MARGIN
    before = sum(1 for member in chain.members if member.column < 0)
    after = sum(1 for member in chain.members if member.column > 0)
    return element(
        "svg",
        joined(_arrow(link, places) for link in chain.links),
        joined(_box(member, places[member.job.pk], job_id) for member in chain.members),
        class_="chain-picture",
        role="group",
        aria_label=f"Jobs before and after: {before} before, {after} after",
        viewBox=f"0 0 {right} {bottom}",
        width=right,
        height=bottom,
    )


def _places(members: Iterable[Member]) -> dict[int, Place]:
    columns: dict[int, list[Member]] = defaultdict(list)
    for member in members:
        columns[member.column].append(member)
    tallest, first = max(map(len, columns.values())), min(columns)
    return {
        member.job.pk: (
            MARGIN + (column - first) * COLUMN,
            MARGIN + (row + (tallest - len(there)) / 2) * ROW,
        )
        for column, there in columns.items()
        for row, member in enumerate(there)
    }


def _box(member: Member, place: Place, job_id: int) -> SafeString:
    x, y = place
    name = member.name
    shown = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    here = " here" if member.job.pk == job_id else ""
    parts = [
        element("title", name),
        element("rect", x=x, y=y, width=BOX_WIDTH, height=BOX_HEIGHT, rx=6),
        element("text", shown, x=x + 12, y=y + BOX_HEIGHT / 2 + 5),
    ]
    if here or not member.is_open:
        return element("g", *parts, class_=f"link-box{here}")
    job = member.job
    address = reverse("console:job", args=[job.account_id, job.project_id, job.pk])
    return element("a", *parts, class_="link-box", href=address, aria_label=name)


def _arrow(link: Link, places: dict[int, Place]) -> SafeString:
    (x1, y1), (x2, y2) = places[link.before.job.pk], places[link.after.job.pk]
    x1, y1, y2 = x1 + BOX_WIDTH, y1 + BOX_HEIGHT / 2, y2 + BOX_HEIGHT / 2
    half = (x1 + x2) / 2
    tip = f"M{x2 - 7:g} {y2 - 4:g}L{x2 - 1:g} {y2:g}L{x2 - 7:g} {y2 + 4:g}"
    words = f"{link.after.name} starts when {link.before.name} ends in {link.endings}"
    return element(
        "path",
        element("title", words),
        d=f"M{x1:g} {y1:g}C{half:g} {y1:g} {half:g} {y2:g} {x2 - 1:g} {y2:g}{tip}",
        class_="arrow err" if link.closes_a_circle else "arrow",
    )
