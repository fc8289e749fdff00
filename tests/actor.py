"""One process of an installation under test: ``python -m tests.actor``.

Does what each line of its input says, ``["claim", 7, 1699999999.5]``, and answers with a line of
JSON. It lives on between two requests, since starting one costs seconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import django

django.setup()

from django.conf import settings  # noqa: E402 - Django must be set up first
from django.core.exceptions import ValidationError  # noqa: E402 - as above
from django.db import DatabaseError, connection, transaction  # noqa: E402 - as above
from django.utils.timezone import now  # noqa: E402 - as above

from accounts.invitations import accept_as_new, invite  # noqa: E402 - as above
from accounts.members import change_role, remove_member  # noqa: E402 - as above
from accounts.models import Account, Invitation, Membership, User  # noqa: E402 - as above
from accounts.setup import SetupIsClosed, make_first_owner  # noqa: E402 - as above
from ci import report  # noqa: E402 - as above
from ci.hooks import set_secret  # noqa: E402 - as above
from ci.models import Report, RepositoryHook  # noqa: E402 - as above
from environments.models import Environment, Project, Repository  # noqa: E402 - as above
from jobsvc import bell  # noqa: E402 - as above
from jobsvc.jobs.chain import Circle, Completion  # noqa: E402 - as above
from jobsvc.jobs.define import define_job, delete_job  # noqa: E402 - as above
from jobsvc.jobs.models import Job, JobType  # noqa: E402 - as above
from jobsvc.notifications import deliver, tell  # noqa: E402 - as above
from jobsvc.notifications.dispatch import post_what_is_due  # noqa: E402 - as above
from jobsvc.notifications.models import (  # noqa: E402 - as above
    Delivery,
    Dispatch,
    WebhookSubscription,
)
from jobsvc.runs import workers  # noqa: E402 - as above
from jobsvc.runs.cancel import cancel_run  # noqa: E402 - as above
from jobsvc.runs.chain import start_downstream_runs  # noqa: E402 - as above
from jobsvc.runs.deactivate import deactivate_failing_job  # noqa: E402 - as above
from jobsvc.runs.dispatch import answer_bell  # noqa: E402 - as above
from jobsvc.runs.front import move_to_front  # noqa: E402 - as above
from jobsvc.runs.models import ImpossibleMove, LostRace, Run, Worker  # noqa: E402 - as above
from jobsvc.runs.schedule import start_due_runs  # noqa: E402 - as above
from jobsvc.runs.trigger import Trigger, trigger_run  # noqa: E402 - as above
from jobsvc.runs.watch import watch  # noqa: E402 - as above
from jobsvc.statuses import CauseCategory, RunStatus  # noqa: E402 - as above
from tests.ci.payloads import (  # noqa: E402 - as above
    REMOTE,
    Hooked,
    pull_request,
    read_all,
)

NOW = Trigger(cause="test", cause_category=CauseCategory.API)


def wait_for_start(moment: float) -> None:
    """Let all processes of a race begin at once."""
    time.sleep(max(0.0, moment - time.time()))


def make_jobs(number: int, slots: int) -> list[int]:
    account = Account.objects.create(name="race", run_slots=slots)
    project = Project.objects.create(account=account, name="race")
    environment = Environment.objects.create(project=project, name="prod")
    return [
        define_job(
            Job(
                account=account,
                project=project,
                environment=environment,
                name=f"job {place}",
                execute_steps=["dbt build"],
            ),
            completion=None,
        ).pk
        for place in range(number)
    ]


def make_owners(number: int) -> list[int]:
    """An account's owners."""
    account = Account.objects.create(name="race")
    users = [
        User.objects.create_user(f"owner{place}.of.{account.pk}@example.com")
        for place in range(number)
    ]
    return [
        Membership.objects.create(account=account, user=user, permission_set="owner").pk
        for user in users
    ]


def stop_owning(membership_id: int, how: str, moment: float) -> bool:
    """Leave the account, or be a viewer of it from now on; False where that is refused."""
    member = Membership.objects.select_related("account", "user").get(pk=membership_id)
    wait_for_start(moment)
    try:
        if how == "leave":
            remove_member(member)
        else:
            change_role(member, "job_viewer")
    except ValidationError:
        return False
    return True


def set_up(place: int, moment: float) -> bool:
    """Make the first account and its owner; False where somebody else was first."""
    wait_for_start(moment)
    try:
        make_first_owner(f"account {place}", f"first{place}@example.com", "coffee-beans-7")
    except SetupIsClosed:
        return False
    return True


def tamper(statement: str) -> list[str]:
    """Which database it is, and how it refuses ``statement``; empty where it does not."""
    Account.objects.create(name="whose making is an audit event")
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    except DatabaseError as refused:
        return [connection.vendor, str(refused)]
    return [connection.vendor, ""]


def owners() -> int:
    """How many owners there are."""
    return Membership.objects.filter(permission_set="owner").count()


def make_invitation() -> int:
    """Somebody new is invited to an account."""
    account = Account.objects.create(name="race")
    return invite(account, f"new-to-{account.pk}@example.com", "member").pk


def join(invitation_id: int, moment: float) -> bool:
    """Accept an invitation as somebody new; False where that is refused in words."""
    invitation = Invitation.objects.get(pk=invitation_id)
    wait_for_start(moment)
    try:
        accept_as_new(invitation, password="coffee-beans-7", first_name="N", last_name="")
    except ValidationError:
        return False
    return True


def make_job_of_old() -> int:
    """A job none of whose saves was kept, as one from before an update."""
    [job_id] = make_jobs(1, 5)
    Job.objects.get(pk=job_id).revisions.all().delete()
    return job_id


def delete_at_once(job_id: int, moment: float) -> bool:
    """Delete a job."""
    job = Job.objects.get(pk=job_id)
    wait_for_start(moment)
    delete_job(job)
    return True


def make_pull_request_door() -> list[object]:
    """A CI job, and the hook and the secret of its repository's webhook."""
    [job_id] = make_jobs(1, 5)
    job = Job.objects.select_related("project").get(pk=job_id)
    repository = Repository.objects.create(account_id=job.account_id, remote_url=REMOTE)
    Project.objects.filter(pk=job.project_id).update(repository=repository)
    Job.objects.filter(pk=job_id).update(job_type="ci", triggers_github_webhook=True)
    hook, secret = set_secret(repository)
    return [job_id, hook.pk, secret]


def knock(
    hook_id: int, secret: str, told: list[tuple[str, str, float]], moment: float
) -> list[int]:
    """Deliver a pull request for each (id, commit, seconds), and read it; what was answered."""
    door = Hooked(RepositoryHook.objects.get(pk=hook_id), secret)
    wait_for_start(moment)
    answers = []
    for delivery, commit, at in told:
        payload = pull_request("synchronize", sha=commit, at=at)
        answers.append(door.post("pull_request", payload, delivery=delivery).status_code)
        read_all()
    return answers


def trigger(job_id: int, number: int = 1) -> list[int]:
    job = Job.objects.get(pk=job_id)
    return [trigger_run(job, NOW).pk for _ in range(number)]


def trigger_once(job_id: int, key: str, moment: float) -> int:
    job = Job.objects.get(pk=job_id)
    wait_for_start(moment)
    return trigger_run(job, replace(NOW, deduplication_key=key)).pk


def make_ci(job_id: int) -> None:
    Job.objects.filter(pk=job_id).update(job_type=JobType.CI)


def push(job_id: int, number: int, moment: float) -> int:
    """A new commit of the pull request of that number."""
    job = Job.objects.get(pk=job_id)
    wait_for_start(moment)
    return trigger_run(job, replace(NOW, github_pull_request_id=number)).pk


def claim(run_id: int, moment: float) -> bool:
    wait_for_start(moment)
    return Run.objects.claim(run_id, worker=str(os.getpid())) is not None


def to_front(run_id: int, moment: float = 0) -> bool:
    """Whether this moved the run to the front of its account's queue."""
    wait_for_start(moment)
    try:
        move_to_front(Run.objects.get(pk=run_id))
    except LostRace:
        return False
    return True


def answer(run_id: int, moment: float) -> int | None:
    """The run that a bell for this one started, by a process of the worker ``runs@box``."""
    wait_for_start(moment)
    run = answer_bell(run_id, worker=f"runs@box:{os.getpid()}")
    return run.pk if run else None


def drain(name: str, moment: float = 0) -> None:
    wait_for_start(moment)
    workers.drain(Worker.objects.get(name=name), by="ana@example.com", account_id=1)


def announce(name: str) -> None:
    workers.announce(name, processes=6, bells={"runs": 0}, dbt_versions=[])


def claim_each(run_ids: list[int], moment: float) -> list[int]:
    wait_for_start(moment)
    return [run_id for run_id in run_ids if Run.objects.claim(run_id, worker=str(os.getpid()))]


def cancel(run_id: int, moment: float) -> None:
    run = Run.objects.get(pk=run_id)
    wait_for_start(moment)
    cancel_run(run, by=f"process {os.getpid()}")


def finish(run_id: int, moment: float) -> bool:
    run = Run.objects.get(pk=run_id)
    wait_for_start(moment)
    try:
        run.move_to(RunStatus.ERROR, message=f"ended by {os.getpid()}")
    except (ImpossibleMove, LostRace):
        return False
    return True


def make_due(job_id: int) -> None:
    Job.objects.filter(pk=job_id).update(
        triggers_schedule=True, cron="0 0 1 1 *", next_run_at=django.utils.timezone.now()
    )


def make_due_together(number: int, slots: int, moment: str) -> None:
    """That many jobs of one account, all due at ``moment`` and then a day later."""
    due = datetime.fromisoformat(moment)
    made = Job.objects.filter(pk__in=make_jobs(number, slots))
    made.update(triggers_schedule=True, cron=f"{due.minute} {due.hour} * * *", next_run_at=due)


def beat(seconds: float) -> int:
    """Tick as often as it goes for that long; how many runs were started."""
    end, started = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        started += len(start_due_runs(django.utils.timezone.now()))
        time.sleep(0.02)
    return started


def record(seconds: float) -> int:
    """Be a worker for that long that claims runs and ends them, and does nothing else."""
    end, recorded = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for run_id in Run.objects.startable().values_list("pk", flat=True)[:4]:
            if run := Run.objects.claim(run_id, worker=str(os.getpid())):
                run.move_to(RunStatus.RUNNING)
                run.move_to(RunStatus.SUCCESS)
                recorded += 1
    return recorded


def fired() -> dict[str, list[float]]:
    """Of each job that started a run: how many seconds after its moment each was queued."""
    lags: dict[str, list[float]] = {str(pk): [] for pk in Job.objects.values_list("pk", flat=True)}
    for run in Run.objects.exclude(should_start_at=None):
        lags[str(run.job_id)].append((run.created_at - run.should_start_at).total_seconds())
    return lags


def queued_runs() -> int:
    """How many runs were ever queued."""
    return Run.objects.count()


def unfinished() -> int:
    return Run.objects.unfinished().count()


def started_twice() -> int:
    """How many runs were claimed more than once."""
    return Run.objects.filter(attempts__gt=1).count()


def make_dispatches(address: str, number: int) -> list[int]:
    """Events that are due for one new webhook at ``address``."""
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
    account = Account.objects.create(name="webhooks")
    webhook = WebhookSubscription.objects.create(
        account=account, name="Pager", client_url=address, secrets={"hmac": "secret"}
    )
    ids = [f"wev_{place}" for place in range(number)]
    bodies = [json.dumps({"eventId": event_id}) for event_id in ids]
    return [
        Dispatch.objects.create(
            subscription=webhook, body=body, event_id=event_id, key=f"{webhook.pk}:{event_id}"
        ).pk
        for event_id, body in zip(ids, bodies, strict=True)
    ]


def post_due(dispatch_id: int, moment: float) -> int:
    """How many posts this process made of what is due for a webhook."""
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
    wait_for_start(moment)
    return post_what_is_due(dispatch_id)


def make_reports(url: str, token: str, sha: str) -> dict[str, int]:
    """What the GitHub at ``url`` is to be told of a run of its pull request 7, by kind."""
    _speak_with(url)
    account = Account.objects.create(name="reports")
    repository = Repository.objects.create(
        account=account, remote_url=f"{url}/acme/shop.git", secrets={"password": token}
    )
    project = Project.objects.create(account=account, name="Shop", repository=repository)
    environment = Environment.objects.create(project=project, name="prod")
    job = Job.objects.create(
        account=account,
        project=project,
        environment=environment,
        name="CI",
        job_type=JobType.CI,
        execute_steps=["dbt build"],
    )
    run = trigger_run(job, replace(NOW, github_pull_request_id=7, git_sha=sha))
    for status in (RunStatus.STARTING, RunStatus.RUNNING, RunStatus.SUCCESS):
        run.move_to(status)
    report.touch_run(run)
    return dict(Report.objects.filter(repository=repository).values_list("kind", "pk"))


def post_report(url: str, report_id: int, moment: float) -> None:
    _speak_with(url)
    wait_for_start(moment)
    report.post(report_id)


def post_report_again(report_id: int) -> None:
    """Let a report that was posted be due, as if its worker had not lived to say that it was."""
    Report.objects.filter(pk=report_id).update(due_at=now(), posted="", external_id=None)


def _speak_with(url: str) -> None:
    settings.GITHUB_URL, settings.GITHUB_API_URL = url, f"{url}/api/v3"
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]


def free_webhooks() -> int:
    """Let the leases of dead senders run out."""
    return WebhookSubscription.objects.update(lease_until=now())


def dispatches(dispatch_ids: list[int]) -> list[tuple[str, int]]:
    """Status and number of tries of each of these events."""
    rows = Dispatch.objects.filter(pk__in=dispatch_ids).order_by("pk")
    return list(rows.values_list("status", "attempts"))


def make_fan_in(number: int, mode: str) -> list[int]:
    """A job that waits for ``number`` others, and those."""
    waiting, *others = make_jobs(number + 1, 5)
    job = Job.objects.get(pk=waiting)
    jobs = [{"job_id": other, "statuses": [10]} for other in others]
    job.extensions = {"upstream": {"mode": mode, "jobs": jobs}}
    define_job(job, completion=None)
    return [waiting, *others]


def follow(job_id: int, upstream_id: int, moment: float) -> bool:
    """Let a job start after another; False if that would close a circle."""
    job, upstream = Job.objects.get(pk=job_id), Job.objects.get(pk=upstream_id)
    wait_for_start(moment)
    try:
        define_job(job, completion=Completion(upstream, [10]))
    except Circle:
        return False
    return True


def ended(job_id: int, status: int) -> int:
    """A run of a job that has come to its end."""
    run = trigger_run(Job.objects.get(pk=job_id), NOW)
    claimed = Run.objects.claim(run.pk, worker=str(os.getpid()))
    assert claimed is not None
    claimed.move_to(RunStatus.RUNNING)
    claimed.move_to(RunStatus(status))
    return run.pk


def tell_of_ends(run_ids: list[int], moment: float) -> int:
    """React to the ends of runs; how many runs that started."""
    runs = [Run.objects.get(pk=run_id) for run_id in run_ids]
    wait_for_start(moment)
    for run in runs:
        deactivate_failing_job(run)
    return sum(len(start_downstream_runs(run)) for run in runs)


def runs_of(job_id: int) -> list[int]:
    return list(Run.objects.filter(job=job_id).order_by("pk").values_list("pk", flat=True))


def commits_of(job_id: int) -> list[list[object]]:
    """The commit of each run of a job, and its status."""
    runs = Run.objects.filter(job=job_id).order_by("pk")
    return [[run.configuration["git_sha"], run.status] for run in runs]


def failures_of(job_id: int) -> int:
    return Job.objects.get(pk=job_id).run_failure_count


def tick(moment: float) -> int:
    wait_for_start(moment)
    return len(start_due_runs(django.utils.timezone.now()))


def reap(moment: float) -> int:
    wait_for_start(moment)
    return len(watch())


def make_history(job_id: int, finished: int, queued: int) -> None:
    """Runs that ended long ago, and some that wait; the database knows how many there are."""
    job = Job.objects.get(pk=job_id)
    moment = django.utils.timezone.now()
    for status, number in ((RunStatus.SUCCESS, finished), (RunStatus.QUEUED, queued)):
        Run.objects.bulk_create(
            Run(
                account_id=job.account_id,
                project_id=job.project_id,
                environment_id=job.environment_id,
                job=job,
                status=status,
                finished_at=moment if status == RunStatus.SUCCESS else None,
                concurrency_key=f"job:{job_id}:{place % 50}",
            )
            for place in range(number)
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def explain(question: str) -> str:
    """How the database answers a question that is asked again and again."""
    questions = {
        "startable": Run.objects.startable(),
        "claim": Run.objects.startable().filter(pk=Run.objects.queued().latest("pk").pk),
        "active": Run.objects.active(),
        "slots": Run.objects.active().filter(account=1),
    }
    return questions[question].explain()


def fail_with_an_owner(address: str) -> int:
    """The move by which a run failed whose job has this owner."""
    (job_id,) = make_jobs(1, 5)
    Job.objects.filter(pk=job_id).update(extensions={"owners": [address]})
    run = Run.objects.get(pk=ended(job_id, RunStatus.ERROR))
    return run.transitions.latest("pk").pk


def tell_of_run(transition_id: int, moment: float = 0) -> int:
    """How many messages that a run moved made."""
    wait_for_start(moment)
    return len(tell.tell_of_run(transition_id))


def send_by(port: int, moment: float) -> int:
    """How many of the messages that wait this process sent by a server on loopback."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    wait_for_start(moment)
    return send_all()


def send_all() -> int:
    """How many of the messages that wait went out."""
    return sum(deliver.send_delivery(pk) for pk in Delivery.objects.values_list("pk", flat=True))


def send_and_die() -> None:
    """Send a message and be killed before that can be written down."""

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    deliver._close = die
    send_all()


def let_leases_of_mails_lapse() -> int:
    return Delivery.objects.update(lease_until=django.utils.timezone.now())


def ring(times: int) -> list[tuple[bool, float]]:
    """Whether the broker took each message, and how many seconds that took."""
    rung = []
    for _time in range(times):
        started = time.monotonic()
        taken = bell.publish("jobsvc.runs.tasks.sweep")
        rung.append((taken, time.monotonic() - started))
    return rung


def expire_leases() -> int:
    return Run.objects.active().update(lease_until=django.utils.timezone.now())


def statuses() -> dict[str, int]:
    return {str(run.pk): run.status for run in Run.objects.all()}


def cancel_is_asked(run_id: int) -> bool:
    return Run.objects.filter(pk=run_id, cancel_requested_at__isnull=False).exists()


def transitions(run_id: int) -> list[int]:
    run = Run.objects.get(pk=run_id)
    return list(run.transitions.order_by("pk").values_list("to_status", flat=True))


ACTIONS: dict[str, Callable[..., Any]] = {
    action.__name__: action
    for action in (
        make_jobs,
        make_pull_request_door,
        knock,
        commits_of,
        trigger,
        trigger_once,
        make_ci,
        push,
        claim,
        to_front,
        answer,
        announce,
        drain,
        claim_each,
        cancel,
        cancel_is_asked,
        finish,
        make_due,
        make_due_together,
        make_dispatches,
        post_due,
        free_webhooks,
        make_reports,
        post_report,
        post_report_again,
        dispatches,
        make_owners,
        stop_owning,
        set_up,
        owners,
        tamper,
        make_invitation,
        join,
        make_job_of_old,
        delete_at_once,
        make_fan_in,
        follow,
        ended,
        tell_of_ends,
        runs_of,
        failures_of,
        beat,
        record,
        fired,
        queued_runs,
        unfinished,
        started_twice,
        tick,
        reap,
        make_history,
        fail_with_an_owner,
        tell_of_run,
        send_by,
        send_all,
        send_and_die,
        let_leases_of_mails_lapse,
        explain,
        ring,
        expire_leases,
        statuses,
        transitions,
    )
}

if __name__ == "__main__":
    for line in sys.stdin:
        action, *arguments = json.loads(line)
        print(json.dumps(ACTIONS[action](*arguments)), flush=True)  # noqa: T201 - its answer
