"""The link from a settings page to its slice of the audit log."""

from __future__ import annotations

from django import template
from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import Membership
from accounts.roles import Action

register = template.Library()


@register.simple_tag
def history_of(membership: Membership, row: Model, words: str = "") -> SafeString:
    """“History of this job”, for those who may read it; nothing for others and of a new row.

    Args:
        words: what ``row`` is called, where its model's name is not that.
    """
    if row.pk is None or not membership.may(Action.WRITE_ACCOUNT):
        return SafeString("")
    asked = {"kind": row._meta.model_name or "", "id": str(row.pk)}
    return _link(membership, asked, f"History of this {words or row._meta.verbose_name}")


@register.simple_tag
def history_of_all(membership: Membership, action: str, words: str, project: int = 0) -> SafeString:
    """The same of everything of a kind, such as the variables of a project."""
    if not membership.may(Action.WRITE_ACCOUNT):
        return SafeString("")
    asked = {"action": action} | ({"project": str(project)} if project else {})
    return _link(membership, asked, f"History of {words}")


def _link(membership: Membership, asked: dict[str, str], words: str) -> SafeString:
    url = reverse("console:audit", args=[membership.account_id], query=asked)
    return format_html('<p class="history"><a href="{}">{}</a></p>', url, words)
