"""Which pull requests concern a job, by plain rules. No database."""

from __future__ import annotations

import pytest

from ci import filters
from ci.models import PullRequest
from environments.models import Environment, Project
from jobsvc.jobs.extensions import CI, Forks
from jobsvc.jobs.models import Job

EVERY = CI()


def job(
    subdirectory: str | None = None,
    branch: str = "",
    custom_only: bool = False,
    drafts: bool = False,
) -> Job:
    environment = Environment(
        name="Production", use_custom_branch=bool(branch), custom_branch=branch
    )
    return Job(
        environment=environment,
        project=Project(dbt_project_subdirectory=subdirectory),
        triggers_custom_branch_only=custom_only,
        triggers_on_draft_pr=drafts,
    )


# --- Globs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("models/orders.sql", "models/orders.sql"),
        ("models/*.sql", "models/orders.sql"),
        ("models/**", "models/a/b.sql"),
        ("models/**/b.sql", "models/b.sql"),
        ("models/**/b.sql", "models/x/y/b.sql"),
        ("**/*.sql", "orders.sql"),
        ("**/*.sql", "a/b/orders.sql"),
        ("models", "models/a/b.sql"),
        ("models/", "models/a.sql"),
        ("/models/", "models/a.sql"),
        ("mode?s/[a-c].sql", "models/b.sql"),
        ("**", ".github/workflows/ci.yml"),
    ],
)
def test_a_glob_covers(glob: str, path: str) -> None:
    assert filters.covers(glob, path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("models/*.sql", "models/a/orders.sql"),
        ("*.sql", "models/orders.sql"),
        ("models", "models_old/a.sql"),
        ("models/**", "seeds/a.csv"),
        ("Models/**", "models/a.sql"),
        ("models/**/b.sql", "models/ab.sql"),
        ("", "models/a.sql"),
    ],
)
def test_a_glob_does_not_cover(glob: str, path: str) -> None:
    assert not filters.covers(glob, path)


def test_a_glob_of_many_stars_comes_to_an_end() -> None:
    stars = "/".join(["**", "*a*a*a*b"] * 30)  # tried one after the other, it would take ages

    assert not filters.covers(stars, "/".join(["a" * 50] * 80))


# --- Paths -----------------------------------------------------------------------------------


def test_without_globs_every_file_concerns_a_project_at_the_root() -> None:
    assert not filters.asks_for_paths(job(), EVERY)
    assert filters.relevant(job(), EVERY, ["README.md"])


def test_without_globs_the_projects_subdirectory_concerns_it() -> None:
    in_folder = job(subdirectory="dbt/[shop]")

    assert filters.asks_for_paths(in_folder, EVERY)
    assert filters.relevant(in_folder, EVERY, ["app/main.py", "dbt/[shop]/models/a.sql"])
    assert not filters.relevant(in_folder, EVERY, ["app/main.py", "dbt/s/a.sql"])


def test_globs_take_the_place_of_the_subdirectory() -> None:
    asked = CI(paths=("shared/**",))

    assert filters.relevant(job(subdirectory="dbt"), asked, ["shared/a.sql"])
    assert not filters.relevant(job(subdirectory="dbt"), asked, ["dbt/a.sql"])


def test_what_is_to_be_ignored_counts_for_nothing() -> None:
    asked = CI(paths_ignore=("**/*.md",))

    assert not filters.relevant(job(), asked, ["README.md", "docs/a.md"])
    assert filters.relevant(job(), asked, ["README.md", "models/a.sql"])


def test_a_pull_request_without_a_change_has_nothing_relevant() -> None:
    assert not filters.relevant(job(), CI(paths=("**",)), [])


# --- Base branch -----------------------------------------------------------------------------


def test_the_base_is_the_default_branch_where_the_environment_names_none() -> None:
    assert filters.wrong_base(job(), "main", "main") is None
    assert filters.wrong_base(job(), "develop", "main") == (
        "It is to be merged into develop; the job builds what goes into main."
    )


def test_the_base_is_the_environments_own_branch() -> None:
    assert filters.wrong_base(job(branch="develop"), "develop", "main") is None
    assert filters.wrong_base(job(branch="develop"), "main", "main")


def test_a_job_for_custom_branches_only_builds_nothing_where_there_is_none() -> None:
    assert filters.wrong_base(job(custom_only=True), "main", "main")
    assert filters.wrong_base(job(custom_only=True, branch="main"), "main", "main") is None


# --- The rest --------------------------------------------------------------------------------


def test_a_draft_is_built_where_the_job_builds_drafts() -> None:
    drafted = PullRequest(is_draft=True)

    assert filters.draft(job(), drafted) == "It is a draft; the job does not build drafts."
    assert filters.draft(job(drafts=True), drafted) is None
    assert filters.draft(job(), PullRequest()) is None


def test_a_fork_is_built_where_the_job_allows_it() -> None:
    fork = PullRequest(is_fork=True)

    assert filters.from_fork(EVERY, fork)
    assert filters.from_fork(CI(forks=Forks.WITH_APPROVAL), fork) is None
    assert filters.from_fork(EVERY, PullRequest()) is None


def test_an_approval_is_of_one_commit() -> None:
    fork = PullRequest(is_fork=True, head_sha="b" * 40, approved_sha="a" * 40)

    assert filters.lacks_approval(fork)
    fork.approved_sha = fork.head_sha
    assert not filters.lacks_approval(fork)


@pytest.mark.parametrize(
    ("globs", "branch", "built"),
    [
        ((), "anything", True),
        (("feature/*",), "feature/a", True),
        (("feature/*",), "feature/a/b", False),
        (("feature/**",), "feature/a/b", True),
        (("feature",), "feature/a", False),
        (("release", "fix/*"), "fix/1", True),
    ],
)
def test_a_branch_is_one_that_the_job_asks_for(
    globs: tuple[str, ...], branch: str, built: bool
) -> None:
    assert (filters.other_branch(CI(head_branches=globs), branch) is None) == built


@pytest.mark.parametrize(
    ("asked", "worn", "built"),
    [
        (CI(), [], True),
        (CI(labels_any=("ci", "dbt")), ["DBT"], True),
        (CI(labels_any=("ci", "dbt")), ["docs"], False),
        (CI(labels_none=("wip",)), ["docs"], True),
        (CI(labels_none=("wip",)), ["docs", "WIP"], False),
        (CI(labels_any=("ci",), labels_none=("wip",)), ["ci", "wip"], False),
    ],
)
def test_labels_are_what_the_job_asks_for(asked: CI, worn: list[str], built: bool) -> None:
    assert (filters.labels(asked, worn) is None) == built


@pytest.mark.parametrize("text", ["[skip ci] typo", "Typo [SKIP DBT]", "a\n\n[skip ci]"])
def test_people_ask_to_skip(text: str) -> None:
    assert filters.asks_to_skip(text)


@pytest.mark.parametrize("text", ["", "skip ci", "[skip]", "[ci skip]"])
def test_people_do_not_ask_to_skip(text: str) -> None:
    assert filters.asks_to_skip(text) is None
