"""Repositories on the wire: addresses, deploy keys, tokens."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
)
from django.db import connection

from environments.models import Repository
from tests.factories import GitHubInstallationFactory, ProjectFactory, RepositoryFactory

KEYS = {
    "id",
    "account_id",
    "project_id",
    "remote_url",
    "remote_backend",
    "git_clone_strategy",
    "full_name",
    "name",
    "web_url",
    "pull_request_url_template",
    "deploy_key_id",
    "deploy_key",
    "repository_credentials_id",
    "gitlab_project_id",
    "github_installation_id",
    "github_webhook_id",
    "git_provider_id",
    "private_link_endpoint_id",
    "state",
    "created_at",
    "updated_at",
}
SSH = "git@github.com:example/coffee_shop.git"
HTTPS = "https://github.com/example/coffee_shop.git"


@pytest.fixture
def project(account):
    return ProjectFactory(account=account, repository=None)


@pytest.fixture
def place(account, project):
    return f"/api/v3/accounts/{account.pk}/projects/{project.pk}/repositories/"


def problem(answer):
    """The sentence of a 400."""
    assert answer.status_code == 400, answer.content
    return answer.json()["status"]["user_message"]


def stored() -> str:
    """Every repository's columns, raw."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM environments_repository")
        return str(cursor.fetchall())


def test_a_repository_has_every_key(api, account, place):
    made = api.post(place, {"remote_url": SSH}).json()["data"]

    assert set(made) == KEYS
    assert set(api.get(f"{place}{made['id']}").json()["data"]) == KEYS
    assert set(api.get(place).json()["data"][0]) == KEYS
    old = api.get(f"/api/v2/accounts/{account.pk}/repositories/{made['id']}/")
    assert set(old.json()["data"]) == KEYS


def test_an_ssh_address_is_read_by_a_deploy_key(api, place):
    made = api.post(place, {"remote_url": SSH}).json()["data"]

    assert made["git_clone_strategy"] == "deploy_key"
    assert set(made["deploy_key"]) == {"id", "account_id", "state", "public_key"}
    assert made["deploy_key_id"] == made["deploy_key"]["id"]
    assert made["deploy_key"]["public_key"].startswith("ssh-ed25519 ")


def test_the_public_key_belongs_to_the_private_one_that_is_kept(api, place):
    made = api.post(place, {"remote_url": SSH}).json()["data"]

    private = load_ssh_private_key(Repository.objects.get().secrets["private_key"].encode(), None)

    assert isinstance(private, Ed25519PrivateKey)
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert made["deploy_key"]["public_key"].startswith(public)


def test_the_private_key_is_neither_shown_nor_stored_in_clear(api, place):
    answer = api.post(place, {"remote_url": SSH})

    private = Repository.objects.get().secrets["private_key"]
    inside = private.splitlines()[1]
    assert inside not in answer.content.decode()
    assert inside not in stored()
    assert "PRIVATE KEY" not in stored()


def test_every_repository_gets_a_key_of_its_own(api, place):
    one = api.post(place, {"remote_url": SSH}).json()["data"]["deploy_key"]["public_key"]
    two = api.post(place, {"remote_url": SSH}).json()["data"]["deploy_key"]["public_key"]

    assert one != two


def test_an_update_keeps_the_deploy_key(api, place):
    made = api.post(place, {"remote_url": SSH}).json()["data"]

    changed = api.post(f"{place}{made['id']}/", made | {"deploy_key": None}).json()["data"]

    assert changed["deploy_key"] == made["deploy_key"]


def test_an_https_address_is_read_by_a_token(api, place):
    made = api.post(place, {"remote_url": HTTPS, "git_token": "ghp_hunter2"}).json()["data"]

    assert made["git_clone_strategy"] == "git_token"
    assert made["deploy_key"] is made["deploy_key_id"] is None
    secrets = Repository.objects.get().secrets
    assert (secrets["username"], secrets["password"]) == ("x-access-token", "ghp_hunter2")


def test_a_token_is_neither_shown_nor_stored_in_clear(api, account, place):
    body = {"remote_url": HTTPS, "git_token": "ghp_hunter2", "git_username": "robot-user"}
    made = api.post(place, body)

    answers = [
        made,
        api.get(place),
        api.get(f"{place}{made.json()['data']['id']}/"),
        api.get(f"/api/v2/accounts/{account.pk}/repositories/"),
    ]
    for answer in answers:
        assert "hunter2" not in answer.content.decode()
    assert "hunter2" not in stored()
    assert "robot-user" not in stored()


def test_a_host_that_wants_another_user_gets_it(api, place):
    api.post(place, {"remote_url": "https://gitlab.com/a/b.git", "git_token": "t"})

    assert Repository.objects.get().secrets["username"] == "oauth2"


def test_an_update_without_a_token_keeps_it(api, place):
    made = api.post(place, {"remote_url": HTTPS, "git_token": "ghp_hunter2"}).json()["data"]

    api.post(f"{place}{made['id']}/", {"remote_url": "https://github.com/example/moved.git"})

    assert Repository.objects.get().secrets["password"] == "ghp_hunter2"


def test_a_token_does_not_follow_the_address_to_another_host(api, place):
    made = api.post(place, {"remote_url": HTTPS, "git_token": "ghp_hunter2"}).json()["data"]

    api.post(f"{place}{made['id']}/", {"remote_url": "https://attacker.example/a/b.git"})

    assert "password" not in Repository.objects.get().secrets


def test_a_token_for_an_ssh_address_is_refused(api, place):
    assert "git_token" in problem(api.post(place, {"remote_url": SSH, "git_token": "t"}))


@pytest.mark.parametrize(
    ("url", "backend", "full_name", "web_url"),
    [
        (SSH, "github", "example/coffee_shop", "https://github.com/example/coffee_shop"),
        (HTTPS, "github", "example/coffee_shop", "https://github.com/example/coffee_shop"),
        ("ssh://git@gitlab.com:2222/a/b/c.git", "gitlab", "a/b/c", "https://gitlab.com/a/b/c"),
        ("https://dev.azure.com/o/p/_git/r", "ado", "o/p/_git/r", None),
        ("https://git.example.com/a/b", "manual_config", "a/b", None),
    ],
)
def test_what_an_address_says_is_shown(api, place, url, backend, full_name, web_url):
    made = api.post(place, {"remote_url": url}).json()["data"]

    assert made["remote_url"] == url
    assert (made["remote_backend"], made["full_name"]) == (backend, full_name)
    assert made["name"] == full_name.rpartition("/")[2]
    assert web_url in (None, made["web_url"])


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "file:///etc",
        "git://github.com/a/b.git",
        "http://github.com/a/b.git",
        "-uupload-pack",
        "ssh://-oProxyCommand=id/x",
        "https://user:pass@github.com/a/b.git",
        "https://token@github.com/a/b.git",
        "https://github.com/a/b.git\nx",
        "/etc/passwd",
        "",
    ],
)
def test_an_address_that_git_must_not_be_given_is_refused(api, place, url):
    assert "remote_url" in problem(api.post(place, {"remote_url": url}))
    assert not Repository.objects.exists()


def test_a_password_in_an_address_is_not_repeated_in_the_refusal(api, place):
    answer = api.post(place, {"remote_url": "https://user:hunter2@github.com/a/b.git"})

    assert answer.status_code == 400
    assert "hunter2" not in answer.content.decode()


def test_a_way_to_clone_that_is_not_set_up_is_refused(api, place):
    body = {"remote_url": HTTPS, "git_clone_strategy": "azure_active_directory_app"}

    assert "git_clone_strategy" in problem(api.post(place, body))


def test_a_repository_is_read_as_the_app_by_an_installation_of_its_own_account(api, account, place):
    ours = GitHubInstallationFactory(account=account)
    body = {"remote_url": HTTPS, "git_clone_strategy": "github_app"}

    made = api.post(place, body | {"github_installation_id": ours.installation_id})

    assert made.status_code == 201, made.content
    assert made.json()["data"]["github_installation_id"] == ours.installation_id


def test_an_installation_of_another_account_is_refused_like_one_that_is_not_there(
    api, account, place
):
    ours, theirs = GitHubInstallationFactory(account=account), GitHubInstallationFactory()
    body = {"remote_url": HTTPS, "git_clone_strategy": "github_app"}

    refused = [
        problem(api.post(place, body | {"github_installation_id": number}))
        for number in (theirs.installation_id, 10**12, None)
    ]

    assert len(set(refused)) == 1
    assert f"Choose one of: {ours.installation_id} ({ours.login})." in refused[0]


def test_the_app_reads_nothing_that_is_elsewhere(api, account, place):
    ours = GitHubInstallationFactory(account=account)
    body = {
        "remote_url": "https://github.example.com/acme/shop.git",
        "git_clone_strategy": "github_app",
        "github_installation_id": ours.installation_id,
    }

    assert "remote_url" in problem(api.post(place, body))


def test_making_a_repository_does_not_attach_it(api, account, project, place):
    api.post(place, {"remote_url": SSH})

    shown = api.get(f"/api/v3/accounts/{account.pk}/projects/{project.pk}/").json()["data"]

    assert shown["repository_id"] is None


def test_the_project_attaches_it(api, account, project, place):
    made = api.post(place, {"remote_url": SSH}).json()["data"]
    home = f"/api/v3/accounts/{account.pk}/projects/{project.pk}/"

    attached = api.post(home, {"name": project.name, "repository_id": made["id"]}).json()["data"]

    assert attached["repository"]["id"] == made["id"]


def test_an_attached_repository_is_not_deleted(api, account, project, place):
    made = api.post(place, {"remote_url": SSH}).json()["data"]
    project.repository_id = made["id"]
    project.save()

    assert project.name in problem(api.delete(f"{place}{made['id']}/"))


def test_a_detached_repository_is_deleted(api, place):
    made = api.post(place, {"remote_url": SSH}).json()["data"]

    answer = api.delete(f"{place}{made['id']}")

    assert (answer.status_code, answer.json()["data"]["state"]) == (200, 2)
    assert api.get(f"{place}{made['id']}/").status_code == 404


def test_another_accounts_repository_does_not_exist(api, account, place):
    theirs = RepositoryFactory()

    assert api.get(f"{place}{theirs.pk}/").status_code == 404
    assert api.delete(f"{place}{theirs.pk}/").status_code == 404
    assert api.get(f"/api/v2/accounts/{account.pk}/repositories/{theirs.pk}/").status_code == 404


def test_another_projects_repository_does_not_exist(api, account, place):
    other = RepositoryFactory(account=account, project=ProjectFactory(account=account))

    assert api.get(f"{place}{other.pk}/").status_code == 404


def test_who_may_only_run_jobs_cannot_change_repositories(client_of, account, place):
    assert client_of(account, "job_admin").post(place, {"remote_url": SSH}).status_code == 403
