"""The files of a run: walked folder by folder, read, and downloaded one by one or all at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from jobsvc.console.json_tree import MOST_OF_ONE, MOST_PARTS, Part, tree_of
from jobsvc.runs.archive import zip_of
from jobsvc.runs.models import Artifact, Run, RunStep
from tests.factories import ArtifactFactory, RunFactory, RunStepFactory

VisitorOf = Callable[..., Client]


def url(run: Run, name: str = "artifacts", *more: str) -> str:
    return reverse(f"console:{name}", args=[run.account_id, run.project_id, run.pk, *more])


def text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_a_runs_files_can_be_downloaded(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    ArtifactFactory(step=RunStepFactory(run=run), path="manifest.json", content=b'{"a": 1}')
    visitor = visitor_of(run.account)
    link = reverse(
        "console:artifact", args=[run.account_id, run.project_id, run.pk, "manifest.json"]
    )
    assert link in text(visitor, url(run, "artifacts"))

    response = visitor.get(link)

    assert b"".join(response.streaming_content) == b'{"a": 1}'
    assert response["Content-Disposition"].startswith("attachment")


def test_a_page_that_a_run_wrote_is_never_opened_on_this_site(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    ArtifactFactory(step=RunStepFactory(run=run), path="index.html", content=b"<script>")

    response = visitor_of(run.account).get(f"{url(run, 'artifacts')}index.html")
    response.close()

    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Security-Policy"] == "sandbox; default-src 'none'"


def test_dbts_own_documents_are_listed_before_its_many_files(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    step = RunStepFactory(run=run)
    for path in ("compiled/model.sql", "manifest.json"):
        ArtifactFactory(step=step, path=path)

    page = text(visitor_of(run.account), url(run, "artifacts"))

    assert page.index("manifest.json") < page.index("compiled/")


def test_each_steps_files_are_listed(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    ArtifactFactory(step=RunStepFactory(run=run, index=4), path="run/seed.sql")
    ArtifactFactory(step=RunStepFactory(run=run, index=5), path="run/model.sql")

    page = text(visitor_of(run.account), f"{url(run, 'artifacts')}?step=5&in=run")

    assert "run/model.sql?step=5" in page
    assert "run/seed.sql" not in page


def test_a_file_that_is_not_there_is_no_page(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)

    assert visitor_of(run.account).get(f"{url(run, 'artifacts')}no.json").status_code == 404


def test_folders_are_walked_one_by_one(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    step = RunStepFactory(run=run)
    for path in ("compiled/shop/models/a.sql", "compiled/shop/b.sql", "manifest.json"):
        ArtifactFactory(step=step, path=path, content=b"1234567890", size=10)
    visitor = visitor_of(run.account)

    top = text(visitor, url(run))
    inside = text(visitor, f"{url(run)}?in=compiled%2Fshop")

    assert '<a href="?in=compiled">compiled/</a></th><td class="mut">2 files</td>' in top
    assert "a.sql" not in top
    assert '<a href="?in=compiled%2Fshop%2Fmodels">models/</a>' in inside
    assert "compiled/shop/b.sql" in inside
    assert "manifest.json" not in inside


def test_a_folder_that_is_not_there_leads_back(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    ArtifactFactory(step=RunStepFactory(run=run), path="manifest.json")

    page = text(visitor_of(run.account), f"{url(run)}?in=<b>&after=xyz")

    assert "There is no folder &lt;b&gt; here." in page


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "the run ended before its first step."),
        ([True, True, False], "the run ended before step 3."),
        ([True], "dbt wrote no files.<"),
    ],
)
def test_a_run_without_files_says_why(visitor_of: VisitorOf, steps: list[bool], said: str) -> None:
    run = RunFactory(failed=True)
    for index, began in enumerate(steps, start=1):
        RunStepFactory(run=run, index=index, started_at=now() if began else None)

    assert said in text(visitor_of(run.account), url(run))


def test_files_that_are_gone_say_by_which_rule(visitor_of: VisitorOf, settings: Any) -> None:
    settings.KEEP_ARTIFACTS_DAYS = 30
    ended = now() - timedelta(days=40)
    run = RunFactory(succeeded=True, finished_at=ended, artifacts_saved=True)

    page = text(visitor_of(run.account), url(run))

    assert "Files are kept for 30 days (<code>JOBSVC_KEEP_ARTIFACTS_DAYS</code>)" in page
    assert f"{ended + timedelta(days=30):%Y-%m-%d}" in page


@pytest.mark.parametrize(("days", "said"), [(30, "Kept for 30 days, until"), (0, "Kept for ever")])
def test_files_say_how_long_they_are_kept(
    visitor_of: VisitorOf, settings: Any, days: int, said: str
) -> None:
    settings.KEEP_ARTIFACTS_DAYS = days
    run = RunFactory(succeeded=True)
    ArtifactFactory(step=RunStepFactory(run=run), path="manifest.json")

    assert said in text(visitor_of(run.account), url(run))


# --- All at once ---------------------------------------------------------------------------


def unzipped(pieces: Any) -> dict[str, bytes]:
    with ZipFile(BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def left(db: None) -> Run:
    run: Run = RunFactory(succeeded=True)
    for index in (4, 5):
        step = RunStepFactory(run=run, index=index)
        ArtifactFactory(step=step, path="run_results.json", content=f"[{index}]".encode())
    said = storages["artifacts"].save("runs/x/console.log", ContentFile(b"said"))
    RunStep.objects.filter(pk=step.pk).update(console_log=said)
    return run


def test_all_files_and_logs_come_as_one_zip(visitor_of: VisitorOf, left: Run) -> None:
    response = visitor_of(left.account).get(url(left, "artifact_zip"))

    assert response["Content-Disposition"] == f'attachment; filename="run-{left.pk}.zip"'
    assert unzipped(response.streaming_content) == {
        f"run-{left.pk}/step-4/target/run_results.json": b"[4]",
        f"run-{left.pk}/step-5/target/run_results.json": b"[5]",
        f"run-{left.pk}/step-5/console.log": b"said",
    }


def test_a_zip_leaves_out_what_storage_has_lost(left: Run) -> None:
    lost = Artifact.objects.filter(step__index=4).get()
    storages["artifacts"].delete(lost.storage_name)

    assert len(unzipped(zip_of(left))) == 2


def test_a_zip_is_made_in_pieces_of_bounded_size(left: Run) -> None:
    step = left.steps.get(index=5)
    large = bytes(range(256)) * 16 * 1024  # 4 MiB
    ArtifactFactory(step=step, path="manifest.json", content=large)

    pieces = list(zip_of(left))

    assert max(map(len, pieces)) < 1024**2
    assert unzipped(pieces)[f"run-{left.pk}/step-5/target/manifest.json"] == large


def test_of_a_run_without_files_the_zip_is_empty(db: None) -> None:
    assert unzipped(zip_of(RunFactory(failed=True))) == {}


# --- Reading a document --------------------------------------------------------------------


def test_a_document_is_read_as_a_folded_tree(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    document = {"metadata": {"dbt": "1.11"}, "<script>": ["a", None, 1.5]}
    content = json.dumps(document).encode()
    ArtifactFactory(step=RunStepFactory(run=run), path="manifest.json", content=content)
    visitor = visitor_of(run.account)
    view = f"{url(run, 'artifact', 'manifest.json')}?view=json"
    assert f'href="{view}"' in text(visitor, url(run))

    page = text(visitor, view)

    assert '<b><bdi>metadata</bdi></b> <span class="mut">1 key</span>' in page
    assert "<b><bdi>&lt;script&gt;</bdi></b>" in page
    part = text(visitor, f'{view}&at=["metadata"]')
    assert "<b><bdi>dbt</bdi></b> <code>&quot;1.11&quot;</code>" in part
    assert "&lt;script&gt;</bdi>" not in part


@pytest.mark.parametrize(
    "content", [b"no json", b"[" * 100_000, b"\xff\xfe\x00", b"", b'"\\ud800"']
)
def test_what_is_no_document_is_not_shown(visitor_of: VisitorOf, content: bytes) -> None:
    run = RunFactory(succeeded=True)
    ArtifactFactory(step=RunStepFactory(run=run), path="x.json", content=content)

    text(visitor_of(run.account), f"{url(run, 'artifact', 'x.json')}?view=json")


@pytest.mark.parametrize("at", ["[", '["no"]', '{"a": 1}', '["list", "9"]', "[[1]]", "[" * 9000])
def test_a_place_that_is_not_there_is_no_error(visitor_of: VisitorOf, at: str) -> None:
    run = RunFactory(succeeded=True)
    ArtifactFactory(step=RunStepFactory(run=run), path="x.json", content=b'{"list": [1]}')

    text(visitor_of(run.account), f"{url(run, 'artifact', 'x.json')}?view=json&at={at}")


def parts_in(part: Part) -> int:
    return 1 + sum(map(parts_in, part.parts))


def test_a_large_document_is_cut_and_can_be_entered() -> None:
    document = {f"node {n}": {"columns": [[n] * 9] * 9} for n in range(3000)}

    whole = tree_of(document, "")
    inside = tree_of(document, json.dumps(["node 2999", "columns"]))

    assert whole
    assert inside
    assert parts_in(whole) <= MOST_PARTS + 1
    assert whole.hidden >= 3000 - MOST_OF_ONE
    assert (inside.value, len(inside.parts)) == ("9 items", 9)


def test_a_long_text_of_a_document_is_cut() -> None:
    tree = tree_of({"sql": "x" * 10_000}, "")

    assert tree
    assert re.fullmatch(r'"x{999} … 9,002 more characters', tree.parts[0].value)
