"""Slack: blocks for an incoming webhook, which chats that imitate Slack understand as well.

Source: docs.slack.dev, "Sending messages using incoming webhooks", "Formatting message text",
and the limits of the section block.
"""

from __future__ import annotations

from typing import Any

from jobsvc.notifications.messages import Message, Node, clipped, shortened

LONGEST_TEXT = 3000  # characters of a section
LONGEST_FIELD = 2000
LONGEST_QUOTE = 500  # before it is escaped, which may make five of one
MOST_FIELDS = 10  # of one section
MOST_NODES = 5
MOST_LINES = 5  # of one node


class Slack:
    def body_of(self, message: Message) -> dict[str, Any]:
        """``text`` is what notifications and screen readers say; ``blocks`` what is seen."""
        [(_words, url), *_others] = message.links or [("", "")]
        headline = escaped(message.headline)
        title = f"{message.look.glyph} *<{url}|{headline}>*" if url else f"*{headline}*"
        blocks = [_section("\n".join(filter(None, [title, escaped(message.sentence)])))]
        if message.facts:
            facts = [f"*{escaped(name)}*\n{escaped(value)}" for name, value in message.facts]
            fields = [_text(one, LONGEST_FIELD) for one in facts[:MOST_FIELDS]]
            blocks.append({"type": "section", "fields": fields})
        blocks += [_section(_of_node(node)) for node in message.nodes[:MOST_NODES]]
        if message.log:
            blocks.append(_section(_quoted("\n".join(message.log[-MOST_LINES:]))))
        if more := len(message.nodes) - MOST_NODES + message.more_nodes:
            blocks += [_section(f"… and {more} more")] if more > 0 else []
        if len(message.links) > 1:
            blocks.append(_section(" · ".join(f"<{url}|{words}>" for words, url in message.links)))
        return {"text": escaped(shortened(message.subject)), "blocks": blocks}


def escaped(text: str) -> str:
    """``text`` without what Slack reads as a link, a mention or an entity."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _of_node(node: Node) -> str:
    head = f"*{escaped(node.unique_id)}*: {escaped(node.status)}"
    lines = "\n".join(node.lines[:MOST_LINES])
    return f"{head}\n{_quoted(lines)}" if lines else head


def _quoted(text: str) -> str:
    """As a block of code, which nothing inside can end."""
    inside = escaped(clipped(text, LONGEST_QUOTE)).replace("```", "'''")
    return f"```{inside}```"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(text, LONGEST_TEXT)}


def _text(text: str, most: int) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text if len(text) <= most else f"{text[: most - 1]}…"}
