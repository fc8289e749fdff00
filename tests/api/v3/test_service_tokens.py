"""Service tokens and the people of an account."""

from __future__ import annotations

import pytest

from accounts.models import Token
from tests.conftest import client_with
from tests.factories import (
    AccountFactory,
    MembershipFactory,
    ProjectFactory,
    UserFactory,
    token_of,
)

KEYS = {
    "id",
    "account_id",
    "uid",
    "name",
    "state",
    "service_token_permissions",
    "permission_grants",
    "metadata_only",
    "last_used",
    "expires_at",
    "created_at",
    "updated_at",
}
JOB_ADMIN = [{"permission_set": "job_admin", "project_id": None}]


@pytest.fixture
def place(account):
    return f"/api/v3/accounts/{account.pk}/service-tokens/"


@pytest.fixture
def made(api, place):
    """A service token that may change jobs, as the answer to its creation."""
    body = {"name": "ci", "permission_grants": JOB_ADMIN}
    return api.post(place, body).json()["data"]


def problem(answer):
    """The sentence of a 400."""
    assert answer.status_code == 400, answer.content
    return answer.json()["status"]["user_message"]


def test_only_the_answer_to_its_creation_holds_the_text(api, place, made):
    one = api.get(f"{place}{made['id']}").json()["data"]
    listed = {row["id"]: row for row in api.get(place).json()["data"]}

    assert set(made) == KEYS | {"token_string"}
    assert set(one) == set(listed[made["id"]]) == KEYS


def test_the_text_opens_the_account(account, made):
    holder = client_with(made["token_string"])

    assert holder.get(f"/api/v3/accounts/{account.pk}/projects/").status_code == 200


def test_only_a_digest_is_stored(made):
    row = Token.objects.get(pk=made["id"])

    assert made["token_string"] not in (row.digest, row.prefix, row.name)


def test_a_token_may_do_what_its_permission_set_says(account, made):
    holder = client_with(made["token_string"])

    answer = holder.post(f"/api/v3/accounts/{account.pk}/projects/", {"name": "x"})

    assert answer.status_code == 403


def test_a_token_without_permissions_may_do_nothing(api, account, place):
    body = {"id": None, "account_id": account.pk, "uid": "", "name": "bare", "state": 1}
    made = api.post(place, body)

    holder = client_with(made.json()["data"]["token_string"])

    assert made.status_code == 201
    assert holder.get(f"/api/v3/accounts/{account.pk}/projects/").status_code == 403


def test_permissions_are_listed(api, place, made):
    answer = api.get(f"{place}{made['id']}/permissions").json()
    listed = answer["data"]

    assert answer["extra"]["pagination"] == {"count": 1, "total_count": 1}
    assert [set(one) for one in listed] == [
        {
            "id",
            "account_id",
            "service_token_id",
            "project_id",
            "all_projects",
            "permission_set",
            "state",
            "writable_environment_categories",
        }
    ]
    assert listed[0]["permission_set"] == "job_admin"


def test_posting_permissions_replaces_them(api, account, place, made):
    body = [{"permission_set": "account_admin", "all_projects": True, "project_id": None}]

    answer = api.post(f"{place}{made['id']}/permissions/", body)

    assert answer.json()["data"][0]["permission_set"] == "account_admin"
    holder = client_with(made["token_string"])
    created = holder.post(f"/api/v3/accounts/{account.pk}/projects/", {"name": "x"})
    assert created.status_code == 201


def test_posting_no_permissions_takes_them_all(api, account, place, made):
    api.post(f"{place}{made['id']}/permissions/", [])

    holder = client_with(made["token_string"])
    assert holder.get(f"/api/v3/accounts/{account.pk}/projects/").status_code == 403


@pytest.mark.parametrize("method", ["put", "post"])
def test_a_token_is_renamed(api, place, made, method):
    answer = getattr(api, method)(f"{place}{made['id']}/", {"name": "deploy"})

    assert answer.json()["data"]["name"] == "deploy"
    assert answer.json()["data"]["permission_grants"][0]["permission_set"] == "job_admin"


def test_a_deleted_token_opens_nothing(api, account, place, made):
    answer = api.delete(f"{place}{made['id']}/")

    assert (answer.status_code, answer.json()["data"]["state"]) == (200, 2)
    assert api.get(f"{place}{made['id']}/").status_code == 404
    holder = client_with(made["token_string"])
    assert holder.get(f"/api/v3/accounts/{account.pk}/").status_code == 401


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": ""}, "name"),
        ({}, "name"),
        ({"name": "x", "permission_grants": [{"permission_set": "emperor"}]}, "permission_set"),
        ({"name": "x", "permission_grants": [{}]}, "permission_set"),
        (
            {"name": "x", "permission_grants": [{"permission_set": "owner", "project_id": 1}]},
            "project_id",
        ),
        (
            {
                "name": "x",
                "permission_grants": [
                    {
                        "permission_set": "admin",
                        "writable_environment_categories": ["development"],
                    }
                ],
            },
            "writable_environment_categories",
        ),
    ],
)
def test_what_cannot_be_granted_is_refused(api, place, body, said):
    assert said in problem(api.post(place, body))


def test_a_token_holds_its_permission_sets_where_they_were_granted(api, account, place):
    mine, other = (ProjectFactory(account=account) for _ in range(2))
    grants = [
        {"permission_set": "job_viewer", "project_id": None},
        {"permission_set": "job_admin", "project_id": mine.pk},
    ]

    made = api.post(place, {"name": "ci", "permission_grants": grants}).json()["data"]

    listed = [(one["permission_set"], one["project_id"]) for one in made["permission_grants"]]
    assert listed == [("job_viewer", None), ("job_admin", mine.pk)]
    holder = client_with(made["token_string"])
    variables = f"/api/v3/accounts/{account.pk}/projects/%s/environment-variables/"
    body = {"name": "DBT_REGION", "raw_value": "west", "type": "project"}
    assert holder.post(variables % mine.pk, body).status_code == 201
    assert holder.post(variables % other.pk, body).status_code == 403


def test_a_token_of_one_project_sees_no_other(api, account, place):
    mine, other = (ProjectFactory(account=account) for _ in range(2))
    grants = [{"permission_set": "owner", "project_id": mine.pk, "all_projects": False}]

    made = api.post(place, {"name": "ci", "permission_grants": grants}).json()["data"]

    assert [one["all_projects"] for one in made["service_token_permissions"]] == [False]
    holder = client_with(made["token_string"])
    projects = holder.get(f"/api/v3/accounts/{account.pk}/projects/").json()["data"]
    assert [one["id"] for one in projects] == [mine.pk]
    assert holder.get(f"/api/v3/accounts/{account.pk}/projects/{other.pk}/").status_code == 404


def test_posting_permissions_of_a_project_replaces_those_of_all(api, account, place, made):
    project = ProjectFactory(account=account)
    body = [{"permission_set": "job_viewer", "project_id": project.pk}]

    answer = api.post(f"{place}{made['id']}/permissions/", body).json()

    listed = [(one["permission_set"], one["project_id"]) for one in answer["data"]]
    assert listed == [("job_viewer", project.pk)]
    assert answer["extra"]["pagination"]["count"] == 1


def test_permissions_are_a_list(api, place, made):
    assert "list" in problem(api.post(f"{place}{made['id']}/permissions/", {}))


def test_personal_tokens_are_not_service_tokens(api, account, place):
    member = MembershipFactory(account=account)
    personal = Token.issue(account, "laptop", user=member.user)[0]

    assert api.get(f"{place}{personal.pk}/").status_code == 404
    assert api.delete(f"{place}{personal.pk}/").status_code == 404


def test_another_accounts_token_does_not_exist(api, place):
    theirs = Token.issue(AccountFactory(), "x", permission_set="owner")[0]

    for path in (f"{place}{theirs.pk}/", f"{place}{theirs.pk}/permissions/"):
        assert api.get(path).status_code == 404
        assert api.post(path, {"name": "x"}).status_code == 404
    assert api.delete(f"{place}{theirs.pk}/").status_code == 404


@pytest.mark.parametrize("permission_set", ["admin", "member", "job_admin", "database_admin"])
def test_only_who_manages_the_account_makes_tokens(account, place, permission_set):
    holder = client_with(token_of(account, permission_set))

    answer = holder.post(place, {"name": "x", "permission_grants": [{"permission_set": "owner"}]})

    assert answer.status_code == 403


def test_people_are_listed_by_address(api, account):
    for email in ("bo@example.com", "ana@example.com"):
        MembershipFactory(account=account, user=UserFactory(email=email))
    MembershipFactory()

    listed = api.get(f"/api/v3/accounts/{account.pk}/users/?order_by=email").json()["data"]

    assert [one["email"] for one in listed] == ["ana@example.com", "bo@example.com"]
    assert {"id", "email", "first_name", "last_name", "fullname", "is_active"} <= set(listed[0])
    assert {"licenses", "permissions"} <= set(listed[0])
