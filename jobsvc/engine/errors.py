"""What can end a run, in the words its user reads: what happened, then what to do."""

from __future__ import annotations

import string


class RunFailure(Exception):
    """The run cannot go on. ``str(error)`` is shown to the user as it is.

    Subclasses set ``template``, one sentence that says what happened, and ``remedy``, one
    that says what to do about it. Neither may hold a secret.
    """

    template = "The run stopped because of a problem in this service."
    remedy = "Retry the run; if it happens again, tell your administrator the run's id."

    def __init__(self, **values: object) -> None:
        self.values = {name: _one_line(value) for name, value in values.items()}
        super().__init__(f"{self.summary} {_fill(self.remedy, self.values)}")

    @property
    def summary(self) -> str:
        """The first sentence alone: what fits in a commit status or an e-mail's subject."""
        return _fill(self.template, self.values)


def _one_line(value: object) -> str:
    return " ".join(str(value).split())


def _fill(template: str, values: dict[str, str]) -> str:
    return string.Formatter().vformat(template, (), values)


class RepositoryUnreachable(RunFailure):
    template = "{repository} could not be reached: {reason}."
    remedy = "Check the repository's address and that this server may reach it, then retry."


class RepositoryRefused(RunFailure):
    template = "{repository} refused this service: {reason}."
    remedy = "Check the repository's credentials and their rights, then retry."


class RepositoryAddressRefused(RunFailure):
    template = "The repository address {repository} is not allowed here."
    remedy = (
        "Use an https:// or ssh:// address of a host that this server may reach, without a "
        "password in it."
    )


class HostKeyChanged(RunFailure):
    template = "The ssh key of {repository} is not the one that this server knows of its host."
    remedy = "Ask your administrator to check it, and to take the old one out of known_hosts."


class CommitNotFound(RunFailure):
    template = "Commit {sha} is not in {repository}."
    remedy = "Push the commit again, or trigger the run without git_sha."


class RefNotFound(RunFailure):
    template = "{repository} has no branch or tag named {ref}."
    remedy = "Correct the branch of the environment or of the trigger, then retry."


class CheckoutTooLarge(RunFailure):
    template = "The checkout of {repository} is larger than {limit}."
    remedy = "Make the repository smaller, or ask your administrator to raise the limit."


class CheckoutTimedOut(RunFailure):
    template = "The checkout of {repository} took longer than {seconds} seconds."
    remedy = "Retry; if it happens again, check the git host's speed or raise the limit."


class ProjectNotFound(RunFailure):
    template = "There is no dbt_project.yml in {place} of the repository."
    remedy = "Set the project's subdirectory to the folder that holds it."


class ProjectFileRefused(RunFailure):
    template = "{file}, line {line}: {reason}."
    remedy = "Keep every path inside the project's own folder, then retry."


class OutsideSchema(RunFailure):
    template = (
        "{number} would be built outside the schema of this pull request, {prefix}: {named}. "
        "Nothing was built."
    )
    remedy = (
        "Let generate_schema_name begin with target.schema where target.name or "
        "DBT_CLOUD_INVOCATION_CONTEXT says so, or set extensions.ci.schema_guard to off."
    )


class VersionUnavailable(RunFailure):
    template = "dbt {version} with {adapters} is not installed on this server."
    remedy = "Choose one of: {installed}; or ask your administrator to install it."


class VersionNotBuilt(RunFailure):
    template = "dbt {version} with {adapters} could not be installed: {reason}."
    remedy = "Choose another version (installed: {installed}), or ask your administrator."


class IndexUnreachable(VersionNotBuilt):
    remedy = "Retry; if it happens again, use one that is installed: {installed}."


class IsolationMissing(RunFailure):
    template = "This server demands {layer} to confine a run and does not have it ({got})."
    remedy = "Ask your administrator to run `manage.py doctor`; nothing of the run was started."


class SupervisorLost(RunFailure):
    template = "The process that carried the run out ended unexpectedly (status {status})."
    remedy = "Retry the run; if it happens again, the worker may be short of memory."


class NoSpaceLeft(RunFailure):
    template = "The worker has no disk space left."
    remedy = "Ask your administrator to free space, then retry the run."


class CommandRejected(ValueError):
    """A step is not a dbt command that a job may run. ``str(error)`` is the whole sentence."""
