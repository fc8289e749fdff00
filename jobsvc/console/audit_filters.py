"""The filters of the audit log: read from the address, applied, and said again in links."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from accounts.audit import AuditEvent
from accounts.models import Membership
from jobsvc.console.asked import LARGEST_NUMBER, moment

LONGEST_WORD = 100  # characters that are looked for
NAMES = ("q", "actor", "action", "target", "kind", "id", "project", "request", "since", "until")

# The begins of actions, and what they are about.
KINDS = (
    ("job_definition", "Jobs"),
    ("run", "Runs"),
    ("environment", "Environments"),
    ("environment_variable", "Variables"),
    ("project", "Projects"),
    ("connection", "Connections"),
    ("credentials", "Credentials"),
    ("extended_attributes", "Extended attributes"),
    ("repository", "Repositories"),
    ("repository_webhook", "Webhooks of git hosts"),
    ("github_installation", "Installations of the GitHub App"),
    ("notification", "Notifications"),
    ("webhook_subscription", "Webhooks"),
    ("membership", "Members"),
    ("invitation", "Invitations"),
    ("group", "Groups"),
    ("permission", "Permissions"),
    ("service_token", "Service tokens"),
    ("personal_token", "Personal tokens"),
    ("feed_key", "Keys of badges and calendars"),
    ("docs_link", "Public links to documentation"),
    ("login", "Sign-ins"),
    ("mfa", "Second factors"),
    ("user", "Users"),
    ("account", "The account"),
    ("worker", "Workers"),
    ("dbt_version", "dbt versions"),
    ("audit_log", "This log"),
)


@dataclass(frozen=True)
class AuditFilters:
    """What of the address can be used.

    Attributes:
        given: name to the text of the address, in the order of ``NAMES``.
        problems: a sentence for each text that cannot be read, and is left out.
    """

    given: dict[str, str]
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.given)

    @property
    def is_of_one_thing(self) -> bool:
        """Whether the address asks for the history of one row."""
        return {"kind", "id"} <= set(self.given)

    def query(self, **more: object) -> str:
        """``?action=run&actor=ana``; ``?`` where nothing is asked for."""
        return f"?{urlencode(self.given | {name: str(value) for name, value in more.items()})}"

    def without(self, *names: str) -> AuditFilters:
        left = {name: text for name, text in self.given.items() if name not in names}
        return replace(self, given=left)

    def of(self, events: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        """Those of ``events`` that are asked for, newest first."""
        wanted = Q()
        for name, text in self.given.items():
            wanted &= _condition(name, text)
        return events.filter(wanted).order_by("-pk")


def _condition(name: str, text: str) -> Q:
    match name:
        case "q":
            words = ("action", "actor_name", "target_name")
            found = [Q(**{f"{word}__icontains": text}) for word in words]
            return found[0] | found[1] | found[2]
        case "action":
            return Q(action=text) | Q(action__startswith=f"{text}.")
        case "since":
            return Q(created_at__gte=moment(text))
        case "until":
            return Q(created_at__lt=moment(text, end=True))
        case "project":
            return Q(project_id=int(text))
    column, lookup = {
        "actor": ("actor_name", "__icontains"),
        "target": ("target_name", "__icontains"),
        "kind": ("target_kind", ""),
        "id": ("target_id", ""),
        "request": ("request_id", ""),
    }[name]
    return Q(**{f"{column}{lookup}": text})


def read(request: HttpRequest) -> AuditFilters:
    """The filters of the address; what cannot be read is left out and said."""
    texts = {name: request.GET.get(name, "").strip()[:LONGEST_WORD] for name in NAMES}
    given = {name: text.replace("\0", "") for name, text in texts.items() if text}
    problems = []
    for name in ("since", "until"):
        if name in given and moment(given[name], end=name == "until") is None:
            problems.append(f"“{given.pop(name)}” is no date. Write it like 2026-11-21.")
    project = given.get("project", "0")
    if not (project.isascii() and project.isdigit() and int(project) < LARGEST_NUMBER):
        problems.append(f"“{given.pop('project')}” is no number of a project.")
    return AuditFilters(given, tuple(problems))


def seen_events(request: HttpRequest, membership: Membership) -> QuerySet[AuditEvent]:
    """Events of the account; for a superuser those of the whole installation, too."""
    own = Q(account=membership.account_id)
    everything = request.user.is_authenticated and request.user.is_superuser
    return AuditEvent.objects.filter(own | Q(account=None) if everything else own)
