"""Permission sets, by dbt Cloud's names, and what each of them allows. Default: nothing."""

from __future__ import annotations

from django.db.models import TextChoices


class Action(TextChoices):
    """What somebody may do in an account."""

    READ = "read", "read jobs, runs and settings"
    RUN = "run", "start and cancel runs"
    WRITE_JOBS = "write_jobs", "create and change jobs and variables"
    WRITE_SETTINGS = "write_settings", "change projects, connections and environments"
    WRITE_ACCOUNT = "write_account", "manage people, tokens and webhooks"


class PermissionSet(TextChoices):
    """The sets that a membership or a service token may hold."""

    OWNER = "owner", "Owner"
    ACCOUNT_ADMIN = "account_admin", "Account admin"
    ADMIN = "admin", "Admin"
    MEMBER = "member", "Member"
    DEVELOPER = "developer", "Developer"
    DATABASE_ADMIN = "database_admin", "Database admin"
    GIT_ADMIN = "git_admin", "Git admin"
    JOB_ADMIN = "job_admin", "Job admin"
    JOB_CREATOR = "job_creator", "Job creator"
    JOB_RUNNER = "job_runner", "Job runner"
    JOB_VIEWER = "job_viewer", "Job viewer"
    READONLY = "readonly", "Read-only"
    ACCOUNT_VIEWER = "account_viewer", "Account viewer"
    METADATA_ONLY = "metadata_only", "Metadata only"


_EVERYTHING = frozenset(Action)
_READ = frozenset({Action.READ})
_RUN = _READ | {Action.RUN}
_JOBS = _RUN | {Action.WRITE_JOBS}

ALLOWED: dict[PermissionSet, frozenset[Action]] = {
    PermissionSet.OWNER: _EVERYTHING,
    PermissionSet.ACCOUNT_ADMIN: _EVERYTHING,
    PermissionSet.ADMIN: _JOBS | {Action.WRITE_SETTINGS},
    PermissionSet.MEMBER: _JOBS | {Action.WRITE_SETTINGS},
    PermissionSet.DEVELOPER: _JOBS,
    PermissionSet.DATABASE_ADMIN: _READ | {Action.WRITE_SETTINGS},
    PermissionSet.GIT_ADMIN: _READ | {Action.WRITE_SETTINGS},
    PermissionSet.JOB_ADMIN: _JOBS,
    PermissionSet.JOB_CREATOR: _JOBS,
    PermissionSet.JOB_RUNNER: _RUN,
    PermissionSet.JOB_VIEWER: _READ,
    PermissionSet.READONLY: _READ,
    PermissionSet.ACCOUNT_VIEWER: _READ,
    PermissionSet.METADATA_ONLY: frozenset(),  # what it may read is not among these actions
}


def allows(permission_set: str, action: Action) -> bool:
    """Whether ``permission_set`` allows ``action``; an unknown set allows nothing."""
    if permission_set not in PermissionSet.values:
        return False
    return action in ALLOWED[PermissionSet(permission_set)]
