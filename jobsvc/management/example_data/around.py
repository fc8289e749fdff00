"""What lies around the runs: results and files, pull requests, messages, and what goes on now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import storages

from ci.models import (
    Check,
    Decision,
    PullRequest,
    PullRequestState,
    RepositoryHook,
    Verdict,
    WebhookDelivery,
)
from environments.models import Project
from jobsvc.jobs.models import Job, JobType
from jobsvc.management.example_data import graph
from jobsvc.management.example_data.graph import Node
from jobsvc.management.example_data.history import (
    DATABASE_ERROR,
    FIRST_NUMBER,
    PULL_REQUESTS,
    title_of,
)
from jobsvc.management.example_data.places import Places, slug_of
from jobsvc.notifications.models import (
    Delivery,
    DeliveryStatus,
    Dispatch,
    Event,
    Notification,
    NotificationRule,
    NotificationType,
    Scope,
    WebhookSubscription,
)
from jobsvc.runs.models import Artifact, NodeResult, Run, RunStep, RunTrigger
from jobsvc.statuses import CauseCategory, RunStatus

NODES = 3000
NODES_OF_A_RUN = 40
WITH_RESULTS = 300  # of the newest runs
WITH_FILES = 10
THREADS = 8
BATCH = 2000
TOLD = 200  # mails
POSTED = 80  # events
KEPT = timedelta(days=25)  # messages: those of longer ago a service removes by itself


# --- Results --------------------------------------------------------------------------------


def write_results(runs: Sequence[Run], nightly: Job) -> None:
    """What the newest runs made of their nodes, and the files of one of a large project."""
    large = next((run for run in reversed(runs) if _is_whole(run, nightly)), None)
    chosen = [run for run in runs[-WITH_RESULTS:] if run != large]
    steps = {
        step.run_id: step
        for step in RunStep.objects.filter(run__in=[*chosen, *([large] if large else [])]).filter(
            builds=True
        )
    }
    few: dict[int, list[Node]] = {
        run.project_id: graph.nodes_of(slug_of(run.project), NODES_OF_A_RUN) for run in chosen
    }
    rows = []
    left = WITH_FILES  # of the newest that failed: their files are what a retry goes on from
    for run in reversed(chosen):
        nodes = few[run.project_id]
        made = list(_results(steps[run.pk], nodes))
        rows += made
        if run.status == RunStatus.ERROR and left:
            _write_files(steps[run.pk], nodes, made)
            left -= 1
    if large is not None:
        nodes = graph.nodes_of(slug_of(large.project), NODES)
        made = list(_results(steps[large.pk], nodes))
        _write_files(steps[large.pk], nodes, made)
        rows += made
    NodeResult.objects.bulk_create(rows, batch_size=BATCH)


def _is_whole(run: Run, nightly: Job) -> bool:
    return run.job_id == nightly.pk and run.status == RunStatus.SUCCESS


def _results(step: RunStep, nodes: Sequence[Node]) -> Iterator[NodeResult]:
    """One result a node, on eight threads; a step that failed broke at one of its facts."""
    begun, ended = step.started_at, step.finished_at
    if begun is None or ended is None:
        return
    each = (ended - begun) * THREADS / (len(nodes) + THREADS)
    broken: set[str] = set()
    for place, node in enumerate(nodes):
        status, message = _outcome(step, node, broken)
        starts = begun + each * (place // THREADS)
        ends = starts + each * (0.5 + (place * 7 % 10) / 20)
        skipped = status == "skipped"
        yield NodeResult(
            run_id=step.run_id,
            step=step,
            unique_id=node.unique_id,
            name=node.name,
            resource_type=node.kind,
            materialized=node.materialized,
            status=status,
            message=message,
            thread="" if skipped else f"Thread-{place % THREADS + 1}",
            started_at=None if skipped else starts,
            executing_at=None if skipped else starts + each * 0.1,
            finished_at=None if skipped else ends,
            seconds=0 if skipped else (ends - starts).total_seconds(),
            rows_affected=1000 + place * 37 if node.materialized == "table" else None,
            failures=int(status == "fail") * 12 if node.kind == "test" else None,
        )


def _outcome(step: RunStep, node: Node, broken: set[str]) -> tuple[str, str]:
    if broken.intersection(node.needs):
        broken.add(node.unique_id)
        return "skipped", "Skipped, since what it needs failed."
    fails = step.status == RunStatus.ERROR
    if fails and node.name == "fct_orders":
        broken.add(node.unique_id)
        return "error", DATABASE_ERROR
    if fails and node.name == "unique_dim_orders_id":
        return "fail", "Got 12 results, configured to fail if != 0"
    if node.kind == "test":
        warns = node.name == "not_null_int_orders_joined_id" and step.index % 2
        return ("warn", "Got 3 results, configured to warn if != 0") if warns else ("pass", "")
    return "success", "SELECT 1204" if node.materialized == "table" else "CREATE VIEW"


def _write_files(step: RunStep, nodes: list[Node], results: Sequence[NodeResult]) -> None:
    moment = step.finished_at
    if moment is None:
        return
    listed: list[dict[str, Any]] = [
        {
            "unique_id": row.unique_id,
            "status": row.status,
            "message": row.message or None,
            "failures": row.failures,
            "execution_time": row.seconds,
            "thread_id": row.thread,
            "adapter_response": {},
            "timing": [
                {
                    "name": "execute",
                    "started_at": row.executing_at and row.executing_at.isoformat(),
                    "completed_at": row.finished_at and row.finished_at.isoformat(),
                }
            ],
        }
        for row in results
    ]
    documents = {
        "manifest.json": graph.manifest(nodes, moment),
        "run_results.json": graph.run_results(listed, moment),
    }
    Artifact.objects.bulk_create(_stored(step, *one) for one in documents.items())


def _stored(step: RunStep, path: str, document: dict[str, Any]) -> Artifact:
    content = json.dumps(document).encode()
    name = f"runs/{step.run_id}/steps/{step.index}/target/{path}"
    stored = storages["artifacts"].save(name, ContentFile(content))
    return Artifact(step=step, path=path, storage_name=stored, size=len(content))


# --- Now ------------------------------------------------------------------------------------


def write_present(places: Places, moment: datetime) -> list[Run]:
    """Two runs that go on and two that wait. Nothing works on them: they are to be looked at."""
    account = places.account
    jobs = [habit.job for habit in places.habits if habit.per_day > 24 and not habit.deactivated]
    runs = []
    for place, job in enumerate(jobs[:4]):
        latest = Run.objects.filter(job=job).latest("pk")
        run = Run(
            account=account,
            project=job.project,
            environment=job.environment,
            job=job,
            configuration=latest.configuration,
            concurrency_key=latest.concurrency_key,
            should_start_at=moment - timedelta(minutes=4),
            created_at=moment - timedelta(minutes=4 - place),
        )
        if place < 2:
            run.status, run.slot, run.token, run.attempts = RunStatus.RUNNING, place + 1, 1, 1
            run.worker, run.git_branch, run.git_sha = "worker-1", "main", latest.git_sha
            run.dequeued_at = run.started_at = moment - timedelta(minutes=3)
            run.last_heartbeat_at = moment
            run.lease_until = moment + timedelta(days=1)  # as long as they may be looked at
        runs.append(run)
    Run.objects.bulk_create(runs)
    RunTrigger.objects.bulk_create(
        RunTrigger(run=run, cause="scheduled", cause_category=CauseCategory.SCHEDULED)
        for run in runs
    )
    for run in runs[:2]:
        _write_work(run, moment)
    return runs


def _write_work(run: Run, moment: datetime) -> None:
    """A step of ``run`` that is half done."""
    step = RunStep.objects.create(
        run=run,
        index=4,
        kind="command",
        command=run.job.execute_steps[0],
        name=f"Invoke dbt with `{run.job.execute_steps[0]}`",
        builds=True,
        status=RunStatus.RUNNING,
        started_at=run.started_at,
    )
    nodes = graph.nodes_of(slug_of(run.project), NODES_OF_A_RUN)
    half = RunStep(run=run, index=4, started_at=run.started_at, finished_at=moment)
    half.pk = step.pk
    rows = list(_results(half, nodes[: NODES_OF_A_RUN // 2]))
    for row in rows[-3:]:
        row.status, row.finished_at, row.seconds, row.message = "running", None, None, ""
    NodeResult.objects.bulk_create(rows)


# --- Pull requests --------------------------------------------------------------------------


def write_pull_requests(project: Project, moment: datetime) -> None:
    """The pull requests of ``project``, what was decided of them, and who told us."""
    repository = project.repository
    checks = Job.objects.filter(project=project, job_type=JobType.CI)
    if repository is None:
        return
    authors = ("ana", "ben", "chiara")
    newest = FIRST_NUMBER + PULL_REQUESTS - 1
    pulls = PullRequest.objects.bulk_create(
        PullRequest(
            repository=repository,
            number=number,
            title=title_of(number),
            author=authors[number % len(authors)],
            url=f"https://git.example.com/shops/pull/{number}",
            head_ref=f"feature-{number}",
            head_sha=f"{number:040x}",
            base_ref="main",
            default_branch="main",
            is_draft=number == newest,
            is_fork=number == newest - 3,
            labels=["models"] if number % 3 else [],
            state=_state_of(number, newest),
            changed_at=moment - timedelta(days=2) * (newest - number),
        )
        for number in range(FIRST_NUMBER, newest + 1)
    )
    by_number = {pull.number: pull for pull in pulls}
    runs = Run.objects.filter(job__in=checks, trigger__github_pull_request_id__isnull=False)
    made = []
    for run in runs.select_related("trigger").order_by("pk"):
        pull = by_number[run.trigger.github_pull_request_id or 0]
        pull.head_sha, pull.changed_at = run.git_sha or "", run.created_at
        made.append(
            Check(
                pull_request=pull,
                job=run.job,
                head_sha=run.git_sha or "",
                decision=Decision.STARTED,
                run=run,
                asked_at=run.created_at,
                attempts=1,
            )
        )
    made += [
        Check(
            pull_request=by_number[newest],
            job=job,
            head_sha="d" * 40,
            decision=Decision.PASSED_OVER,
            why="It is a draft; the job does not build drafts.",
        )
        for job in checks
    ]
    Check.objects.bulk_create(made, batch_size=BATCH)
    PullRequest.objects.bulk_update(pulls, ["head_sha", "changed_at"], batch_size=100)
    hook = RepositoryHook(repository=repository)
    hook.secrets = {"current": "not a real one"}
    hook.save()
    WebhookDelivery.objects.bulk_create(
        _delivery(hook, pull, place)
        for pull in pulls
        if pull.changed_at > moment - KEPT
        for place in range(2)
    )


def _state_of(number: int, newest: int) -> PullRequestState:
    if number > newest - 6:
        return PullRequestState.OPEN
    return PullRequestState.MERGED if number % 5 else PullRequestState.CLOSED


def _delivery(hook: RepositoryHook, pull: PullRequest, place: int) -> WebhookDelivery:
    read = bool(pull.number % 9)
    return WebhookDelivery(
        account=hook.repository.account,
        hook=hook,
        delivery_id=f"{pull.number:08x}-{place:04x}",
        event="pull_request",
        action="synchronize" if place else "opened",
        repository_name="shops/coffee_shops",
        body=json.dumps({"action": "opened", "number": pull.number}),
        verdict=Verdict.DONE if read else Verdict.REFUSED,
        decision="Started a run." if read else "It is not signed with the secret of this webhook.",
        attempts=1,
        due_at=None,
        received_at=pull.changed_at + timedelta(seconds=place),
        decided_at=pull.changed_at + timedelta(seconds=place + 1),
    )


# --- Messages -------------------------------------------------------------------------------


def write_messages(places: Places, runs: Sequence[Run], moment: datetime) -> None:
    """Who is told, and what they were told of the newest runs, by mail and by webhook."""
    account, person = places.account, places.people[0]
    outside = Notification.objects.create(
        account=account, type=NotificationType.EXTERNAL, external_email="oncall@example.com"
    )
    member = Notification.objects.create(account=account, user=person)
    production = places.projects[0].environments.get(name="Production")
    NotificationRule.objects.bulk_create(
        [
            NotificationRule(notification=outside, event=Event.FAILURE, scope=Scope.ACCOUNT),
            NotificationRule(notification=outside, event=Event.RECOVERED, scope=Scope.ACCOUNT),
            NotificationRule(
                notification=member,
                event=Event.FAILURE,
                scope=Scope.ENVIRONMENT,
                scope_id=production.pk,
            ),
        ]
    )
    recent = [run for run in runs if run.created_at > moment - KEPT]
    failed = [run for run in recent if run.status == RunStatus.ERROR]
    Delivery.objects.bulk_create(
        Delivery(
            account=account,
            notification=outside,
            job=run.job,
            run=run,
            event=Event.FAILURE,
            address="oncall@example.com",
            key=f"example:{run.pk}",
            why="This address is told of every failed run.",
            subject=f"[{run.environment.name}] {run.job.name} failed",
            status=DeliveryStatus.SENT,
            due_at=None,
            attempts=1,
            sent_at=run.finished_at,
            created_at=run.finished_at or run.created_at,
        )
        for run in failed[-TOLD:]
    )
    _write_webhooks(places, recent[-POSTED:])


def _write_webhooks(places: Places, runs: Sequence[Run]) -> None:
    pager = _webhook(places, "Pager")
    gone = _webhook(places, "Catalogue")
    WebhookSubscription.objects.filter(pk=gone.pk).update(
        active=False, deactivate_reason="No post got through for three days."
    )
    Dispatch.objects.bulk_create(
        _dispatch(pager if place % 4 else gone, run, delivered=bool(place % 4))
        for place, run in enumerate(runs)
    )


def _webhook(places: Places, name: str) -> WebhookSubscription:
    webhook = WebhookSubscription(
        account=places.account,
        name=name,
        client_url=f"https://{name.lower()}.example.com/dbt",
        event_types=["job.run.completed", "job.run.errored"],
    )
    webhook.secrets = {"hmac": "not a real one"}
    webhook.save()
    return webhook


def _dispatch(webhook: WebhookSubscription, run: Run, *, delivered: bool) -> Dispatch:
    return Dispatch(
        subscription=webhook,
        run=run,
        event_type="job.run.completed",
        event_id=f"wev_{run.pk:020x}",
        key=f"example:{webhook.pk}:{run.pk}",
        body=json.dumps({"eventType": "job.run.completed", "data": {"runId": str(run.pk)}}),
        status=DeliveryStatus.SENT if delivered else DeliveryStatus.FAILED,
        due_at=None,
        attempts=1 if delivered else 6,
        answer_status=200 if delivered else None,
        error="" if delivered else "The server did not answer within 10 seconds.",
        sent_at=run.finished_at if delivered else None,
        created_at=run.finished_at or run.created_at,
    )
