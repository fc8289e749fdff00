"""What comparing found of runs: read from the artifact that the step left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.files.storage import storages

from jobsvc.engine.compare import ARTIFACT
from jobsvc.engine.plan import StepKind
from jobsvc.engine.results import LARGEST
from jobsvc.runs.models import Artifact, Run

MOST_MODELS = 100  # of one run; the artifact has all


def changes_of(runs: Sequence[Run]) -> Mapping[int, dict[str, Any]]:
    """What each of ``runs`` that compared found, by id: a summary and its models.

    Values of rows, where the job keeps any, stay in the artifact.
    """
    files = Artifact.objects.filter(
        step__run__in=runs, step__kind=StepKind.COMPARE, path=ARTIFACT, size__lte=LARGEST
    )
    shown = {file.step.run_id: _shown(file) for file in files.select_related("step")}
    return {run_id: found for run_id, found in shown.items() if found is not None}


def _shown(file: Artifact) -> dict[str, Any] | None:
    """None where the file has just been pruned, or a secret in it was masked out of its shape."""
    try:
        with storages["artifacts"].open(file.storage_name, "rb") as opened:
            found = json.load(opened)
    except (OSError, ValueError):
        return None
    models = found["models"][:MOST_MODELS]
    return {
        "step": file.step.index,
        "artifact": ARTIFACT,
        "note": found["note"],
        "summary": found["summary"],
        "holds_rows": found["holds_rows"],
        "models": [{key: model[key] for key in model if key != "sample"} for model in models],
    }
