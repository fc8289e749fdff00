"""Who: accounts, the people in them, and the tokens that act for either."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any, ClassVar
from zoneinfo import available_timezones

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.timezone import now

from accounts.roles import Action, PermissionSet, allows
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


class Account(models.Model):
    """A customer: everything else belongs to one."""

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


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Signs in with an e-mail address; what they may do is said by memberships."""

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


class Membership(models.Model):
    """A person's place in an account."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    permission_set = models.CharField(
        max_length=40, choices=PermissionSet, default=PermissionSet.JOB_VIEWER
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "user"], name="one_membership_per_account")
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.account}"


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
            | Q(user__is_active=True, user__memberships__account=models.F("account_id")),
            state=State.ACTIVE,
            account__state=State.ACTIVE,
        )

    def find(self, token: str) -> Token | None:
        """The usable token whose text is ``token``."""
        return (
            self.usable().select_related("account", "user").filter(digest=digest_of(token)).first()
        )


class Token(models.Model):
    """A key to the API. Its text is shown once, when it is made; only its digest is kept."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="tokens")
    user = models.ForeignKey(User, models.CASCADE, null=True, blank=True, related_name="tokens")
    kind = models.CharField(max_length=20, choices=TokenKind)
    name = models.CharField(max_length=255)
    permission_set = models.CharField(
        max_length=40,
        choices=PermissionSet,
        blank=True,
        help_text="Of a service token; a personal token may do what its owner may.",
    )
    prefix = models.CharField(max_length=SHOWN_CHARACTERS, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    state = models.PositiveSmallIntegerField(choices=State, default=State.ACTIVE)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TokenQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind=TokenKind.PERSONAL, user__isnull=False, permission_set="")
                | (Q(kind=TokenKind.SERVICE, user__isnull=True) & ~Q(permission_set="")),
                name="token_acts_for_a_user_or_holds_a_permission_set",
                violation_error_message=(
                    "A personal token has an owner; a service token has a permission set."
                ),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def issue(cls, account: Account, name: str, **fields: Any) -> tuple[Token, str]:
        """A new token and its text, which cannot be had again.

        Args:
            fields: ``user=`` for a personal token, ``permission_set=`` for a service token,
                ``expires_at=`` for either.
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
        token.full_clean()
        token.save()
        return token, text

    def may(self, action: Action) -> bool:
        """Whether this token allows ``action`` in its account."""
        if self.user is None:
            return allows(self.permission_set, action)
        sets = self.user.memberships.filter(account=self.account_id)
        return any(allows(name, action) for name in sets.values_list("permission_set", flat=True))

    def revoke(self) -> None:
        """Let nobody use this token any more, from the next request on."""
        self.state = State.DELETED
        self.save(update_fields=["state"])

    def note_use(self) -> None:
        """Write down that this token was used, at most once a minute."""
        moment = now()
        if self.last_used_at is None or moment - self.last_used_at > LAST_USED_STEP:
            Token.objects.filter(pk=self.pk).update(last_used_at=moment)
