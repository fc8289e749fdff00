"""The first owner of an installation: made once, by whoever starts it or holds the setup key."""

from __future__ import annotations

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts import audit
from accounts.models import Account, Membership, Setup, User
from accounts.roles import PermissionSet


class SetupIsClosed(Exception):
    """There is an owner already, perhaps since a moment ago."""


def is_open() -> bool:
    """Whether nobody has set this installation up yet; once false, it stays so."""
    owners = Membership.objects.filter(permission_set=PermissionSet.OWNER)
    return not (Setup.objects.exists() or owners.exists())


def close() -> None:
    """Say that there is an owner, in whatever way they were made."""
    Setup.objects.get_or_create(pk=1)


def setup_key() -> str:
    """What somebody has to know who sets up an installation that others can reach.

    Every process of the installation knows it, and nobody who lacks its secret key.
    """
    return salted_hmac("jobsvc.setup", "the first owner", algorithm="sha256").hexdigest()[:32]


def is_setup_key(text: str) -> bool:
    return constant_time_compare(text.strip(), setup_key())


def make_first_owner(
    account_name: str, email: str, password: str, *, first_name: str = "", last_name: str = ""
) -> Membership:
    """Make the first account and its owner, who operates the installation as well.

    Raises:
        SetupIsClosed: somebody else was first.
        ValidationError: a value cannot be used, or the password is too weak.
    """
    person = User(email=email, first_name=first_name, last_name=last_name)
    try:
        validate_password(password, person)
    except ValidationError as weak:
        raise ValidationError({"password": weak.messages}) from weak
    with transaction.atomic():
        if not is_open():
            raise SetupIsClosed
        try:
            with transaction.atomic():
                Setup.objects.create(pk=1)
        except IntegrityError as second:
            raise SetupIsClosed from second
        account = Account(name=account_name)
        account.full_clean()
        account.save()
        owner = User.objects.create_superuser(
            email, password, first_name=first_name, last_name=last_name
        )
        membership = Membership.objects.create(
            account=account, user=owner, permission_set=PermissionSet.OWNER
        )
        audit.record("account.set_up", account, account_id=account.pk)
    return membership
