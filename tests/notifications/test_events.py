"""What the end of a run means to people, and who is told of it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from jobsvc.engine.plan import FailureClass
from jobsvc.jobs.models import Job
from jobsvc.notifications import tell
from jobsvc.notifications.events import events_of, standing_of
from jobsvc.notifications.models import TO_BE_ASKED_FOR, Delivery, Event, Scope, ToldOfJob
from jobsvc.runs.cancel import cancel_retry
from jobsvc.runs.models import Run, RunTransition
from jobsvc.statuses import CancelReason, CauseCategory
from tests.factories import (
    ArtifactFactory,
    JobFactory,
    MembershipFactory,
    RunFactory,
    RunTriggerFactory,
)
from tests.notifications.mails import (
    ADDRESS,
    FAILED_NODE,
    asked,
    ended,
    failed_with_results,
    member_asked,
    told_of,
)

pytestmark = pytest.mark.django_db

WARNED_NODE = {"unique_id": "test.shop.not_null_id.1", "status": "warn", "message": "Got 3 results"}


def events(run: Run) -> set[Event]:
    return set(events_of(run, standing_of(run)))


# --- What an end is ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "fields", "expected"),
    [
        ("succeeded", {}, {Event.SUCCESS}),
        ("succeeded", {"has_warnings": True}, {Event.SUCCESS, Event.WARNING}),
        ("failed", {}, {Event.FAILURE, Event.FIRST_FAILURE}),
        ("failed", {"has_warnings": True}, {Event.FAILURE, Event.FIRST_FAILURE, Event.WARNING}),
        (
            "failed",
            {"failure_class": FailureClass.TIMEOUT},
            {Event.FAILURE, Event.FIRST_FAILURE, Event.TIMEOUT},
        ),
        ("failed", {"will_retry_at": now()}, set()),
        ("cancelled", {"cancel_reason": CancelReason.USER}, {Event.CANCELLED}),
        (
            "cancelled",
            {"cancel_reason": CancelReason.TIMEOUT},
            {Event.CANCELLED, Event.TIMEOUT},
        ),
        ("cancelled", {"cancel_reason": CancelReason.SUPERSEDED}, set()),
        ("cancelled", {"cancel_reason": CancelReason.OVER_SCHEDULED}, set()),
        ("cancelled", {"cancel_reason": CancelReason.SKIPPED}, set()),
        ("succeeded", {"outcome": "skipped"}, {Event.SUCCESS}),
        ("running", {}, set()),
    ],
)
def test_an_end_is_these_events(
    job: Job, how: str, fields: dict[str, Any], expected: set[Event]
) -> None:
    assert events(RunFactory(job=job, **{how: True}, **fields)) == expected


def test_a_success_after_failures_is_a_recovery(job: Job) -> None:
    RunFactory(job=job, failed=True)

    assert Event.RECOVERED in events(RunFactory(job=job, succeeded=True))


def test_only_the_first_success_after_failures_is_a_recovery(job: Job) -> None:
    RunFactory(job=job, failed=True)
    RunFactory(job=job, succeeded=True)

    assert events(RunFactory(job=job, succeeded=True)) == {Event.SUCCESS}


def test_a_cancelled_run_between_hides_no_recovery(job: Job) -> None:
    RunFactory(job=job, failed=True)
    RunFactory(job=job, cancelled=True)

    assert Event.RECOVERED in events(RunFactory(job=job, succeeded=True))


def test_a_skipped_run_recovers_nothing(job: Job) -> None:
    RunFactory(job=job, failed=True)

    assert events(RunFactory(job=job, succeeded=True, outcome="skipped")) == {Event.SUCCESS}


def test_a_second_failure_still_fails(job: Job) -> None:
    first = RunFactory(job=job, failed=True)
    second = RunFactory(job=job, failed=True)

    assert events(second) == {Event.FAILURE, Event.STILL_FAILING}
    assert standing_of(second).since == first


def test_a_failure_that_was_retried_by_itself_is_no_failure_before(job: Job) -> None:
    RunFactory(job=job, failed=True, will_retry_at=now())

    assert Event.RECOVERED not in events(RunFactory(job=job, succeeded=True))


def test_pull_requests_of_a_ci_job_do_not_fail_for_each_other() -> None:
    job = JobFactory(ci=True)
    RunFactory(job=job, failed=True, concurrency_key=f"job:{job.pk}:pr:1")

    other = RunFactory(job=job, failed=True, concurrency_key=f"job:{job.pk}:pr:2")

    assert Event.FIRST_FAILURE in events(other)


@pytest.mark.parametrize(("failures", "expected"), [(1, False), (2, True), (3, False)])
def test_half_of_the_failures_that_deactivate_are_a_warning(failures: int, expected: bool) -> None:
    job = JobFactory(extensions={"deactivate_after": 4})
    runs = [RunFactory(job=job, failed=True) for _ in range(failures)]

    assert (Event.NEAR_DEACTIVATION in events(runs[-1])) is expected


# --- Who is told -------------------------------------------------------------------------


def test_a_rule_is_for_its_own_job(job: Job) -> None:
    other = JobFactory(environment=job.environment)
    asked(other, Event.FAILURE)

    assert told_of(ended(job)) == []


@pytest.mark.parametrize("scope", [Scope.ENVIRONMENT, Scope.PROJECT, Scope.ACCOUNT, Scope.TAG])
def test_a_rule_may_be_for_all_jobs_of_a_place(job: Job, scope: Scope) -> None:
    Job.objects.filter(pk=job.pk).update(extensions={"tags": ["finance"]})
    ids = {Scope.ENVIRONMENT: job.environment_id, Scope.PROJECT: job.project_id}
    tag = "finance" if scope == Scope.TAG else ""
    asked(job, Event.FAILURE, scope=scope, scope_id=ids.get(scope, 0), tag=tag)

    assert [one.address for one in told_of(ended(Job.objects.get(pk=job.pk)))] == [ADDRESS]


def test_another_accounts_rule_for_everything_is_not_for_this_run(job: Job) -> None:
    asked(JobFactory(), Event.FAILURE, scope=Scope.ACCOUNT, scope_id=0)

    assert told_of(ended(job)) == []


def test_whoever_is_reached_by_several_rules_is_told_once(job: Job) -> None:
    asked(job, Event.FAILURE, Event.FIRST_FAILURE)
    asked(job, Event.FAILURE, scope=Scope.ACCOUNT, scope_id=0, address=ADDRESS.upper())

    (delivery,) = told_of(ended(job))

    assert delivery.event == Event.FIRST_FAILURE


def test_still_failing_comes_each_so_many_failures(job: Job) -> None:
    asked(job, Event.STILL_FAILING, every=2)

    told = [len(told_of(ended(job))) for _ in range(6)]

    assert told == [0, 0, 1, 0, 1, 0]


def test_a_member_is_told(job: Job) -> None:
    member = MembershipFactory(account=job.account, permission_set="job_viewer").user
    member_asked(member, job, Event.FAILURE)

    assert [one.address for one in told_of(ended(job))] == [member.email]


@pytest.mark.parametrize("change", ["left", "may not read", "is not active"])
def test_who_may_not_read_the_account_is_told_nothing(job: Job, change: str) -> None:
    membership = MembershipFactory(account=job.account)
    member_asked(membership.user, job, Event.FAILURE)
    match change:
        case "left":
            membership.delete()
        case "may not read":
            membership.permission_set = "metadata_only"
            membership.save()
        case _:
            membership.user.is_active = False
            membership.user.save()

    assert told_of(ended(job)) == []


def test_a_deleted_notification_tells_nobody(job: Job) -> None:
    notification = asked(job, Event.FAILURE)
    notification.state = 2
    notification.save()

    assert told_of(ended(job)) == []


@pytest.mark.parametrize(("how", "told"), [("failed", 1), ("succeeded", 0), ("cancelled", 0)])
def test_an_owner_is_told_of_failures_without_asking(how: str, told: int) -> None:
    job = JobFactory(extensions={"owners": ["Owner@Example.org", "no address"]})

    assert [one.address for one in told_of(ended(job, how))] == ["owner@example.org"] * told


def test_an_owner_is_told_of_the_recovery() -> None:
    job = JobFactory(extensions={"owners": ["owner@example.org"]})
    ended(job)

    (delivery,) = told_of(ended(job, "succeeded"))

    assert delivery.event == Event.RECOVERED


def with_manifest(run: Run, email: Any) -> Run:
    """Its models are in the group finance, whose owner has this e-mail address; its tests not."""
    manifest = {
        "groups": {"group.shop.finance": {"name": "finance", "owner": {"email": email}}},
        "nodes": {
            "model.shop.fct_payments": {"resource_type": "model", "group": "finance"},
            "model.shop.other": {"resource_type": "model", "group": None},
            "test.shop.not_null_id.1": {
                "resource_type": "test",
                "attached_node": "model.shop.fct_payments",
            },
        },
    }
    step = run.steps.get()
    ArtifactFactory(step=step, path="manifest.json", content=json.dumps(manifest).encode())
    return run


@pytest.mark.parametrize(
    ("email", "addresses"),
    [
        ("fin@example.org", ["fin@example.org"]),
        (["fin@example.org", "cfo@example.org"], ["fin@example.org", "cfo@example.org"]),
        (None, []),
        ({"any": "thing"}, []),
        (["x\r\nBcc: all@example.org"], []),
    ],
)
def test_the_owner_of_a_model_group_is_told_of_their_models(
    job: Job, email: Any, addresses: list[str]
) -> None:
    other = {"unique_id": "model.shop.other", "status": "error", "message": "no"}
    run = with_manifest(failed_with_results(job, FAILED_NODE, other), email)

    told = told_of(run)

    assert [one.address for one in told] == addresses
    assert all(one.details == {"nodes": ["model.shop.fct_payments"]} for one in told)


def test_a_test_that_warns_belongs_to_the_group_of_its_model(job: Job) -> None:
    run = with_manifest(failed_with_results(job, WARNED_NODE), "fin@example.org")

    (delivery,) = told_of(run)

    assert (delivery.event, delivery.details) == (
        Event.WARNING,
        {"nodes": ["test.shop.not_null_id.1"]},
    )


@pytest.mark.parametrize(("rule", "told"), [({}, 1), ({"scope": Scope.ACCOUNT, "scope_id": 0}, 0)])
def test_of_pull_requests_only_who_asked_for_the_job_is_told(
    rule: dict[str, Any], told: int
) -> None:
    job = JobFactory(ci=True, extensions={"owners": ["owner@example.org"]})
    asked(job, Event.FAILURE, **rule)

    assert len(told_of(ended(job))) == told


def test_a_run_for_a_pull_request_of_any_job_is_no_news_of_production() -> None:
    job = JobFactory(extensions={"owners": ["owner@example.org"]})
    run = ended(job, trigger=None)
    RunTriggerFactory(run=run, github_pull_request_id=7, cause_category=CauseCategory.API)

    assert told_of(Run.objects.get(pk=run.pk)) == []


# --- Once each ---------------------------------------------------------------------------


def test_a_reaction_that_comes_twice_tells_once(job: Job) -> None:
    asked(job, Event.FAILURE)
    run = ended(job)

    told_of(run)
    told_of(run)

    assert Delivery.objects.count() == 1


def test_a_lost_reaction_is_made_up_for(job: Job) -> None:
    asked(job, Event.FAILURE)
    run = ended(job)
    run.transitions.update(created_at=now() - timedelta(minutes=1))

    tell.tell_the_untold()
    tell.tell_the_untold()

    assert [one.run for one in Delivery.objects.all()] == [run]


def test_an_end_of_last_week_is_no_news(job: Job) -> None:
    asked(job, Event.FAILURE)
    ended(job).transitions.update(created_at=now() - timedelta(days=7))

    tell.tell_the_untold()

    assert not Delivery.objects.exists()


def test_a_retry_that_is_called_off_makes_the_failure_the_last(job: Job) -> None:
    asked(job, Event.FAILURE)
    run = ended(job, will_retry_at=now() + timedelta(hours=1))
    run.transitions.update(created_at=now() - timedelta(minutes=1))
    assert told_of(run) == []

    cancel_retry(run.pk, "Nobody wants it.")
    tell.tell_the_untold()

    assert Delivery.objects.count() == 1


def test_a_move_that_is_no_end_tells_nobody(job: Job) -> None:
    asked(job, *TO_BE_ASKED_FOR)
    run = RunFactory(job=job, running=True)
    RunTransition.objects.create(run=run, to_status=run.status)

    assert told_of(run) == []


# --- Of jobs -----------------------------------------------------------------------------


def test_a_deactivated_job_is_told_of_once(job: Job) -> None:
    asked(job, Event.DEACTIVATED)
    Job.objects.filter(pk=job.pk).update(
        deactivated=True, deactivation_reason="It failed, up to 7."
    )

    told = [len(tell.tell_of_jobs()) for _ in range(2)]

    assert told == [1, 0]


def test_a_second_deactivation_is_told_of_again(job: Job) -> None:
    asked(job, Event.DEACTIVATED)
    for reason in ("up to run 7", "up to run 9"):
        Job.objects.filter(pk=job.pk).update(deactivated=True, deactivation_reason=reason)
        tell.tell_of_jobs()

    assert Delivery.objects.count() == 2


def test_a_moment_without_a_run_is_told_of_once(job: Job) -> None:
    asked(job, Event.MISSED_SCHEDULE)
    Job.objects.filter(pk=job.pk).update(missed_at=now() - timedelta(minutes=2))

    told = [len(tell.tell_of_jobs()) for _ in range(2)]

    assert told == [1, 0]


def test_what_was_told_of_jobs_is_forgotten_once_it_can_be_no_news(job: Job) -> None:
    reason = "It failed, up to 7."
    Job.objects.filter(pk=job.pk).update(
        deactivated=True, deactivation_reason=reason, missed_at=now() - timedelta(minutes=2)
    )
    tell.tell_of_jobs()
    much_later = now() + timedelta(days=400)

    assert tell.prune(much_later) == 1
    assert ToldOfJob.objects.get().event == Event.DEACTIVATED
    Job.objects.filter(pk=job.pk).update(deactivated=False, deactivation_reason=None)
    assert tell.prune(much_later) == 1


def test_who_asked_for_deactivations_is_warned_half_way() -> None:
    job = JobFactory(extensions={"deactivate_after": 2})
    asked(job, Event.DEACTIVATED)

    (delivery,) = told_of(ended(job))

    assert delivery.event == Event.NEAR_DEACTIVATION
