"""Pages of pull requests and of what is told, each with all that it can show."""

from __future__ import annotations

from datetime import timedelta

from django.urls import reverse
from django.utils.timezone import now

from ci.models import CISchema, Report
from environments.models import Repository
from jobsvc.notifications.models import Delivery, Event, Mute
from jobsvc.runs import workers
from jobsvc.runs.models import Run, Worker
from tests.factories import (
    CheckFactory,
    DeliveryFactory,
    DispatchFactory,
    JobFactory,
    NotificationFactory,
    PullRequestFactory,
    RepositoryFactory,
    RepositoryHookFactory,
    WebhookFactory,
)

NEW, OLD = "a3f1" * 10, "7c02" * 10


def told_pages(life: dict[str, Run], hostile: str) -> list[str]:
    """Their addresses, for the account of ``life``."""
    one = life["success"]
    return [
        *_workers(one),
        *_pulls(life, hostile),
        *_repositories(one, hostile),
        *_told(life, hostile),
    ]


def _workers(one: Run) -> list[str]:
    """The queue with a worker that is up, one that is drained and one that is gone."""
    up, drained, gone = (
        workers.announce(f"runs@{name}", processes=2, bells={"runs": 3}, dbt_versions=["1.11.16"])
        for name in ("up", "drained", "gone")
    )
    workers.drain(drained, by="ana@example.com", account_id=one.account_id)
    Worker.objects.filter(pk=gone.pk).update(seen_at=now() - timedelta(minutes=20))
    return [
        reverse("console:queue", args=[one.account_id]),
        reverse("console:worker_drain", args=[one.account_id, up.pk]),
    ]


def _pulls(life: dict[str, Run], hostile: str) -> list[str]:
    one = life["success"]
    repository, job = one.project.repository, one.job
    other = JobFactory(environment=one.environment, name="Docs on pull requests", ci=True)
    pull = PullRequestFactory(
        repository=repository,
        number=41,
        title=f"Add fct_orders {hostile}",
        is_fork=True,
        head_sha=NEW,
        head_ref="feature/add-fct-orders-with-a-long-name",
        head_repository="ana/coffee_shop",
        url="https://github.com/example/coffee_shop/pull/41",
    )
    PullRequestFactory(repository=repository, number=40, title="Rename stg_payments")
    PullRequestFactory(repository=repository, number=39, state="merged")
    for sha, run in ((NEW, life["running"]), (OLD, life["error"])):
        CheckFactory(
            job=job,
            pull_request=pull,
            head_sha=sha,
            decision="started",
            why="",
            run=run,
            attempts=2,
        )
        why = "The pull request is from a fork. Somebody who may change jobs approves its commit."
        CheckFactory(job=other, pull_request=pull, head_sha=sha, decision="needs_approval", why=why)
    Report.objects.create(
        repository=repository, kind="status", job=job, sha=NEW, posted_at=now(), posted="x"
    )
    Report.objects.create(
        repository=repository, kind="status", job=job, sha=OLD, error="GitHub answered 401."
    )
    Report.objects.create(repository=repository, kind="comment", number=41, posted_at=now())
    for state in ("kept", "failed", "dropped"):
        CISchema.objects.create(
            account=one.account,
            job=job,
            environment=one.environment,
            connection=one.project.connection,
            pull_request_number=41,
            prefix=f"dbt_cloud_pr_{job.pk}_41",
            database="coffee_shop",
            schema=f"dbt_cloud_pr_{job.pk}_41_{state}",
            state=state,
            due_at=now() + timedelta(days=3) if state == "kept" else None,
            dropped_at=now() if state == "dropped" else None,
            error="The role may not drop it." if state == "failed" else "",
        )
    ids = [one.account_id, one.project_id]
    names = ("pull", "pull_approve", "pull_rerun", "pull_schemas_drop", "pull_comment")
    return [
        reverse("console:pulls", args=ids),
        *(reverse(f"console:{name}", args=[*ids, 41]) for name in names),
        reverse("console:pull", args=[*ids, 40]),
    ]


def _repositories(one: Run, hostile: str) -> list[str]:
    repository: Repository = one.project.repository
    hook = RepositoryHookFactory(repository=repository)
    deliveries = [
        DeliveryFactory(hook=hook),
        DeliveryFactory(
            hook=hook,
            event="pull_request",
            action="synchronize",
            decision=f"Job Nightly build: run {one.pk} was started.\nJob {hostile}: it is a draft.",
            body=f'{{"action": "synchronize", "title": "{"long " * 60}"}}',
        ),
        DeliveryFactory(hook=hook, event="push", verdict="refused", decision="It is of another."),
        DeliveryFactory(hook=hook, event="push", verdict="waiting", due_at=now()),
    ]
    elsewhere = RepositoryFactory(
        account=one.account, remote_url="git@gitlab.com:coffee/tea.git", public_key="ssh-ed25519 A"
    )
    Repository.objects.filter(pk=elsewhere.pk).update(git_clone_strategy="deploy_key")
    names = ("repository", "repository_secret", "repository_close")
    args = [one.account_id, repository.pk]
    return [
        reverse("console:repositories", args=[one.account_id]),
        *(reverse(f"console:{name}", args=args) for name in names),
        reverse("console:repository", args=[one.account_id, elsewhere.pk]),
        reverse("console:repository_delivery", args=[*args, deliveries[1].pk]),
    ]


def _told(life: dict[str, Run], hostile: str) -> list[str]:
    one, account = life["success"], life["success"].account
    notification = NotificationFactory(account=account)
    add = notification.rules.create
    for event in (Event.FIRST_FAILURE, Event.RECOVERED):
        add(event=event, scope="job", scope_id=one.job_id)
        add(event=event, scope="tag", tag=hostile[:60])
    NotificationFactory(
        account=account, type=101, external_email=None, slack_channel_name="#data-alerts"
    ).rules.create(event=Event.STILL_FAILING, scope="account", every=3)
    for number, (status, error) in enumerate(
        (("sent", ""), ("failed", f"550 5.1.1 no such mailbox {hostile}"), ("muted", ""))
    ):
        Delivery.objects.create(
            account=account,
            notification=notification,
            job=one.job,
            run=life["error"],
            event=Event.FIRST_FAILURE,
            address="team@example.org",
            key=f"told {number}",
            subject=f"[Production] Nightly build failed: {hostile}",
            status=status,
            error=error,
            due_at=None,
        )
    address = account.memberships.get().user.email.lower()
    Mute.objects.create(account=account, address=address, job=one.job)
    webhook = WebhookFactory(account=account, http_status_code="200", dispatched_at=now())
    WebhookFactory(
        account=account,
        name=hostile,
        active=False,
        deactivate_reason="Its receiver answered 410: gone.",
        client_url=f"https://pager.example.com/{'long/' * 30}",
    )
    failed = DispatchFactory(
        subscription=webhook,
        run=life["error"],
        status="failed",
        due_at=None,
        attempts=6,
        answer_status=500,
        answer_body="<html>oops</html>",
        error="The receiver answered 500.",
    )
    DispatchFactory(subscription=webhook, run=one)
    lists = (
        "settings",
        "notifications",
        "notification_new",
        "notification_deliveries",
        "webhooks",
        "webhook_new",
    )
    return [
        *(reverse(f"console:{name}", args=[account.pk]) for name in lists),
        *(
            reverse(f"console:{name}", args=[account.pk, notification.pk])
            for name in (
                "notification",
                "notification_edit",
                "notification_delete",
                "notification_preview",
            )
        ),
        *(
            reverse(f"console:{name}", args=[account.pk, webhook.pk])
            for name in ("webhook", "webhook_edit", "webhook_delete")
        ),
        reverse("console:webhook_dispatch", args=[account.pk, webhook.pk, failed.pk]),
    ]
