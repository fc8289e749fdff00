"""The graph of a manifest: what is kept of it, what lies around a node, what a selector names."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.storage import storages
from django.utils.timezone import now

from jobsvc.management.example_data import graph as example
from jobsvc.runs.graph import (
    Graph,
    NotUnderstood,
    around,
    code_of,
    folders,
    graph_of,
    in_folder,
    manifest_of_environment,
    manifest_of_run,
    selected,
)
from jobsvc.runs.models import Artifact, ManifestGraph
from tests.factories import JobFactory, RunFactory, RunStepFactory
from tests.manifests import chain, entry, left, manifest_of

pytestmark = pytest.mark.django_db


def graph(manifest: Any) -> Graph:
    found = graph_of(left(RunStepFactory(run=RunFactory(succeeded=True)), manifest))
    assert found is not None
    return found


def names(ids: Any) -> set[str]:
    return {one.rpartition(".")[2] for one in ids}


ALPHABET = chain("a", "b", "c", "d", "e", "f")


def test_around_a_node_is_what_it_needs_and_what_needs_it() -> None:
    assert names(around(graph(ALPHABET), ["model.shop.c"], up=1, down=2)) == {"b", "c", "d", "e"}


def test_of_what_lies_around_the_nearest_stays_when_there_is_too_much() -> None:
    assert names(around(graph(ALPHABET), ["model.shop.c"], up=2, down=3, most=3)) == {"b", "c", "d"}


def test_a_test_stands_for_the_model_it_is_written_at() -> None:
    found = graph(
        manifest_of(
            entry("model.shop.orders"),
            entry("model.shop.people"),
            entry(
                "test.shop.relationship",
                "model.shop.people",
                "model.shop.orders",
                attached_node="model.shop.orders",
            ),
            entry("test.shop.of_both", "model.shop.orders", "model.shop.people"),
        )
    )

    assert found.standing_for(["test.shop.relationship"]) == {"model.shop.orders"}
    assert names(found.standing_for(["test.shop.of_both"])) == {"orders", "people"}
    assert names(found.tests["model.shop.orders"]) == {"relationship", "of_both"}
    assert names(found.drawn) == {"orders", "people"}


@pytest.mark.parametrize(
    ("selector", "named"),
    [
        ("c", {"c"}),
        ("+c+2", {"a", "b", "c", "d", "e"}),
        ("1+c", {"b", "c"}),
        ("a f", {"a", "f"}),
        ("path:models/b.sql", {"b"}),
        ("config.materialized:table,+b", {"a", "b"}),
        ("nothing_like_it", set()),
        ("   ", set()),
    ],
)
def test_a_selector_names_nodes_as_dbts_does(selector: str, named: set[str]) -> None:
    assert names(selected(graph(ALPHABET), selector)) == named


def test_tags_and_sources_are_selected() -> None:
    found = graph(
        manifest_of(
            entry("model.shop.orders", "source.shop.raw.orders", tags=["nightly"]),
            entry("model.shop.people"),
            entry("source.shop.raw.orders", source_name="raw", name="orders"),
        )
    )

    assert names(selected(found, "tag:nightly")) == {"orders"}
    assert selected(found, "source:raw+") == {"model.shop.orders", "source.shop.raw.orders"}


@pytest.mark.parametrize("selector", ["state:modified+", "@c+", "wizard:x"])
def test_a_selector_that_is_not_understood_says_what_is(selector: str) -> None:
    with pytest.raises(NotUnderstood, match=r"cannot be read here\. A name"):
        selected(graph(ALPHABET), selector)


def test_nodes_are_put_into_folders_as_deep_as_there_is_room() -> None:
    found = graph(
        manifest_of(
            *(
                entry(f"model.shop.{layer}_{n}", original_file_path=f"models/{layer}/{n}/x.sql")
                for layer in ("marts", "staging")
                for n in range(3)
            ),
            entry("model.dates.days", original_file_path="models/days.sql"),
        )
    )

    assert list(folders(found, found.drawn, most=3)) == [
        "dates: models",
        "models/marts",
        "models/staging",
    ]
    assert len(folders(found, found.drawn, most=60)) == 7
    assert names(in_folder(found, "models/marts")) == {"marts_0", "marts_1", "marts_2"}
    assert names(in_folder(found, "dates: models")) == {"days"}


def test_variables_are_found_in_code_in_settings_and_in_macros() -> None:
    found = graph(
        manifest_of(
            entry("model.shop.a", raw_code="select '{{ env_var('DBT_REGION') }}'"),
            entry("model.shop.b", config={"schema": '{{ env_var("DBT_SCHEMA", "x") }}'}),
            entry("model.shop.c", unrendered_config={"schema": "{{ env_var('DBT_SCHEMA') }}"}),
            entry("model.shop.d", raw_code="env_var(name) and my_env_var('DBT_NO')"),
            macros={
                "macro.shop.m": {
                    "package_name": "shop",
                    "macro_sql": "{% set x = env_var( 'DBT_ENV_SECRET_KEY' ) %}",
                }
            },
        )
    )

    assert found.variables == {
        "DBT_REGION": ["model.shop.a"],
        "DBT_SCHEMA": ["model.shop.b", "model.shop.c"],
        "DBT_ENV_SECRET_KEY": ["macro.shop.m"],
    }


def test_an_owner_is_the_groups_else_the_models_own() -> None:
    found = graph(
        manifest_of(
            entry("model.shop.a", group="finance"),
            entry("model.shop.b", config={"meta": {"owner": "@ana"}}),
            entry("model.shop.c"),
            groups={
                "group.shop.finance": {
                    "name": "finance",
                    "owner": {"name": "Money", "email": "money@example.com"},
                }
            },
        )
    )

    assert found.owner("model.shop.a") == "finance (Money <money@example.com>)"
    assert (found.owner("model.shop.b"), found.owner("model.shop.c")) == ("@ana", "")


def test_the_source_of_a_node_is_kept_apart() -> None:
    assert code_of(graph(ALPHABET), "model.shop.b") == "select 1 as b"
    assert code_of(graph(ALPHABET), "model.shop.nothing") == ""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"metadata": {"project_name": "a", "adapter_type": "b"}, "macros": {}, "nodes": [1]}',
        b'{"metadata": {"project_name": 1, "adapter_type": "b"}, "macros": [], "nodes": {}}',
    ],
)
def test_what_is_no_manifest_has_no_graph(content: bytes) -> None:
    artifact = left(RunStepFactory(run=RunFactory(succeeded=True)), content)

    assert graph_of(artifact) is None
    assert graph_of(artifact) is None


def test_circles_and_half_characters_in_a_manifest_do_no_harm() -> None:
    a, b = "model.shop.a\ud800", "model.shop.b"
    found = graph(manifest_of(entry(a, b), entry(b, a), entry("model.shop.c\0")))

    assert len(found.drawn) == 2
    assert names(around(found, [b])) == {"a?", "b"}
    assert names(selected(found, "+b+")) == {"a?", "b"}


def test_a_manifest_that_storage_has_lost_has_no_graph() -> None:
    artifact = left(RunStepFactory(run=RunFactory(succeeded=True)), ALPHABET)
    storages["artifacts"].delete(artifact.storage_name)

    assert graph_of(artifact) is None


def test_a_large_manifest_is_worked_out_once() -> None:
    nodes = example.nodes_of("coffee_shops", 3000)
    artifact = left(RunStepFactory(run=RunFactory(succeeded=True)), example.manifest(nodes, now()))
    graph_of(artifact)

    found = graph_of(Artifact.objects.get(pk=artifact.pk))
    assert found is not None
    assert len(around(found, ["model.coffee_shops.fct_orders"])) > 5
    assert len(found.nodes) == 3000
    assert ManifestGraph.objects.count() == 1
    assert len(ManifestGraph.objects.get().packed) < artifact.size / 10


def test_two_that_look_at_once_see_the_same() -> None:
    run = RunFactory(succeeded=True)
    left(RunStepFactory(run=run), ALPHABET)
    first, second = manifest_of_run(run), manifest_of_run(run)
    assert first is not None
    assert second is not None

    for artifact in (first, second):
        found = graph_of(artifact)
        assert found is not None
        assert code_of(found, "model.shop.b") == "select 1 as b"
    assert ManifestGraph.objects.count() == 1


def test_a_graph_goes_with_its_artifact() -> None:
    graph(ALPHABET)
    Artifact.objects.all().delete()

    assert not ManifestGraph.objects.exists()


# --- Whose manifest ---------------------------------------------------------------------------


def test_a_run_without_a_manifest_yet_is_seen_by_that_of_the_run_before() -> None:
    job = JobFactory()
    first, second = RunFactory(job=job, succeeded=True), RunFactory(job=job, running=True)
    before = left(RunStepFactory(run=first), ALPHABET)
    left(RunStepFactory(run=RunFactory(succeeded=True)), ALPHABET)

    assert manifest_of_run(second) == before
    own = left(RunStepFactory(run=second), ALPHABET)
    assert manifest_of_run(second) == own


def test_an_environment_is_seen_by_its_newest_success() -> None:
    job = JobFactory()
    older = left(RunStepFactory(run=RunFactory(job=job, succeeded=True)), ALPHABET)
    newest = left(RunStepFactory(run=RunFactory(job=job, succeeded=True)), ALPHABET)
    left(RunStepFactory(run=RunFactory(job=job, failed=True)), ALPHABET)
    pull_request = JobFactory(environment=job.environment, ci=True)
    left(RunStepFactory(run=RunFactory(job=pull_request, succeeded=True)), ALPHABET)

    assert manifest_of_environment(job.environment) == newest
    newest.delete()
    assert manifest_of_environment(job.environment) == older
    assert manifest_of_environment(JobFactory().environment) is None
