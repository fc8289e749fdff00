"""``manage.py bootstrap``: the first account, its owner, and a token to begin with."""

from __future__ import annotations

import json
import secrets
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts import setup
from accounts.models import Account, Membership, Token, User
from accounts.roles import PermissionSet
from jobsvc.statuses import State

TOKEN_NAME = "bootstrap"  # noqa: S105 - the token's name, not its text


class Command(BaseCommand):
    help = (
        "Make the first account, an owner who can sign in, and a token; print them once. "
        "Again with the same names: account and owner stay as they are, the owner's password "
        "changes only if one is given, and a new token replaces the one made before."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--account", required=True, help="The account's name.")
        parser.add_argument("--email", required=True, help="The owner's e-mail address.")
        parser.add_argument(
            "--password", help="The owner's password; without it, one is made for a new owner."
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *_arguments: str, **options: Any) -> None:
        try:
            made = bootstrap(options["account"], options["email"], options["password"])
        except ValidationError as refused:
            raise CommandError(" ".join(refused.messages)) from refused
        if options["json"]:
            self.stdout.write(json.dumps(made))
            return
        kept = "unchanged" if made["password"] is None else made["password"]
        self.stdout.write(
            f"Account   {made['account_id']} ({made['account_name']})\n"
            f"Sign in   {made['email']}\n"
            f"Password  {kept}\n"
            f"Token     {made['token']}\n"
            "Keep the token: it is shown this once. Running this command again replaces it."
        )


@transaction.atomic
def bootstrap(account_name: str, email: str, password: str | None) -> dict[str, Any]:
    """Make what is missing of account, owner and membership, and a new token.

    Returns:
        ``account_id``, ``account_name``, ``email``, ``password`` (None where it stays what it
        was) and ``token``.

    Raises:
        ValidationError: the address is none, or the password is too weak.
    """
    setup.close()
    account = Account.objects.filter(name=account_name, state=State.ACTIVE).first()
    if account is None:
        account = Account(name=account_name)
        account.full_clean()
        account.save()
    owner = User.objects.filter(email__iexact=email).first()
    if password is not None:
        validate_password(password, owner or User(email=email))
    if owner is None:
        password = password or secrets.token_urlsafe(12)
        # Whoever is first operates the installation as well, as who sets it up in the browser.
        make = User.objects.create_user if User.objects.exists() else User.objects.create_superuser
        owner = make(email, password)
    elif password is not None:
        owner.set_password(password)
        owner.save(update_fields=["password"])
    Membership.objects.update_or_create(
        account=account,
        user=owner,
        defaults={"permission_set": PermissionSet.OWNER, "is_active": True},
    )
    Token.objects.filter(account=account, user=owner, name=TOKEN_NAME, state=State.ACTIVE).update(
        state=State.DELETED
    )
    _token, text = Token.issue(account, TOKEN_NAME, user=owner)
    return {
        "account_id": account.pk,
        "account_name": account.name,
        "email": owner.email,
        "password": password,
        "token": text,
    }
