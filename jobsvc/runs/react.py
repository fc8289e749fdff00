"""Feed the transitions that nobody has reacted to, oldest first, to each reaction."""

from __future__ import annotations

from django.conf import settings
from django.utils.timezone import now

from jobsvc import bell
from jobsvc.runs.models import RunTransition

MOST = 1000  # transitions handed on in one go; the next sweep sees the rest


def react_to_transitions() -> int:
    """Publish every reaction to every waiting transition; return how many were waiting.

    A transition is marked only after all its reactions were published: a crash repeats a
    reaction and never skips one.
    """
    waiting = RunTransition.objects.filter(reacted_at=None).order_by("id")[:MOST]
    handled = 0
    for transition_id in list(waiting.values_list("id", flat=True)):
        if not all(bell.publish(reaction, transition_id) for reaction in settings.RUN_REACTIONS):
            break  # the broker is away: this one and the rest wait for the next sweep
        RunTransition.objects.filter(pk=transition_id).update(reacted_at=now())
        handled += 1
    return handled
