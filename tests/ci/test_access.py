"""Who we are at GitHub, for a repository."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Account
from ci.access import NoAccess, access_to, clone_credentials, full_name_of
from ci.providers.base import CommitState, ProviderRefused, ProviderUnavailable, provider_for
from ci.providers.github import RENEW_SECONDS
from jobsvc.engine.errors import RunFailure
from jobsvc.engine.plan import ToolchainPlan
from jobsvc.runs.plan import plan_run
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory
from tests.factories import (
    AccountFactory,
    GitHubInstallationFactory,
    JobFactory,
    RepositoryFactory,
)
from tests.fakes.github import FakeGitHub
from tests.fakes.github import Repository as Hosted

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(github: FakeGitHub, tmp_path: Any, settings: Any) -> Hosted:
    """A repository at a GitHub whose App we are, installed by its owner."""
    github.use_in(settings, as_app=True)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "README.md").write_text("A shop.")
    return github.create_repository("acme/shop", source=tmp_path / "source")


def installed(github: FakeGitHub, account: Account, login: str = "acme") -> int:
    number = github.install(login)
    GitHubInstallationFactory(account=account, installation_id=number, login=login)
    return number


def mints(github: FakeGitHub) -> int:
    return len(github.calls_to("POST /app/installations"))


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/shop.git",
        "https://github.com/acme/shop",
        "https://GitHub.com/acme/shop/",
        "https://github.com:443/acme/shop.git",
        "git@github.com:acme/shop.git",
        "ssh://git@github.com/acme/shop.git",
        "ssh://git@github.com:22/acme/shop",
    ],
)
def test_a_repository_at_github_has_its_name_from_any_address(url: str) -> None:
    assert full_name_of(url) == "acme/shop"


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com.evil.example/acme/shop.git",
        "https://evil.example/github.com/acme/shop.git",
        "https://github.com:8443/acme/shop.git",
        "http://github.com/acme/shop.git",
        "git@gitlab.com:acme/shop.git",
        "https://github.com/acme",
        "https://github.com/acme/shop/more",
        "file:///srv/acme/shop",
    ],
)
def test_a_repository_elsewhere_has_none(url: str) -> None:
    assert full_name_of(url) is None


def test_a_token_is_used_where_no_app_is_installed(github: FakeGitHub, shop: Hosted) -> None:
    repository = RepositoryFactory(
        remote_url=shop.clone_url, secrets={"username": "x", "password": github.token}
    )

    access = access_to(repository)

    assert (access.repository, access.token, access.is_app) == ("acme/shop", github.token, False)
    assert github.token not in repr(access)


def test_a_token_of_another_host_is_never_sent_to_github(github: FakeGitHub) -> None:
    repository = RepositoryFactory(
        remote_url="https://gitlab.com/acme/shop.git", secrets={"password": "theirs"}
    )

    with pytest.raises(NoAccess, match="not at"):
        access_to(repository)


def test_without_token_and_app_we_are_nobody(shop: Hosted) -> None:
    with pytest.raises(NoAccess, match="Give it a token"):
        access_to(RepositoryFactory(remote_url=shop.clone_url))


def test_the_app_is_used_where_the_repositorys_owner_installed_it(
    github: FakeGitHub, account: Account, shop: Hosted
) -> None:
    installed(github, account, login="Acme".lower())
    repository = RepositoryFactory(
        account=account, remote_url=shop.clone_url, secrets={"password": github.token}
    )

    access = access_to(repository)

    assert access.is_app
    provider_for("github").set_commit_status(
        access, shop.head, CommitState.PENDING, context="c", description="d", target_url=""
    )
    assert github.states(shop.head) == ["pending"]


def test_another_accounts_installation_is_never_used(
    github: FakeGitHub, account: Account, shop: Hosted
) -> None:
    number = installed(github, AccountFactory())
    plain = RepositoryFactory(account=account, remote_url=shop.clone_url)
    named = RepositoryFactory(
        account=account,
        remote_url=shop.clone_url,
        git_clone_strategy="github_app",
        github_installation_id=number,
    )

    for repository in (plain, named):
        with pytest.raises(NoAccess):
            access_to(repository)
        with pytest.raises(RunFailure, match="not one of this account's"):
            clone_credentials(repository)
    assert mints(github) == 0


def test_an_installation_opens_no_repository_of_another_owner(
    github: FakeGitHub, account: Account, shop: Hosted, tmp_path: Any
) -> None:
    number = installed(github, account, login="other")
    repository = RepositoryFactory(
        account=account,
        remote_url=shop.clone_url,
        git_clone_strategy="github_app",
        github_installation_id=number,
    )

    with pytest.raises(ProviderRefused):
        access_to(repository)


@pytest.fixture
def read_by_app(github: FakeGitHub, account: Account, shop: Hosted) -> Any:
    return RepositoryFactory(
        account=account,
        remote_url=shop.clone_url,
        git_clone_strategy="github_app",
        github_installation_id=installed(github, account),
    )


def test_the_apps_token_is_kept_until_shortly_before_its_end(
    github: FakeGitHub, read_by_app: Any
) -> None:
    first, second = access_to(read_by_app), access_to(read_by_app)

    assert first.token == second.token
    assert mints(github) == 1


def test_a_token_that_is_about_to_end_is_renewed(github: FakeGitHub, read_by_app: Any) -> None:
    github.token_seconds = RENEW_SECONDS - 10

    assert access_to(read_by_app).token != access_to(read_by_app).token
    assert mints(github) == 2


def test_a_token_that_github_no_longer_takes_is_not_used_again(
    github: FakeGitHub, read_by_app: Any, shop: Hosted
) -> None:
    access = access_to(read_by_app)
    github.app_tokens.clear()

    with pytest.raises(ProviderUnavailable):
        provider_for("github").commit_message(access, shop.head)
    assert provider_for("github").commit_message(access_to(read_by_app), shop.head) == "first"


def test_github_is_asked_as_the_app_by_a_key_it_knows(
    github: FakeGitHub, read_by_app: Any, settings: Any, tmp_path: Any
) -> None:
    settings.GITHUB_APP_PRIVATE_KEY = FakeGitHub(tmp_path / "other").private_key
    with pytest.raises(ProviderRefused, match="401"):
        access_to(read_by_app)

    settings.GITHUB_APP_PRIVATE_KEY = "not a key"
    with pytest.raises(ProviderRefused, match="JOBSVC_GITHUB_APP_PRIVATE_KEY"):
        access_to(read_by_app)


def test_a_run_clones_with_a_token_that_can_only_read_this_repository(
    github: FakeGitHub, read_by_app: Any
) -> None:
    user, token = clone_credentials(read_by_app)

    assert user == "x-access-token"
    assert github.app_tokens[token]["repositories"] == {"acme/shop"}
    assert github.app_tokens[token]["permissions"] == {"contents": "read"}


def test_a_runs_plan_holds_the_apps_token_as_a_secret(
    github: FakeGitHub, account: Account, read_by_app: Any
) -> None:
    job = JobFactory(
        environment__project__account=account, environment__project__repository=read_by_app
    )
    run = trigger_run(job, Trigger(cause="test", cause_category=CauseCategory.API))

    plan = plan_run(run, (), toolchain=ToolchainPlan(version="1.11", executable="/dbt"))

    assert plan.checkout.username == "x-access-token"
    assert plan.checkout.password in github.app_tokens
    assert plan.checkout.password in plan.secrets


def test_a_github_that_is_down_ends_the_run_in_words(github: FakeGitHub, read_by_app: Any) -> None:
    github.fail("POST /app/installations", status=502)

    with pytest.raises(RunFailure, match="Retry the run in a while"):
        clone_credentials(read_by_app)


def test_without_an_app_of_this_server_nothing_is_read_by_it(
    read_by_app: Any, settings: Any
) -> None:
    settings.GITHUB_APP_ID = ""

    with pytest.raises(RunFailure, match="no App is set up"):
        clone_credentials(read_by_app)
