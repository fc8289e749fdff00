"""Microsoft Teams: an adaptive card for an incoming webhook, or for a workflow's.

What strangers wrote stands in runs of a rich text block, the one part of a card in which
Markdown is not read, so that nobody's error message becomes a link.

Source: learn.microsoft.com, "Create and send messages" of incoming webhooks (28 KB at most);
adaptivecards.io, RichTextBlock and TextRun.
"""

from __future__ import annotations

from typing import Any

from jobsvc.notifications.messages import Message, Node, clipped

MOST_FACTS = 12
MOST_NODES = 5
MOST_LINES = 5  # of one node
LONGEST_TEXT = 1500  # characters of one run of text; a whole card stays below 28 KB


class Teams:
    def body_of(self, message: Message) -> dict[str, Any]:
        parts = [_block(_run(f"{message.look.glyph} {message.headline}", weight="Bolder"))]
        if message.sentence:
            parts.append(_block(_run(message.sentence)))
        for name, value in message.facts[:MOST_FACTS]:
            parts.append(_block(_run(f"{name}: ", isSubtle=True), _run(value), spacing="Small"))
        for node in message.nodes[:MOST_NODES]:
            parts += _of_node(node)
        if message.log:
            parts.append(_block(_run("\n".join(message.log[-MOST_LINES:]), fontType="Monospace")))
        more = len(message.nodes) - MOST_NODES + message.more_nodes
        if more > 0:
            parts.append(_block(_run(f"… and {more} more", isSubtle=True)))
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "fallbackText": clipped(message.subject, LONGEST_TEXT),
            "body": parts,
            "actions": [
                {"type": "Action.OpenUrl", "title": words, "url": url}
                for words, url in message.links
            ],
        }
        kind = "application/vnd.microsoft.card.adaptive"
        return {"type": "message", "attachments": [{"contentType": kind, "content": card}]}


def _of_node(node: Node) -> list[dict[str, Any]]:
    head = _block(_run(node.unique_id, weight="Bolder"), _run(f": {node.status}"))
    lines = clipped("\n".join(node.lines[:MOST_LINES]), LONGEST_TEXT)
    return [head, _block(_run(lines, fontType="Monospace"), spacing="Small")] if lines else [head]


def _block(*runs: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs), **options}


def _run(text: str, **options: Any) -> dict[str, Any]:
    return {"type": "TextRun", "text": clipped(text, LONGEST_TEXT), **options}
