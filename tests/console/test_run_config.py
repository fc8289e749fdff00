"""What a run was told to do, and the documentation that it made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from environments.models import Environment, Project
from jobsvc.console.git_pages import commit_page
from jobsvc.runs.models import LogChunk, Run, RunTrigger
from tests.factories import (
    ArtifactFactory,
    EnvironmentVariableFactory,
    ExtendedAttributesFactory,
    JobFactory,
    RepositoryFactory,
    RunFactory,
    RunStepFactory,
)

VisitorOf = Callable[..., Client]


def url(run: Run, name: str = "run_config", query: str = "") -> str:
    address = reverse(f"console:{name}", args=[run.account_id, run.project_id, run.pk])
    return f"{address}?{query}" if query else address


def text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def told(commands: list[str], **others: Any) -> dict[str, Any]:
    return {"execute_steps": commands, "threads": 4, "generate_docs": False, **others}


# --- Configuration -----------------------------------------------------------------------


def test_the_settings_are_those_of_when_it_was_queued(visitor_of: VisitorOf) -> None:
    job = JobFactory(execute_steps=["dbt build --select new"])
    run = RunFactory(job=job, configuration=told(["dbt build --select old"]))

    page = text(visitor_of(run.account), url(run))

    assert "dbt build --select old" in page
    assert "dbt build --select new" not in page


def test_what_differs_from_the_run_before_stands_first(visitor_of: VisitorOf) -> None:
    before = RunFactory(succeeded=True, git_sha="a" * 40, configuration=told(["dbt build"]))
    run = RunFactory(
        job=before.job, failed=True, git_sha="b" * 40, configuration=told(["dbt build"], threads=8)
    )

    page = text(visitor_of(run.account), url(run))

    assert f'2 differences from <a href="/r/{before.pk}/">run #{before.pk}</a>' in page
    assert page.index('<span class="value">4</span>') < page.index('<span class="value">8</span>')
    assert f'<td class="before"><span class="value">{"a" * 40}</span>' in page


def test_it_is_compared_with_the_last_success_on_request(visitor_of: VisitorOf) -> None:
    good = RunFactory(succeeded=True, configuration=told(["dbt build"]))
    RunFactory(job=good.job, failed=True, configuration=told(["dbt run"]))
    run = RunFactory(job=good.job, failed=True, configuration=told(["dbt run"]))
    visitor = visitor_of(run.account)

    assert "No difference from" in text(visitor, url(run))
    assert "1 difference from" in text(visitor, url(run, query="with=success"))


def test_a_first_run_has_nothing_to_compare_with(visitor_of: VisitorOf) -> None:
    run = RunFactory(configuration=told(["dbt build"]))

    assert "There is no earlier run to compare with" in text(visitor_of(run.account), url(run))


def test_a_run_of_another_job_is_not_compared_with(visitor_of: VisitorOf) -> None:
    other = RunFactory(succeeded=True)
    run = RunFactory(job=JobFactory(environment=other.environment))

    assert "There is no earlier run to compare with" in text(visitor_of(run.account), url(run))


def test_variables_are_shown_and_secret_ones_are_not(visitor_of: VisitorOf) -> None:
    run = RunFactory(configuration=told(["dbt build"]))
    RunTrigger.objects.filter(run=run).update(
        variables_override={"DBT_COLOUR": "blue", "DBT_ENV_SECRET_KEY": "hunter2"}
    )
    for name, value in (("DBT_REGION", "europe"), ("DBT_ENV_SECRET_TOKEN", "hush-hush")):
        EnvironmentVariableFactory(project=run.project, name=name, secrets={"value": value})

    page = text(visitor_of(run.account), url(run))

    assert "blue" in page
    assert "europe" in page
    assert "DBT_ENV_SECRET_KEY" in page
    assert "hunter2" not in page
    assert "hush-hush" not in page


def test_where_it_ran_is_told(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True, worker="worker-7@host", isolation={"landlock": 6})

    page = text(visitor_of(run.account), url(run))

    assert "worker-7@host" in page
    assert "landlock: 6" in page


def test_settings_of_any_shape_are_shown_as_text(visitor_of: VisitorOf) -> None:
    odd = {"extensions": {"<script>": ["x", {"y": None}]}, "unknown": [["<b>"]], "left_out": 2}
    run = RunFactory(configuration=odd)

    page = text(visitor_of(run.account), url(run))

    assert "&lt;script&gt;" in page
    assert "<b>" not in page.partition("Settings, as they were")[2].partition("</dl>")[0]


def test_the_settings_take_few_queries(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    before = RunFactory(succeeded=True)
    run = RunFactory(job=before.job)
    visitor = visitor_of(run.account)

    with django_assert_max_num_queries(15):
        text(visitor, url(run))


def at_github(run: Run, remote: str = "git@github.com:shop/models.git") -> Run:
    repository = RepositoryFactory(account=run.account, remote_url=remote)
    Project.objects.filter(pk=run.project_id).update(repository=repository)
    return run


def test_the_commits_since_it_last_worked_are_one_link_away(visitor_of: VisitorOf) -> None:
    good = at_github(RunFactory(succeeded=True, git_sha="a" * 40, configuration=told([])))
    run = RunFactory(job=good.job, failed=True, git_sha="b" * 40, configuration=told([]))

    page = text(visitor_of(run.account), url(run, query="with=success"))

    assert "What changed since it last worked" in page
    assert f'href="https://github.com/shop/models/compare/{"a" * 40}...{"b" * 40}"' in page
    assert f'href="https://github.com/shop/models/commit/{"b" * 40}"' in page


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("https://gitlab.example.com/a/b.git", "https://gitlab.example.com/a/b/-/commit/{sha}"),
        ("ssh://git@bitbucket.org:22/a/b", "https://bitbucket.org/a/b/commits/{sha}"),
        ("https://git.example.com/a/b", ""),
        ('git@github.com"><script>:a/b', ""),
        ("file:///srv/git/github", ""),
        ("https://[github", ""),
        ("", ""),
    ],
)
def test_a_commit_has_a_page_where_its_host_is_known(remote: str, page: str) -> None:
    assert commit_page(remote, "c" * 40) == page.format(sha="c" * 40)


@pytest.mark.parametrize("sha", ["", "main", "../../x", "a" * 41])
def test_what_is_no_commit_has_no_page(sha: str) -> None:
    assert commit_page("git@github.com:a/b.git", sha) == ""


def test_the_profile_is_shown_with_blanks(visitor_of: VisitorOf) -> None:
    run = RunFactory(configuration=told(["dbt build"]))
    extended = ExtendedAttributesFactory(
        project=run.project, extended_attributes={"sslpassword": "hush-hush", "sslmode": "require"}
    )
    Environment.objects.filter(pk=run.environment_id).update(extended_attributes=extended)

    page = text(visitor_of(run.account), url(run))

    profile = page.partition('id="profile-title"')[2].partition("</pre>")[0]
    assert "sslmode: require" in profile
    assert "sslpassword:" in profile
    assert "hush-hush" not in page


def test_a_profile_that_cannot_be_written_says_why(visitor_of: VisitorOf) -> None:
    run = RunFactory(configuration=told(["dbt build"]))
    Environment.objects.filter(pk=run.environment_id).update(connection=None)
    Project.objects.filter(pk=run.project_id).update(connection=None)

    assert "has no connection" in text(visitor_of(run.account), url(run))


def test_the_adapter_is_the_one_that_dbt_named(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True, dbt_version="1.11.16", configuration=told(["dbt build"]))
    step = RunStepFactory(run=run, builds=True, started_at=run.created_at)
    said = "09:00:00  Running with dbt=1.11.16\n09:00:01  Registered adapter: duckdb=1.10.0\n"
    LogChunk.objects.create(step=step, stream="console", offset=0, text=said)

    assert "1.11.16, adapter duckdb 1.10.0" in text(visitor_of(run.account), url(run))


# --- Documentation -----------------------------------------------------------------------


@pytest.fixture
def documented(db: None) -> Run:
    run: Run = RunFactory(succeeded=True)
    step = RunStepFactory(run=run, index=5, kind="docs", command="dbt docs generate")
    ArtifactFactory(step=step, path="static_index.html", content=b"<script>alert(1)</script>")
    return run


def test_documentation_is_shown_in_a_frame_without_our_origin(
    visitor_of: VisitorOf, documented: Run
) -> None:
    response = visitor_of(documented.account).get(url(documented, "run_docs"))

    page = response.content.decode()
    assert f'<iframe src="{url(documented, "run_docs_page")}"' in page
    assert 'sandbox="allow-scripts allow-popups allow-downloads"' in page
    assert "frame-src 'self'" in response["Content-Security-Policy"]


def test_the_page_itself_gets_no_origin_and_no_network(
    visitor_of: VisitorOf, documented: Run
) -> None:
    response = visitor_of(documented.account).get(url(documented, "run_docs_page"))

    policy = [part.strip() for part in response["Content-Security-Policy"].split(";")]
    assert b"".join(response.streaming_content) == b"<script>alert(1)</script>"
    assert "sandbox allow-scripts allow-popups allow-downloads" in policy
    assert {"default-src 'none'", "connect-src data:", "frame-ancestors 'self'"} <= set(policy)
    assert response["X-Frame-Options"] == "SAMEORIGIN"
    assert response["Referrer-Policy"] == "no-referrer"


def test_no_other_page_of_ours_may_frame_or_be_framed(
    visitor_of: VisitorOf, documented: Run
) -> None:
    response = visitor_of(documented.account).get(url(documented, "run"))

    assert "frame-src" not in response["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in response["Content-Security-Policy"]


def test_a_run_without_documentation_says_how_to_get_some(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True, configuration=told(["dbt build"]))
    visitor = visitor_of(run.account)

    page = text(visitor, url(run, "run_docs"))

    assert "Turn on “Generate docs”" in page
    assert visitor.get(url(run, "run_docs_page")).status_code == 404


def test_a_run_that_ended_before_its_documentation_says_so(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True, configuration=told(["dbt build"], generate_docs=True))

    assert "It was to, and ended before that" in text(visitor_of(run.account), url(run, "run_docs"))
