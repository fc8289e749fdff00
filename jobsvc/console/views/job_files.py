"""Jobs out to a file of YAML, and in from one."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_safe

from accounts import audit
from accounts.models import Membership
from accounts.roles import Action
from environments import variables
from environments.models import Project
from jobsvc.console.access import member_of_account, page
from jobsvc.console.job_selection import selected
from jobsvc.console.jobs_file import LARGEST, Unreadable, written
from jobsvc.console.jobs_import import import_jobs
from jobsvc.statuses import State


def _project(membership: Membership, project_id: int) -> Project:
    return get_object_or_404(
        Project, pk=project_id, account=membership.account_id, state=State.ACTIVE
    )


@require_safe
@member_of_account()
def job_export(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """The jobs ``?job=1&job=2`` of a project, or all of them, as dbt-jobs-as-code reads them."""
    project = _project(membership, project_id)
    jobs = selected(request.GET, membership, project_id, all_if_none=True)
    ids = {job.pk for job in jobs}
    values = [row for row in variables.of_jobs(project) if row.job_definition_id in ids]
    text = written(jobs, values)
    audit.record(
        "job_definition.exported",
        project,
        account_id=membership.account_id,
        differences={"jobs": [None, sorted(ids)]},
    )
    response = HttpResponse(text, content_type="application/yaml; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="project-{project.pk}-jobs.yml"'
    response["Cache-Control"] = "no-store"
    return response


class ImportForm(forms.Form):
    """A file of jobs, chosen or put into the field; a chosen one wins."""

    file = forms.FileField(
        required=False,
        label="A file",
        widget=forms.FileInput(attrs={"accept": ".yml,.yaml,text/yaml"}),
    )
    text = forms.CharField(
        required=False,
        strip=False,
        label="Or its text",
        max_length=LARGEST,
        widget=forms.Textarea(
            attrs={
                "rows": 18,
                "spellcheck": "false",
                "class": "code",
                "placeholder": "jobs:\n  nightly-build:\n    name: Nightly build",
            }
        ),
    )

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        file = values.get("file")
        if file is not None:
            if file.size > LARGEST:
                raise ValidationError({"file": f"This file is more than {LARGEST // 1024} KB."})
            try:
                values["text"] = file.read().decode("utf-8-sig")
            except UnicodeDecodeError as wrong:
                raise ValidationError({"file": "This file is no text in UTF-8."}) from wrong
        if not self.errors and not (values.get("text") or "").strip():
            raise ValidationError({"text": "Choose a file, or put its text here."})
        return values


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS)
def job_import(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """Show what a file of jobs would make and change; do it by a POST that has the plan's seal."""
    project = _project(membership, project_id)
    context: dict[str, Any] = {"project": project, "form": ImportForm(), "unreadable": None}
    if request.method == "POST":
        form = ImportForm(request.POST, request.FILES)
        context["form"] = form
        if form.is_valid():
            text = form.cleaned_data["text"]
            seal = request.POST.get("seal") if request.POST.get("then") == "import" else None
            try:
                plan, done = import_jobs(text, project, membership, seal=seal)
            except Unreadable as wrong:
                context["unreadable"] = wrong
            else:
                if done:
                    messages.success(request, f"{plan.new} made, {plan.changed} changed.")
                    return redirect("console:jobs", membership.account_id, project_id)
                context |= {"plan": plan, "stale": seal is not None and not plan.problems}
            context["form"] = ImportForm(initial={"text": text})
    return page(request, membership, "console/job_import.html", context)
