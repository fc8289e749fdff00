"""Who may do what: the whole table, and nothing where the table is silent."""

from __future__ import annotations

import pytest

from accounts.roles import ALLOWED, Action, PermissionSet, allows

READ = {Action.READ}
RUN = READ | {Action.RUN}
JOBS = RUN | {Action.WRITE_JOBS}
SETTINGS = READ | {Action.WRITE_SETTINGS}
MEMBER = JOBS | SETTINGS
EVERYTHING = set(Action)

TABLE = {
    "owner": EVERYTHING,
    "account_admin": EVERYTHING,
    "admin": MEMBER,
    "member": MEMBER,
    "developer": JOBS,
    "database_admin": SETTINGS,
    "git_admin": SETTINGS,
    "job_admin": JOBS,
    "job_creator": JOBS,
    "job_runner": RUN,
    "job_viewer": READ,
    "readonly": READ,
    "account_viewer": READ,
    "metadata_only": set(),
}


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("permission_set", PermissionSet)
def test_a_permission_set_allows_what_the_table_says(
    permission_set: PermissionSet, action: Action
) -> None:
    assert allows(permission_set, action) is (action in TABLE[permission_set.value])


def test_every_permission_set_has_its_line() -> None:
    assert set(ALLOWED) == set(PermissionSet)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("permission_set", ["", "emperor", "OWNER", "owner "])
def test_an_unknown_permission_set_allows_nothing(permission_set: str, action: Action) -> None:
    assert not allows(permission_set, action)


def test_only_those_who_own_the_account_manage_people() -> None:
    assert [
        permission_set.value
        for permission_set in PermissionSet
        if allows(permission_set, Action.WRITE_ACCOUNT)
    ] == ["owner", "account_admin"]
