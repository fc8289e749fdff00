"""Each rule of the advice: a job that it is for, and one that it leaves alone. No database."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from environments.models import Environment
from jobsvc.jobs.advice import RULES, Facts, Finding, Rule, Severity, advise
from jobsvc.jobs.models import Job
from jobsvc.jobs.selection import Project

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)  # a Monday


def node(unique_id: str, *parents: str, **about: Any) -> dict[str, Any]:
    """An entry of a manifest, by its id and the ids of what it depends on."""
    kind, package, name = unique_id.split(".")
    return {
        "resource_type": kind,
        "name": name,
        "package_name": package,
        "fqn": [package, name],
        "original_file_path": f"{kind}s/{name}.sql",
        "depends_on": {"nodes": list(parents)},
        **about,
    }


def manifest(
    *nodes: Mapping[str, Any], packages: tuple[str, ...] = (), selectors: Any = None
) -> Project:
    """What a manifest of these nodes tells; without any, of a seed and a model that reads it."""
    entries = nodes or (node("seed.shop.prices"), node("model.shop.orders", "seed.shop.prices"))
    about = {
        "metadata": {"project_name": "shop", "adapter_type": "duckdb"},
        "nodes": {f"{e['resource_type']}.{e['package_name']}.{e['name']}": e for e in entries},
        "macros": {
            name: {"package_name": name} for name in ("dbt", "dbt_duckdb", "shop", *packages)
        },
        "selectors": selectors or {},
    }
    read = Project.read(json.dumps(about).encode())
    assert read is not None
    return read


SNAPSHOT_IS_READ = manifest(
    node("snapshot.shop.cards"), node("model.shop.regulars", "snapshot.shop.cards")
)
SNAPSHOT_OF_A_MODEL = manifest(
    node("model.shop.cards"), node("snapshot.shop.cards", "model.shop.cards")
)


def job(*steps: str, **settings: Any) -> Job:
    """A job in production that is started by hand; nothing of it is in a database."""
    settings = {
        "environment": Environment(deployment_type=settings.pop("deployment_type", "production")),
        "timeout_seconds": 1800,
        **settings,
    }
    return Job(execute_steps=list(steps), **settings)


def ci(*steps: str, **settings: Any) -> Job:
    return job(*steps, **{"job_type": "ci", "triggers_github_webhook": True} | settings)


def scheduled(cron: str, *steps: str, **settings: Any) -> Job:
    steps = steps or ("dbt build",)
    return job(*steps, cron=cron, triggers_schedule=True, job_type="scheduled", **settings)


def said(job: Job, **facts: Any) -> list[Finding]:
    return advise(job, Facts(now=NOW, **facts))


def codes(job: Job, **facts: Any) -> set[str]:
    return {finding.code for finding in said(job, **facts)}


Case = tuple[str, Job, dict[str, Any]]

PICKED = {"date": {"type": "days_of_week", "days": [1, 3, 5]}, "cron": "x", "time": {}}
TO_PRODUCTION = {"deferring_environment_id": 7}
SLIM = "dbt build --select state:modified+"


def goes_on(*policies: str, **more: Any) -> dict[str, Any]:
    return {"extensions": {"steps": [{"on_failure": policy} for policy in policies]}, **more}


UNWISE: list[Case] = [
    ("invalid_step", job("dbt build", "dbt serve"), {}),
    ("wrong_target", job("dbt build --target prod"), {}),
    ("wrong_target", job("dbt --target prod run", target_name="dev"), {}),
    ("state_without_deferral", ci(SLIM), {}),
    ("state_without_deferral", job("dbt build --select 1+result:fail"), {}),
    ("state_without_deferral", job("dbt run --select a,state:new"), {}),
    ("state_without_deferral", job("dbt run --select a --defer"), {}),
    ("state_without_deferral", job("dbt run -s a --defer --state ./prod-artifacts"), {}),
    (
        "source_status_without_freshness",
        job("dbt build -s source_status:fresher+", "dbt source freshness", **TO_PRODUCTION),
        {},
    ),
    ("missing_deps", job("dbt clean", "dbt build"), {}),
    ("missing_deps", job("dbt deps", "dbt clean", "dbt build", "dbt deps"), {}),
    ("missing_deps", job("dbt clean", "dbt run"), {"project": manifest(packages=("dbt_utils",))}),
    ("test_before_build", job("dbt test", "dbt run"), {}),
    ("test_before_build", job("dbt test -s source:till+", "dbt run"), {}),
    ("test_before_build", job("dbt test -s orders", "dbt build -s orders"), {}),
    ("seed_after_build", job("dbt run", "dbt seed"), {}),
    ("seed_after_build", job("dbt build -s a", "dbt seed"), {"project": manifest()}),
    ("snapshot_after_build", job("dbt run", "dbt snapshot"), {}),
    ("snapshot_after_build", job("dbt run", "dbt snapshot"), {"project": SNAPSHOT_IS_READ}),
    ("docs_before_build", job("dbt docs generate", "dbt build"), {}),
    ("deps_not_first", job("dbt run", "dbt deps"), {}),
    ("repeated_deps", job("dbt deps", "dbt build", "dbt deps"), {}),
    ("double_work", job("dbt build", "dbt run -s a"), {}),
    ("double_work", job("dbt build", "dbt test"), {}),
    ("double_work", job("dbt seed", "dbt build"), {}),
    ("double_work", job("dbt build -s a b", "dbt test -s b a"), {}),
    ("repeated_step", job("dbt build -s a", "dbt build -s  a"), {}),
    ("use_build", job("dbt seed", "dbt run", "dbt test"), {}),
    ("use_build", job("dbt run -s tag:a", "dbt test -s tag:a"), {}),
    ("docs_twice", job("dbt build", "dbt docs generate", generate_docs=True), {}),
    ("freshness_twice", job("dbt source freshness", run_generate_sources=True), {}),
    ("selects_nothing", job("dbt run -s tag:nightly"), {"project": manifest()}),
    ("selects_nothing", job("dbt run -s prices"), {"project": manifest()}),
    ("selects_nothing", job("dbt build -s orders odrers"), {"project": manifest()}),
    ("selects_nothing", job("dbt build --exclude prices+"), {"project": manifest()}),
    ("unknown_selector", job("dbt build --selector nightly"), {"project": manifest()}),
    ("full_refresh_on_schedule", scheduled("0 6 * * *", "dbt build --full-refresh"), {}),
    ("goes_on_after_failed_tests", job("dbt build", "dbt compile", **goes_on("continue")), {}),
    ("goes_on_after_failed_tests", job("dbt run", "dbt test", **goes_on("stop", "warn")), {}),
    ("ci_without_deferral", ci("dbt build -s tag:a"), {}),
    ("ci_defers_to_itself", ci(SLIM, pk=5, deferring_job_id=5), {}),
    ("full_build_in_ci", ci("dbt build", **TO_PRODUCTION), {}),
    ("full_build_in_ci", ci("dbt build --exclude tag:slow", **TO_PRODUCTION), {}),
    ("full_build_in_ci", ci("dbt run -s state:modified+", "dbt test", **TO_PRODUCTION), {}),
    ("deferral_unused", job("dbt deps", "dbt build", **TO_PRODUCTION), {}),
    ("deferral_unused", job("dbt run -s a --no-defer", deferring_job_id=3), {}),
    ("no_state_yet", ci(SLIM, **TO_PRODUCTION), {"has_state": False}),
    (
        "no_state_yet",
        job(SLIM, extensions={"deferral": {"when_no_state": "fail"}}, **TO_PRODUCTION),
        {"has_state": False},
    ),
    ("schedule_shorter_than_run", scheduled("*/15 * * * *"), {"usual_seconds": 1000}),
    ("schedule_shorter_than_run", scheduled("0 6,7 * * *"), {"usual_seconds": 3700}),
    ("several_purposes", ci(SLIM, cron="0 6 * * *", triggers_schedule=True), {}),
    ("several_purposes", scheduled("0 6 * * *", triggers_on_merge=True), {}),
    ("several_purposes", scheduled("0 6 * * *"), {"follows_jobs": True}),
    ("unreadable_cron", scheduled("5,15,25,35,45,55 2-6 * * 1-5"), {}),
    ("unreadable_cron", scheduled("7 1-5/2,9 1,15 */2 1-5"), {}),
    ("either_day", scheduled("0 6 1 * 1"), {}),
    ("ci_without_timeout", ci(SLIM, timeout_seconds=0), {}),
    ("timeout_beyond_limit", job("dbt build", timeout_seconds=90_000), {}),
    ("timeout_long", ci(SLIM, timeout_seconds=3601), {}),
    ("timeout_long", job("dbt build", timeout_seconds=8 * 3600 + 1), {}),
    (
        "timeout_long",
        job("dbt run -s config.materialized:incremental", timeout_seconds=2 * 3600 + 1),
        {},
    ),
    ("timeout_too_short", job("dbt build", timeout_seconds=600), {"usual_seconds": 580}),
]

WISE: list[Case] = [
    ("invalid_step", job("dbt build"), {}),
    ("wrong_target", job("dbt build --target prod", target_name="prod"), {}),
    ("wrong_target", job("dbt deps --target other"), {}),
    ("state_without_deferral", ci(SLIM, **TO_PRODUCTION), {}),
    ("state_without_deferral", job("dbt build -s a --no-defer"), {}),
    ("state_without_deferral", job("dbt build -s estate:a"), {}),
    (
        "source_status_without_freshness",
        job("dbt source freshness", "dbt build -s source_status:fresher+", **TO_PRODUCTION),
        {},
    ),
    (
        "source_status_without_freshness",
        job("dbt build -s source_status:fresher+", run_generate_sources=True, **TO_PRODUCTION),
        {},
    ),
    ("missing_deps", job("dbt build"), {}),
    ("missing_deps", job("dbt clean", "dbt deps", "dbt build"), {}),
    ("missing_deps", job("dbt build", "dbt clean"), {}),
    ("missing_deps", job("dbt clean", "dbt build"), {"project": manifest()}),
    ("test_before_build", job("dbt run", "dbt test"), {}),
    ("test_before_build", job("dbt test -s source:till.orders", "dbt run"), {}),
    ("test_before_build", job("dbt test -s test_type:unit", "dbt run"), {}),
    ("test_before_build", job("dbt test --resource-type unit_test", "dbt run"), {}),
    ("test_before_build", job("dbt run -s a", "dbt test -s a", "dbt run -s b"), {}),
    ("test_before_build", job("dbt test"), {}),
    ("seed_after_build", job("dbt seed", "dbt run"), {}),
    ("seed_after_build", job("dbt run", "dbt seed"), {"project": SNAPSHOT_IS_READ}),
    ("snapshot_after_build", job("dbt snapshot", "dbt run"), {}),
    ("snapshot_after_build", job("dbt run", "dbt snapshot"), {"project": SNAPSHOT_OF_A_MODEL}),
    ("docs_before_build", job("dbt build", "dbt docs generate"), {}),
    ("deps_not_first", job("dbt deps", "dbt run"), {}),
    ("deps_not_first", job("dbt run", "dbt clean", "dbt deps", "dbt run"), {}),
    ("repeated_deps", job("dbt deps", "dbt build"), {}),
    ("repeated_deps", job("dbt deps", "dbt clean", "dbt deps", "dbt build"), {}),
    ("double_work", job("dbt build"), {}),
    ("double_work", job("dbt seed --full-refresh", "dbt build"), {}),
    ("double_work", job("dbt build -s a", "dbt run -s b"), {}),
    ("double_work", job("dbt build --empty", "dbt run"), {}),
    ("double_work", job("dbt build", "dbt run -s a --vars '{day: 1}'"), {}),
    ("repeated_step", job("dbt build -s a", "dbt build -s b"), {}),
    ("use_build", job("dbt run -s a", "dbt test -s b"), {}),
    ("use_build", job("dbt run", "dbt build"), {}),
    ("docs_twice", job("dbt build", generate_docs=True), {}),
    ("docs_twice", job("dbt build", "dbt docs generate"), {}),
    ("freshness_twice", job("dbt source freshness"), {}),
    ("freshness_twice", job("dbt source freshness -s source:a", run_generate_sources=True), {}),
    ("selects_nothing", job("dbt run -s tag:nightly"), {}),
    ("selects_nothing", job("dbt run -s orders"), {"project": manifest()}),
    ("selects_nothing", job("dbt run -s prices+"), {"project": manifest()}),
    ("selects_nothing", job(SLIM, **TO_PRODUCTION), {"project": manifest()}),
    ("selects_nothing", job("dbt snapshot"), {"project": manifest()}),
    ("unknown_selector", job("dbt build --selector nightly"), {}),
    (
        "unknown_selector",
        job("dbt build --selector nightly"),
        {"project": manifest(selectors={"nightly": {}})},
    ),
    ("full_refresh_on_schedule", job("dbt build --full-refresh"), {}),
    ("full_refresh_on_schedule", scheduled("0 6 * * *", "dbt seed --full-refresh"), {}),
    ("goes_on_after_failed_tests", job("dbt run", "dbt compile", **goes_on("continue")), {}),
    ("goes_on_after_failed_tests", job("dbt run", "dbt test", **goes_on("stop", "continue")), {}),
    ("goes_on_after_failed_tests", ci(SLIM, **goes_on("warn"), **TO_PRODUCTION), {}),
    (
        "goes_on_after_failed_tests",
        job("dbt build", **goes_on("warn", deployment_type="staging")),
        {},
    ),
    ("ci_without_deferral", ci(SLIM, **TO_PRODUCTION), {}),
    ("ci_without_deferral", job("dbt build"), {}),
    ("ci_defers_to_itself", ci(SLIM, pk=5, deferring_job_id=6), {}),
    ("ci_defers_to_itself", job(SLIM, pk=5, deferring_job_id=5), {}),
    ("full_build_in_ci", ci(SLIM, **TO_PRODUCTION), {}),
    (
        "full_build_in_ci",
        ci("dbt build", **TO_PRODUCTION),
        {"project": manifest(selectors={"slim": {"default": True}})},
    ),
    ("deferral_unused", job("dbt run -s a", **TO_PRODUCTION), {}),
    ("deferral_unused", job("dbt test", **TO_PRODUCTION), {}),
    ("deferral_unused", job("dbt build", run_compare_changes=True, **TO_PRODUCTION), {}),
    ("no_state_yet", ci(SLIM, **TO_PRODUCTION), {"has_state": True}),
    ("no_state_yet", ci(SLIM, **TO_PRODUCTION), {}),
    ("no_state_yet", job(SLIM, pk=5, deferring_job_id=5), {"has_state": False}),
    ("schedule_shorter_than_run", scheduled("*/15 * * * *"), {"usual_seconds": 800}),
    ("schedule_shorter_than_run", scheduled("*/15 * * * *"), {}),
    ("schedule_shorter_than_run", job("dbt build"), {"usual_seconds": 9000}),
    ("several_purposes", scheduled("0 6 * * *"), {}),
    ("several_purposes", job("dbt build"), {"follows_jobs": True}),
    ("unreadable_cron", scheduled("*/15 6-20 * * 1-5"), {}),
    ("unreadable_cron", scheduled("0 8,12,16 * * MON-FRI"), {}),
    ("unreadable_cron", scheduled("0 1,2,3,5,7,11,13 * * 1,3,5", schedule=PICKED), {}),
    ("either_day", scheduled("0 6 1 * *"), {}),
    ("either_day", scheduled("0 6 * * 1"), {}),
    ("ci_without_timeout", ci(SLIM, timeout_seconds=1800), {}),
    ("ci_without_timeout", job("dbt build", timeout_seconds=0), {}),
    ("timeout_beyond_limit", job("dbt build", timeout_seconds=86_400), {}),
    ("timeout_long", ci(SLIM, timeout_seconds=3600), {}),
    ("timeout_long", job("dbt build", timeout_seconds=8 * 3600), {}),
    ("timeout_long", job("dbt run -s config.materialized:incremental", timeout_seconds=7200), {}),
    ("timeout_too_short", job("dbt build", timeout_seconds=600), {"usual_seconds": 500}),
    ("timeout_too_short", job("dbt build", timeout_seconds=0), {"usual_seconds": 500}),
]


def named(case: Case) -> str:
    return f"{case[0]}: {'; '.join(case[1].execute_steps)}"


@pytest.mark.parametrize("case", UNWISE, ids=named)
def test_a_rule_finds_what_it_is_for(case: Case) -> None:
    code, unwise, facts = case

    assert code in codes(unwise, longest_run_seconds=86_400, **facts)


@pytest.mark.parametrize("case", WISE, ids=named)
def test_a_rule_leaves_other_jobs_alone(case: Case) -> None:
    code, wise, facts = case

    assert code not in codes(wise, longest_run_seconds=86_400, **facts)


def test_every_rule_has_a_job_it_is_for_and_one_it_leaves_alone() -> None:
    names = {rule.__name__ for rule in RULES}

    assert {code for code, _job, _facts in UNWISE} == names
    assert {code for code, _job, _facts in WISE} == names


@pytest.mark.parametrize("case", UNWISE, ids=named)
def test_a_finding_is_a_sentence_and_a_way_out(case: Case) -> None:
    for finding in said(case[1], longest_run_seconds=86_400, **case[2]):
        for text in (finding.message, finding.fix):
            assert text.endswith(".")
            assert text[0].isupper() or text[0] == "`"
            assert "  " not in text.replace(case[1].execute_steps[-1], "")
        assert finding.step is None or 1 <= finding.step <= len(case[1].execute_steps)


GOOD = [
    job("dbt deps", "dbt build"),
    job("dbt build", generate_docs=True, run_generate_sources=True),
    job("dbt deps", "dbt docs generate"),
    scheduled("0 6 * * *", timeout_seconds=4 * 3600),
    scheduled("0 * * * *", "dbt run --select tag:fast"),
    scheduled(
        "*/15 * * * *", "dbt run --select config.materialized:incremental", pk=1, deferring_job_id=1
    ),
    ci("dbt deps", f"{SLIM} --defer", timeout_seconds=1800, **TO_PRODUCTION),
    ci("dbt deps", f"{SLIM} --defer --state ./prod-artifacts", **TO_PRODUCTION),
    job("dbt build", job_type="merge", triggers_on_merge=True),
]


EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "jobs"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.json")), ids=lambda file: file.stem)
def test_of_the_example_jobs_nothing_is_said(file: Path) -> None:
    body = json.loads(file.read_text())
    example = job(
        *body["execute_steps"],
        job_type=body["job_type"],
        target_name=body["settings"]["target_name"],
        timeout_seconds=body["execution"]["timeout_seconds"],
        triggers_schedule=body["triggers"]["schedule"],
        schedule=body["schedule"],
        cron=(body["schedule"] or {}).get("cron", ""),
        generate_docs=body["generate_docs"],
        **(TO_PRODUCTION if body["job_type"] == "ci" else {}),
    )

    assert said(example) == []


@pytest.mark.parametrize("good", GOOD, ids=lambda good: "; ".join(good.execute_steps))
def test_of_a_good_job_nothing_is_said(good: Job) -> None:
    facts = {"has_state": True, "usual_seconds": 300, "longest_run_seconds": 86_400}

    assert said(good, **facts) == []


def test_what_fails_comes_first_and_then_the_steps_in_order() -> None:
    found = said(ci("dbt test", "dbt run --target prod", "dbt deps", timeout_seconds=0))
    gravity = [list(Severity).index(finding.severity) for finding in found]

    assert found[0].code == "wrong_target"
    assert gravity == sorted(gravity)
    warnings = [one.step or 0 for one in found if one.severity == Severity.WARNING]
    assert warnings == sorted(warnings)


def test_a_step_is_counted_from_one_even_after_one_that_cannot_be_read() -> None:
    found = said(job("dbt serve", "dbt run --target prod"))

    assert [(one.code, one.step) for one in found if one.severity == Severity.ERROR] == [
        ("invalid_step", 1),
        ("wrong_target", 2),
    ]


def test_packages_that_are_known_are_named_and_make_it_a_warning() -> None:
    (unsure,) = said(job("dbt clean", "dbt build"))
    (sure,) = said(job("dbt clean", "dbt build"), project=manifest(packages=("dbt_utils",)))

    assert unsure.severity == Severity.HINT
    assert sure.severity == Severity.WARNING
    assert "dbt_utils" in sure.message


def test_the_step_to_write_instead_keeps_its_options() -> None:
    (finding,) = said(job("dbt --debug run -s 'tag:a b'", "dbt test -s 'tag:a b'"))

    assert "`dbt --debug build -s 'tag:a b'`" in finding.fix
    assert "run and test" in finding.fix


@pytest.mark.parametrize(
    ("cron", "shorter"),
    [
        ("5,15,25,35,45,55 2-6 * * 1-5", "5-55/10 2-6 * * 1-5"),
        ("0 6,7,8,9,10 1,15 * *", "0 6-10 1,15 * *"),
        ("30,0 5,7,9,11,13,15 * * 1", "30,0 5-15/2 * * 1"),
    ],
)
def test_a_shorter_cron_is_told_where_it_means_the_same(cron: str, shorter: str) -> None:
    (finding,) = said(scheduled(cron))

    assert f"Write `{shorter}`, which is the same" in finding.fix


def test_where_no_shorter_cron_is_the_same_none_is_told() -> None:
    (finding,) = said(scheduled("0 1,2,5,7,11,13,17 * * *"))

    assert finding.code == "unreadable_cron"
    assert finding.fix.startswith("Choose a simpler rhythm")


def test_the_source_of_what_is_known_is_named() -> None:
    (finding,) = said(job("dbt run -s nowhere"), project=manifest(), source="the manifest of run 9")

    assert "the manifest of run 9" in finding.message


def test_the_guide_names_every_code_in_the_order_of_the_rules() -> None:
    guide = (EXAMPLES.parents[1] / "docs" / "advice.md").read_text()

    assert re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE) == [rule.__name__ for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_guide_tells_the_gravest_severity_of_each(rule: Rule) -> None:
    guide = (EXAMPLES.parents[1] / "docs" / "advice.md").read_text()
    (told,) = re.findall(rf"^\| `{rule.__name__}` \| (\w+) \|", guide, re.MULTILINE)

    found = {
        finding.severity
        for code, unwise, facts in UNWISE
        for finding in said(unwise, longest_run_seconds=86_400, **facts)
        if code == finding.code == rule.__name__
    }

    assert told == min(found, key=list(Severity).index)
