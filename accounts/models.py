"""Who: accounts, the people in them, and the tokens that act for either."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar
from zoneinfo import available_timezones

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Lower
from django.utils.functional import cached_property
from django.utils.timezone import now

from accounts.audited import Audit, Audited
from accounts.policy import Access, Held
from accounts.roles import Action, PermissionSet
from jobsvc.statuses import State

TOKEN_PREFIXES = {"personal": "jsu_", "service": "jss_"}
SHOWN_CHARACTERS = 12  # of a token, kept readable so that a person can tell tokens apart
LAST_USED_STEP = timedelta(minutes=1)  # a busy token writes its last use this often at most


def check_time_zone(name: str) -> None:
    """Refuse a zone that this machine does not know.

    Raises:
        ValidationError
    """
    if name not in available_timezones():
        raise ValidationError(
            f"{name!r} is not a time zone. Use an IANA name such as Europe/Berlin or UTC."
        )


class Account(Audited):
    """A customer: everything else belongs to one."""

    AUDIT = Audit("account")

    name = models.CharField(max_length=255)
    run_slots = models.PositiveIntegerField(
        default=5, help_text="How many runs may be active at once; pull-request runs take none."
    )
    default_dbt_version = models.CharField(
        max_length=60, default="latest", help_text="For environments that name none."
    )
    state = models.PositiveSmallIntegerField(choices=State, default=State.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(run_slots__gte=1),
                name="account_has_a_run_slot",
                violation_error_message="An account needs at least one run slot.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def audit_accounts(self) -> Sequence[int | None]:
        return [self.pk]


class Setup(models.Model):
    """That this installation has its first owner: the one row, so that of two people who set it
    up at once only one does."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    done_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="setup_is_done_once")]

    def __str__(self) -> str:
        return f"Set up at {self.done_at:%Y-%m-%d %H:%M}"


class DateStyle(models.TextChoices):
    """How pages write moments."""

    RELATIVE = "relative", "14 min ago within a day, then 2026-11-20 06:00"
    ISO = "iso", "2026-11-20 06:00, always"
    LOCAL = "local", "As the browser's language writes them, always"


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A person who signs in with ``email``."""
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.full_clean(exclude=["password"])
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """An operator of this installation, who may open ``/admin/``."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(Audited, AbstractBaseUser, PermissionsMixin):
    """A person. Signs in with an e-mail address; what they may do is said by memberships."""

    AUDIT = Audit("user", secret={"password"}, noise={"last_login"})

    email = models.EmailField(unique=True)
    first_name = models.CharField(max_length=150, blank=True)
    last_name = models.CharField(max_length=150, blank=True)
    time_zone = models.CharField(
        max_length=64,
        blank=True,
        default="",
        validators=[check_time_zone],
        help_text="An IANA zone, in which pages show times; empty for the browser's own.",
    )
    date_style = models.CharField(
        max_length=10, choices=DateStyle, default=DateStyle.RELATIVE, verbose_name="Dates"
    )
    shortcuts = models.BooleanField(default=True, help_text="Whether single keys are shortcuts.")
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=now, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="one_user_per_email_address",
                violation_error_message="Somebody already has this e-mail address.",
            )
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def full_name(self) -> str:
        """First and last name, or the e-mail address where neither is known."""
        return f"{self.first_name} {self.last_name}".strip() or self.email

    def audit_accounts(self) -> Sequence[int | None]:
        """Those they are a member of; the installation's log alone where there is none."""
        if self.pk is None:
            return [None]
        return list(self.memberships.values_list("account", flat=True)) or [None]


class MembershipQuerySet(models.QuerySet["Membership"]):
    def with_groups(self) -> MembershipQuerySet:
        """Each with whether groups grant it anything, which saves most people a query."""
        grants = Grant.objects.filter(group__members=OuterRef("pk"), group__state=State.ACTIVE)
        return self.annotate(in_groups=Exists(grants))

    def active(self) -> MembershipQuerySet:
        """Those that let somebody in: neither they nor the person have been switched off."""
        return self.filter(is_active=True, user__is_active=True)


class Membership(Audited):
    """A person's place in an account: a role in all of it, groups that grant more, or both.

    Attributes:
        permission_set: the role; empty where only groups grant anything.
        is_active: while it is not, the person cannot enter the account, nor can their tokens.
    """

    AUDIT = Audit("membership")

    account = models.ForeignKey(Account, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    permission_set = models.CharField(
        max_length=40, choices=PermissionSet, default=PermissionSet.JOB_VIEWER, blank=True
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "user"], name="one_membership_per_account")
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.account}"

    @cached_property
    def access(self) -> Access:
        """What this person may do here, by role and groups; read once for each object."""
        if not getattr(self, "in_groups", True):  # MembershipQuerySet.with_groups has looked
            return Access((Held("your role", self.permission_set),))
        granted = (
            Grant.objects.filter(group__members=self, group__state=State.ACTIVE)
            .select_related("group")
            .order_by("pk")
        )
        return Access(
            (Held("your role", self.permission_set), *(grant.held() for grant in granted))
        )

    def may(self, action: Action, at: models.Model | None = None) -> bool:
        """Whether this person may do ``action`` to ``at``; to the whole account without it."""
        return self.access.may(action, at) is not None

    @property
    def role(self) -> str:
        """The role in words."""
        return self.get_permission_set_display() or "What their groups grant"


class Group(Audited):
    """People of an account who are granted the same."""

    AUDIT = Audit("group")

    account = models.ForeignKey(Account, models.CASCADE, related_name="groups")
    name = models.CharField(max_length=255)
    members = models.ManyToManyField(Membership, related_name="groups", blank=True)
    assign_by_default = models.BooleanField(
        default=False, help_text="Whoever joins the account from now on is in this group."
    )
    sso_mapping_groups = models.JSONField(default=list, blank=True)
    state = models.PositiveSmallIntegerField(choices=State, default=State.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "account",
                Lower("name"),
                condition=Q(state=State.ACTIVE),
                name="one_group_per_name",
                violation_error_message="There is a group of this name already. Choose another.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Grant(Audited):
    """A role for a group or a service token: in all projects, in one, or in one environment."""

    AUDIT = Audit("permission")

    group = models.ForeignKey(Group, models.CASCADE, null=True, blank=True, related_name="grants")
    token = models.ForeignKey("Token", models.CASCADE, null=True, blank=True, related_name="grants")
    permission_set = models.CharField(max_length=40, choices=PermissionSet)
    project = models.ForeignKey(
        "environments.Project", models.CASCADE, null=True, blank=True, related_name="+"
    )
    environment = models.ForeignKey(
        "environments.Environment", models.CASCADE, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(group__isnull=False, token__isnull=True)
                | Q(group__isnull=True, token__isnull=False),
                name="grant_is_a_groups_or_a_tokens",
                violation_error_message="A grant is a group's or a service token's, not both.",
            ),
            models.CheckConstraint(
                condition=Q(environment__isnull=True) | Q(project__isnull=False),
                name="grant_in_an_environment_names_its_project",
                violation_error_message="Name the project of the environment, too.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_permission_set_display()} for {self.group or self.token}"

    def audit_accounts(self) -> Sequence[int | None]:
        """Its group's or token's."""
        holder = self.group or self.token
        return [holder.account_id if holder else None]

    def held(self) -> Held:
        """What it gives, for ``Access``."""
        source = f"the group {self.group}" if self.group else "the token"
        return Held(source, self.permission_set, self.project_id, self.environment_id)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> InvitationQuerySet:
        """Those that can still be accepted, or could be if they were sent again."""
        return self.filter(accepted_at=None, revoked_at=None)


class Invitation(models.Model):
    """Somebody was asked to join an account. See ``accounts.invitations``.

    Attributes:
        nonce: what the text of the link is made from; alone it opens nothing.
    """

    account = models.ForeignKey(Account, models.CASCADE, related_name="invitations")
    email = models.EmailField()
    permission_set = models.CharField(max_length=40, choices=PermissionSet, blank=True)
    groups = models.ManyToManyField(Group, related_name="invitations", blank=True)
    nonce = models.CharField(max_length=40, unique=True, editable=False)
    invited_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "account",
                Lower("email"),
                condition=Q(accepted_at=None, revoked_at=None),
                name="one_open_invitation_per_address",
                violation_error_message="This address is invited already. Send that again.",
            )
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def has_expired(self) -> bool:
        """Whether its link is too old to be used; sending it again makes another."""
        return self.expires_at <= now()


class TokenKind(models.TextChoices):
    PERSONAL = "personal", "Personal"
    SERVICE = "service", "Service"


def digest_of(token: str) -> str:
    """The SHA-256 of a token, in hex: enough for 256 random bits, and quick to look up."""
    return hashlib.sha256(token.encode()).hexdigest()


class TokenQuerySet(models.QuerySet["Token"]):
    def usable(self) -> TokenQuerySet:
        """Tokens that may be used now: not revoked, not expired, their owner still active."""
        return self.filter(
            Q(expires_at=None) | Q(expires_at__gt=now()),
            Q(user=None)
            | Q(
                user__is_active=True,
                user__memberships__account=models.F("account_id"),
                user__memberships__is_active=True,
            ),
            state=State.ACTIVE,
            account__state=State.ACTIVE,
        )

    def find(self, token: str) -> Token | None:
        """The usable token whose text is ``token``."""
        grants = Grant.objects.filter(token=OuterRef("pk"))
        found = self.usable().annotate(has_grants=Exists(grants)).select_related("account", "user")
        return found.filter(digest=digest_of(token)).first()


class Token(Audited):
    """A key to the API. Its text is shown once, when it is made; only its digest is kept."""

    AUDIT = Audit(
        "service_token",
        noise={"digest", "prefix", "last_used_at", "last_used_from"},
        added="created",
        removed="revoked",
    )

    account = models.ForeignKey(Account, models.CASCADE, related_name="tokens")
    user = models.ForeignKey(User, models.CASCADE, null=True, blank=True, related_name="tokens")
    kind = models.CharField(max_length=20, choices=TokenKind)
    name = models.CharField(max_length=255)
    permission_set = models.CharField(
        max_length=40,
        choices=PermissionSet,
        blank=True,
        help_text="Of a service token, in all projects; grants may add more in single projects. "
        "A personal token may do what its owner may.",
    )
    prefix = models.CharField(max_length=SHOWN_CHARACTERS, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    state = models.PositiveSmallIntegerField(choices=State, default=State.ACTIVE)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_from = models.CharField(
        max_length=45, blank=True, default="", editable=False, help_text="The IP address."
    )
    created_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TokenQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind=TokenKind.PERSONAL, user__isnull=False, permission_set="")
                | Q(kind=TokenKind.SERVICE, user__isnull=True),
                name="personal_token_acts_for_a_user",
                violation_error_message=(
                    "A personal token has an owner; a service token has grants of its own."
                ),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def audit_word(self) -> str:
        return f"{self.kind}_token"

    @classmethod
    def issue(
        cls, account: Account, name: str, *, grants: Sequence[Grant] = (), **fields: Any
    ) -> tuple[Token, str]:
        """A new token and its text, which cannot be had again.

        Args:
            grants: unsaved ones, of a service token that may do something in single projects.
            fields: ``user=`` for a personal token, ``permission_set=`` for a service token,
                ``expires_at=`` for either.

        Raises:
            ValidationError: a value cannot be used, or a service token would be good for nothing.
        """
        kind = TokenKind.PERSONAL if fields.get("user") else TokenKind.SERVICE
        text = TOKEN_PREFIXES[kind] + secrets.token_urlsafe(32)
        token = cls(
            account=account,
            name=name,
            kind=kind,
            prefix=text[:SHOWN_CHARACTERS],
            digest=digest_of(text),
            **fields,
        )
        if kind == TokenKind.SERVICE and not token.permission_set and not grants:
            raise ValidationError(
                {"permission_set": "Choose what the token may do: a permission set."}
            )
        with transaction.atomic():
            token.full_clean()
            token.save()
            for grant in grants:
                grant.token = token
                grant.full_clean()
                grant.save()
        return token, text

    @cached_property
    def access(self) -> Access:
        """What this token may do: its owner's access, or what a service token was given."""
        if self.user is not None:
            memberships = Membership.objects.filter(user=self.user, is_active=True).with_groups()
            member = memberships.filter(account=self.account_id).first()
            return member.access if member else Access(())
        own = Held("the token", self.permission_set)
        if not getattr(self, "has_grants", True):  # TokenQuerySet.find has looked
            return Access((own,))
        return Access((own, *(grant.held() for grant in self.grants.order_by("pk"))))

    def may(self, action: Action, at: models.Model | None = None) -> bool:
        """Whether this token allows ``action`` to ``at``; to the whole account without it."""
        return self.access.may(action, at) is not None

    def revoke(self) -> None:
        """Let nobody use this token any more, from the next request on."""
        self.state = State.DELETED
        self.save(update_fields=["state"])

    def note_use(self, address: str = "") -> None:
        """Write down that this token was used, and from which IP, at most once a minute."""
        moment = now()
        if self.last_used_at is None or moment - self.last_used_at > LAST_USED_STEP:
            Token.objects.filter(pk=self.pk).update(last_used_at=moment, last_used_from=address)


class FeedKind(models.TextChoices):
    BADGE = "badge", "Status badge of a job"
    CALENDAR = "calendar", "Calendar of planned runs"


class FeedKeyQuerySet(models.QuerySet["FeedKey"]):
    def usable(self) -> FeedKeyQuerySet:
        """Keys that open something now: not revoked, of an account and a person still there."""
        return self.filter(
            Q(membership=None) | Q(membership__is_active=True, membership__user__is_active=True),
            state=State.ACTIVE,
            account__state=State.ACTIVE,
        )


class FeedKey(models.Model):
    """Opens one thing to whoever has its address, without signing in. See ``accounts.feeds``.

    Attributes:
        job_id: of a badge. No foreign key: jobs lie above accounts.
        membership: of a calendar, which shows what this person may see.
        nonce: what the text of the key is made from; alone it opens nothing.
    """

    account = models.ForeignKey(Account, models.CASCADE, related_name="feed_keys")
    kind = models.CharField(max_length=20, choices=FeedKind)
    job_id = models.BigIntegerField(null=True, blank=True)
    membership = models.ForeignKey(
        Membership, models.CASCADE, null=True, blank=True, related_name="feed_keys"
    )
    nonce = models.CharField(max_length=40, unique=True, editable=False)
    state = models.PositiveSmallIntegerField(choices=State, default=State.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = FeedKeyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind=FeedKind.BADGE, job_id__isnull=False, membership__isnull=True)
                | Q(kind=FeedKind.CALENDAR, job_id__isnull=True, membership__isnull=False),
                name="feed_key_opens_one_thing",
                violation_error_message="A badge is a job's, and a calendar is a member's.",
            ),
            models.UniqueConstraint(
                fields=["job_id"],
                condition=Q(state=State.ACTIVE, kind=FeedKind.BADGE),
                name="one_badge_key_per_job",
            ),
            models.UniqueConstraint(
                fields=["membership"],
                condition=Q(state=State.ACTIVE, kind=FeedKind.CALENDAR),
                name="one_calendar_key_per_member",
            ),
        ]

    def __str__(self) -> str:
        return self.get_kind_display()
