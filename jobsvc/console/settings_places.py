"""What the menu of the settings leads to. A settings page has its line here."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.roles import Action


@dataclass(frozen=True)
class SettingsPlace:
    """One entry of the menu.

    Attributes:
        name: of its address, which takes the account's id alone. Pages below that address are
            the place's own.
        about: what is found there, in a sentence.
        may: what somebody must be allowed to do in the whole account to see it; None for what
            is there for every member.
    """

    words: str
    name: str
    about: str
    may: Action | None = Action.READ


SETTINGS: tuple[SettingsPlace, ...] = (
    SettingsPlace("Projects", "projects", "Where each project's code is, and what it lacks.", None),
    SettingsPlace("Connections", "connections", "How each warehouse is reached."),
    SettingsPlace(
        "Repositories",
        "repositories",
        "Where the code comes from, how it is read, and what its git host delivered.",
    ),
    SettingsPlace(
        "Notifications",
        "notifications",
        "Who is told by mail or chat when jobs fail, recover or do not start, and what was told.",
        None,
    ),
    SettingsPlace(
        "Webhooks",
        "webhooks",
        "Addresses that are posted to when runs start, end or fail, and what they answered.",
    ),
    SettingsPlace("Tokens", "tokens", "Keys to the API: your own, and the account's.", None),
    SettingsPlace("Members", "members", "Who is in this account, and what each may do."),
    SettingsPlace(
        "Groups",
        "groups",
        "Roles for many at once, in one project or environment, and who may what.",
    ),
    SettingsPlace(
        "Audit log",
        "audit",
        "Who changed, started or opened what, when and from where.",
        Action.WRITE_ACCOUNT,
    ),
    SettingsPlace(
        "System",
        "system",
        "How the service is, what it is made of and what it keeps.",
        Action.WRITE_ACCOUNT,
    ),
)
