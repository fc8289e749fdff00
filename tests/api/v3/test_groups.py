"""Groups of people, what they are granted, and who is in them."""

from __future__ import annotations

import pytest

from accounts.models import Group
from tests.conftest import client_with
from tests.factories import (
    AccountFactory,
    EnvironmentFactory,
    MembershipFactory,
    ProjectFactory,
    token_of,
)


@pytest.fixture
def place(account):
    return f"/api/v3/accounts/{account.pk}/"


@pytest.fixture
def made(api, place):
    """A group, as the answer to its creation."""
    return api.post(f"{place}groups/", {"name": "Analysts", "sso_mapping_groups": ["a"]}).json()[
        "data"
    ]


def test_a_group_has_dbt_clouds_keys(made, account):
    assert set(made) == {
        "id",
        "account_id",
        "name",
        "state",
        "assign_by_default",
        "sso_mapping_groups",
        "scim_managed",
        "group_permissions",
        "created_at",
        "updated_at",
    }
    assert (made["name"], made["sso_mapping_groups"]) == ("Analysts", ["a"])
    assert made["group_permissions"] == []


def test_groups_are_found_by_name(api, place, made):
    api.post(f"{place}groups/", {"name": "Others"})

    listed = api.get(f"{place}groups/?name=Analysts").json()["data"]

    assert [one["id"] for one in listed] == [made["id"]]


def test_a_group_is_deleted_by_its_state(api, place, made):
    answer = api.post(f"{place}groups/{made['id']}/", {"state": 2}).json()["data"]

    assert answer["state"] == 2
    assert api.get(f"{place}groups/{made['id']}/").status_code == 404


def test_a_name_is_taken_once(api, place, made):
    answer = api.post(f"{place}groups/", {"name": "ANALYSTS"})

    assert answer.status_code == 400
    assert "of this name already" in answer.json()["status"]["user_message"]


def test_a_list_replaces_what_a_group_is_granted(api, account, place, made):
    environment = EnvironmentFactory(project__account=account)
    first = [{"permission_set": "job_viewer", "all_projects": True, "project_id": None}]
    second = [
        {
            "permission_set": "job_admin",
            "project_id": environment.project_id,
            "environment_id": environment.pk,
            "all_projects": False,
            "writable_environment_categories": ["all"],
        }
    ]
    path = f"{place}group-permissions/{made['id']}/"

    api.post(path, first)
    listed = api.post(path, second).json()["data"]

    assert [
        (one["permission_set"], one["project_id"], one["environment_id"], one["permission_level"])
        for one in listed
    ] == [("job_admin", environment.project_id, environment.pk, None)]
    assert api.get(f"{place}groups/{made['id']}/").json()["data"]["group_permissions"] == listed


def test_a_projects_list_leaves_what_is_granted_elsewhere(api, account, place, made):
    mine, other = (ProjectFactory(account=account) for _ in range(2))
    group = Group.objects.get(pk=made["id"])
    for project in (mine, other):
        group.grants.create(permission_set="job_viewer", project=project)
    body = [{"group_id": group.pk, "permission_set": "job_admin", "project_id": mine.pk}]

    listed = api.post(f"{place}projects/{mine.pk}/group-permissions/", body).json()["data"]

    assert [one["permission_set"] for one in listed] == ["job_admin"]
    assert set(group.grants.values_list("permission_set", "project")) == {
        ("job_admin", mine.pk),
        ("job_viewer", other.pk),
    }


def test_a_person_is_put_into_exactly_the_groups_that_are_named(api, account, place, made):
    member = MembershipFactory(account=account)
    Group.objects.create(account=account, name="Old").members.add(member)

    answer = api.post(
        f"{place}assign-groups/", {"user_id": member.user_id, "desired_group_ids": [made["id"]]}
    )

    assert [one["id"] for one in answer.json()["data"][0]["groups"]] == [made["id"]]
    user = api.get(f"/api/v2/accounts/{account.pk}/users/{member.user_id}/").json()["data"]
    assert [one["id"] for one in user["permissions"][0]["groups"]] == [made["id"]]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("groups/", {"name": ""}),
        ("groups/", {"name": "a\x00b"}),
        ("group-permissions/{group}/", {}),
        ("group-permissions/{group}/", [{"permission_set": "emperor"}]),
        ("group-permissions/{group}/", [{"permission_set": "owner", "project_id": 10**30}]),
        ("group-permissions/{group}/", [{"permission_set": "owner", "project_id": "{theirs}"}]),
        ("group-permissions/{group}/", [{"permission_set": "owner", "environment_id": 1}]),
        ("group-permissions/{group}/", ["owner"]),
        ("assign-groups/", {"user_id": 99999, "desired_group_ids": []}),
        ("assign-groups/", {"desired_group_ids": []}),
        ("projects/{project}/group-permissions/", [{"permission_set": "owner", "group_id": 99999}]),
        ("projects/{project}/group-permissions/", [{"permission_set": "owner"}]),
    ],
)
def test_what_cannot_be_used_is_a_400(api, account, place, made, path, body):
    project, theirs = ProjectFactory(account=account), ProjectFactory(account=AccountFactory())
    if isinstance(body, list) and isinstance(body[0], dict) and "{theirs}" in body[0].values():
        body = [{**body[0], "project_id": theirs.pk}]

    answer = api.post(place + path.format(group=made["id"], project=project.pk), body)

    assert answer.status_code == 400, answer.content


@pytest.mark.parametrize("role", ["admin", "job_viewer"])
def test_only_who_manages_the_account_changes_groups(account, place, made, role):
    holder = client_with(token_of(account, role))

    for path in ("groups/", f"groups/{made['id']}/", f"group-permissions/{made['id']}/"):
        assert holder.post(place + path, {"name": "x"}).status_code == 403
    assert holder.get(f"{place}groups/").status_code == 200
