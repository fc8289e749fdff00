"""Projects and connections: what is asked beside the fields of a warehouse."""

from __future__ import annotations

from typing import Any

from django import forms

from environments.define import connections_for
from environments.models import Connection, Project

# Of texts that no browser is to fill in, though a secret stands beside them.
PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}


class ProjectForm(forms.Form):
    """A project, where its code is, and what its environments connect to by default."""

    name = forms.CharField(max_length=255, widget=forms.TextInput(attrs=PLAIN))
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}))
    remote_url = forms.CharField(
        label="Git address",
        max_length=1000,
        required=False,
        help_text="https://host/path with an access token, or git@host:path with a deploy key, "
        "which is made for you.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    password = forms.CharField(
        label="Access token",
        max_length=1000,
        required=False,
        strip=False,
        help_text="For https, where the repository is not public. Read access is enough.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    dbt_project_subdirectory = forms.CharField(
        label="Folder of the dbt project",
        max_length=1000,
        required=False,
        help_text="Where dbt_project.yml is, if not at the top of the repository.",
        widget=forms.TextInput(attrs=PLAIN),
    )
    connection = forms.ModelChoiceField(
        Connection.objects.none(),
        required=False,
        empty_label="none",
        help_text="For environments that name none of their own.",
    )

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)
        self.project = project
        choice: Any = self.fields["connection"]
        choice.queryset = connections_for(project).order_by("name", "pk")
        repository = project.repository
        self.initial = {
            "name": project.name,
            "description": project.description,
            "remote_url": repository.remote_url if repository else "",
            "dbt_project_subdirectory": project.dbt_project_subdirectory or "",
            "connection": project.connection_id,
        }
        if repository and repository.secrets.get("password"):
            self.fields["password"].help_text = (
                "Set, and not shown again. Leave it empty to keep it; at another host it is "
                "forgotten."
            )
            self.fields["password"].widget.attrs["placeholder"] = "••••••••"

    def fill(self) -> Project:
        """The project with what was typed, its repository apart; not yet saved."""
        typed, row = self.cleaned_data, self.project
        row.name = typed["name"]
        row.description = typed["description"]
        row.dbt_project_subdirectory = typed["dbt_project_subdirectory"] or None
        row.connection = typed["connection"]
        return row


class ConnectionForm(forms.Form):
    """What every connection has."""

    name = forms.CharField(
        max_length=255,
        help_text="Such as “Warehouse” or “Warehouse, read only”.",
        widget=forms.TextInput(attrs=PLAIN),
    )
