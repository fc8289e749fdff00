"""Groups of people who are granted the same, and what they and service tokens are granted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit
from accounts.models import Account, Grant, Group, Membership, Token
from jobsvc.statuses import State


def define_group(group: Group, members: Iterable[Membership] | None = None) -> Group:
    """Save ``group``, new or changed.

    Args:
        members: of its account, who are in it from now on; None leaves them as they are.

    Raises:
        ValidationError: the name is missing or taken.
    """
    with _alone(group.account_id), audit.as_one():
        group.full_clean()
        group.save()
        if members is not None:
            group.members.set(members)
    return group


def delete_group(group: Group) -> Group:
    """Let ``group`` grant nothing any more, from the next request on."""
    group.state = State.DELETED
    group.save(update_fields=["state", "updated_at"])
    return group


def set_groups(membership: Membership, groups: Iterable[Group]) -> None:
    """Have a member in exactly these active groups of their account."""
    wanted = set(groups)
    with _alone(membership.account_id):
        for group in Group.objects.filter(account=membership.account_id, state=State.ACTIVE):
            is_in = group.members.filter(pk=membership.pk).exists()
            if is_in == (group in wanted):
                continue
            if is_in:
                group.members.remove(membership)
            else:
                group.members.add(membership)


def join_default_groups(membership: Membership) -> None:
    """Put somebody who has just joined into the groups that are everybody's."""
    defaults = Group.objects.filter(
        account=membership.account_id, state=State.ACTIVE, assign_by_default=True
    )
    for group in defaults:
        group.members.add(membership)


def add_grant(grant: Grant) -> Grant:
    """Save a new grant of a group or a service token.

    Raises:
        ValidationError: a value cannot be used, or it is granted already.
    """
    holder = grant.group or grant.token
    if holder is None:
        raise ValidationError("A grant is a group's or a service token's.")
    with _alone(holder.account_id):
        check_grant(grant, holder.account_id)
        same = Grant.objects.filter(
            group=grant.group,
            token=grant.token,
            permission_set=grant.permission_set,
            project=grant.project,
            environment=grant.environment,
        )
        if same.exists():
            raise ValidationError({"permission_set": "This is granted already, at that place."})
        grant.full_clean()
        grant.save()
    return grant


def replace_grants(holder: Group | Token, grants: Sequence[Grant]) -> None:
    """Let a group or a service token hold exactly ``grants``, which are not saved yet.

    Raises:
        ValidationError: a value of one of them cannot be used. Nothing is changed then.
    """
    with _alone(holder.account_id):
        for old in holder.grants.all():
            old.delete()
        for grant in {
            (g.permission_set, g.project_id, g.environment_id): g for g in grants
        }.values():
            if isinstance(holder, Group):
                grant.group = holder
            else:
                grant.token = holder
            check_grant(grant, holder.account_id)
            grant.full_clean()
            grant.save()


def check_grant(grant: Grant, account_id: int) -> None:
    """Refuse a place that is not the account's, or an environment of another project.

    Raises:
        ValidationError
    """
    project, environment = grant.project, grant.environment
    if project is not None and (project.account_id != account_id or project.state != State.ACTIVE):
        raise ValidationError({"project": "This account has no such project. Choose another."})
    if environment is not None and (
        environment.project_id != grant.project_id or environment.state != State.ACTIVE
    ):
        raise ValidationError(
            {"environment": "The project has no such environment. Choose another."}
        )


@contextmanager
def _alone(account_id: int) -> Iterator[None]:
    """A transaction in which nobody else changes who may do what in the account."""
    with transaction.atomic():
        Account.objects.select_for_update(no_key=True).get(pk=account_id)
        yield
