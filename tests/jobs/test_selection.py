"""What a selection names: the same nodes here as with the real dbt, or no answer at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from jobsvc.engine.commands import DbtCommand
from jobsvc.jobs.selection import Project, select, worked_on

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "examples" / "coffee_shop"
DBT = Path(os.environ.get("JOBSVC_TEST_DBT", ROOT / ".toolchains" / "dbt-1.11" / "bin" / "dbt"))

# Each is what follows `dbt list`.
ASKED = (
    "",
    "--select stg_orders",
    "--select coffee_shop.marts",
    "--select marts",
    "--select marts.*",
    "--select 'stg_*'",
    "--select 'coffee_shop.st*.stg_o*'",
    "--select stg_orders.nothing",
    "--select no_such_model",
    "--select +shop_days",
    "--select 1+shop_days",
    "--select stg_orders+",
    "--select stg_orders+1",
    "--select +stg_orders+",
    "--select @stg_orders",
    "--select tag:nightly",
    "--select 'tag:night*'",
    "--select tag:nightly,tag:hourly",
    "--select tag:nightly,no_such_model",
    "--select tag:hourly no_such_model",
    "--select tag:nightly --exclude tag:hourly",
    "--select tag:nightly --exclude stg_orders+",
    "--exclude tag:nightly",
    "--exclude no_such_model",
    "--select path:models/staging",
    "--select models/staging",
    "--select models/staging/",
    "--select 'models/*/stg_*.sql'",
    "--select path:models/nowhere",
    "--select models/marts/marts.yml",
    "--select seeds",
    "--select seeds/*",
    "--select stg_orders.sql",
    "--select file:stg_orders",
    "--select 'file:stg_*.sql'",
    "--select 'source:*'",
    "--select source:till",
    "--select source:till+",
    "--select source:nothing",
    "--select config.materialized:table",
    "--select config.materialized:incremental+",
    "--select config.materialized:nothing",
    "--select config.enabled:true",
    "--select config.contract.enforced:false",
    "--select config.severity:warn",
    "--select config.tags:nightly",
    "--select resource_type:snapshot",
    "--select resource_type:model,tag:hourly",
    "--select package:this",
    "--select package:coffee_shop",
    "--select 'package:coffee_*'",
    "--select package:nothing",
    "--select group:till",
    "--select 'group:*'",
    "--select access:protected",
    "--select access:public",
    "--select test_name:unique",
    "--select 'test_name:accepted_*'",
    "--select exposure:weekly_shop_report",
    "--select +exposure:weekly_shop_report",
    "--select 'exposure:coffee_shop.*'",
    "--select 'unit_test:*'",
    "--select 'metric:*'",
    "--select stg_orders --resource-type test",
    "--select +shop_days --resource-type model seed",
    "--select +shop_days --exclude-resource-type test",
)

# Answers each line of its input with the unique ids that dbt lists, as one line of JSON.
LISTER = """
import json, shlex, sys
from dbt.cli.main import dbtRunner
manifest = dbtRunner().invoke(["--quiet", "parse"]).result
for line in sys.stdin:
    keys = ["--output", "json", "--output-keys", "unique_id"]
    told = dbtRunner(manifest=manifest).invoke(["--quiet", "list", *keys, *shlex.split(line)])
    if told.exception:
        raise told.exception
    ids = [json.loads(row)["unique_id"] for row in told.result or []]
    print("LISTED", json.dumps(ids), flush=True)
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with its packages and a profile, in which dbt can parse."""
    place = tmp_path_factory.mktemp("selection") / "project"
    shutil.copytree(
        PROJECT, place, ignore=shutil.ignore_patterns("target", "dbt_packages", "logs", "*.duckdb*")
    )
    output = {"type": "duckdb", "path": str(place / "shop.duckdb"), "schema": "main"}
    profile = {"coffee_shop": {"target": "dev", "outputs": {"dev": output}}}
    (place / "profiles.yml").write_text(json.dumps(profile))
    subprocess.run([DBT, "--quiet", "deps"], cwd=place, check=True)
    return place


@pytest.fixture(scope="module")
def listed(shop: Path) -> Mapping[str, set[str]]:
    """What the real dbt lists for each of ``ASKED``."""
    told = subprocess.run(
        [DBT.with_name("python"), "-c", LISTER],
        cwd=shop,
        input="\n".join(ASKED),
        env={**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    answers = [line[7:] for line in told.stdout.splitlines() if line.startswith("LISTED ")]
    return dict(zip(ASKED, map(set, map(json.loads, answers)), strict=True))


@pytest.fixture(scope="module")
def project(shop: Path, listed: Mapping[str, set[str]]) -> Project:
    read = Project.read((shop / "target" / "manifest.json").read_bytes())
    assert read is not None
    return read


@pytest.mark.parametrize("asked", ASKED)
def test_the_same_nodes_are_found_as_by_dbt(
    asked: str, listed: Mapping[str, set[str]], project: Project
) -> None:
    found = worked_on(project, DbtCommand.parse(f"dbt list {asked}", index=1))

    assert found == listed[asked]


def test_most_of_what_was_asked_names_something(listed: Mapping[str, set[str]]) -> None:
    assert sum(map(bool, listed.values())) > len(ASKED) / 2


@pytest.mark.parametrize(
    "asked",
    [
        "--select state:modified+",
        "--select result:fail",
        "--select source_status:fresher+",
        "--select stg_orders state:modified",
        "--select tag:nightly,state:modified",
        "--select tag:nightly --exclude state:old",
        "--selector nightly",
        "--select version:latest",
        "--select 'models/**/stg_orders.sql'",
        "--select @stg_orders+",
        "--select stg_orders --indirect-selection cautious",
        "--select test_type:generic",
    ],
)
def test_what_is_not_understood_has_no_answer(asked: str, project: Project) -> None:
    assert worked_on(project, DbtCommand.parse(f"dbt build {asked}", index=1)) is None


def test_an_intersection_with_nothing_is_nothing_whatever_else_is_in_it(project: Project) -> None:
    assert select(project, ["no_such_model,state:modified"]) == frozenset()


@pytest.mark.parametrize(
    ("step", "kinds"),
    [
        ("dbt run --select +shop_days", {"model"}),
        ("dbt seed --select +shop_days", {"seed"}),
        ("dbt test --select shop_days", {"test", "unit_test"}),
        ("dbt source freshness --select source:till", {"source"}),
        ("dbt run --select seeds/*", set()),
    ],
)
def test_a_command_works_on_its_own_kinds_only(
    step: str, kinds: set[str], project: Project
) -> None:
    found = worked_on(project, DbtCommand.parse(step, index=1))

    assert found is not None
    assert {project.nodes[one].resource_type for one in found} <= kinds
    assert bool(found) == bool(kinds)


def test_a_project_tells_its_packages_and_selectors(project: Project) -> None:
    assert project.name == "coffee_shop"
    assert project.packages == {"coffee_money"}
    assert project.selectors == {"nightly", "shops_report"}
    assert not project.has_default_selector


def test_with_a_default_selector_a_bare_step_has_no_answer(project: Project) -> None:
    other = Project(name="other", nodes=project.nodes, has_default_selector=True)

    assert worked_on(other, DbtCommand.parse("dbt build", index=1)) is None


def strange(**entries: object) -> dict[str, object]:
    """A manifest of one model, as a job may have written it."""
    model = {"resource_type": "model", "name": "a", "package_name": "shop", "fqn": ["shop", "a"]}
    about = {"project_name": "shop", "adapter_type": "duckdb"}
    nodes = {"model.shop.a": model | {"original_file_path": "models/a.sql"} | entries}
    return {"metadata": about, "macros": {}, "nodes": nodes}


@pytest.mark.parametrize(
    "entries",
    [
        {"tags": 5, "config": "none"},
        {"tags": [{}], "config": {"group": 5, "materialized": [[]]}},
        {"test_metadata": "unique", "access": []},
        {"depends_on": {"nodes": ["model.shop.a", "gone"]}},
    ],
)
def test_a_strange_manifest_breaks_nothing(entries: dict[str, object]) -> None:
    project = Project.read(json.dumps(strange(**entries)).encode())
    assert project is not None

    for asked in ASKED:
        worked_on(project, DbtCommand.parse(f"dbt list {asked}", index=1))


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b'{"metadata": 1}',
        b"\xff",
        b'{"metadata": {"project_name": "x"}}',
        b"[" * 100_000,
        json.dumps(strange(name=5)).encode(),
        json.dumps(strange(fqn=["shop", 5])).encode(),
        json.dumps(strange(depends_on={"nodes": [{}]})).encode(),
    ],
)
def test_what_is_no_manifest_is_no_project(manifest: bytes) -> None:
    assert Project.read(manifest) is None
