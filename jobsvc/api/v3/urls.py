"""Addresses of version 3, below ``/api/v3/``."""

from __future__ import annotations

from jobsvc.api.routes import both
from jobsvc.api.v2.accounts import Accounts, OneAccount
from jobsvc.api.v2.users import Users
from jobsvc.api.v3 import (
    audit_logs,
    ci_schemas,
    connections,
    credentials,
    dbt_versions,
    environment_variables,
    environments,
    extended_attributes,
    groups,
    projects,
    pull_requests,
    repositories,
    repository_hooks,
    service_tokens,
    webhooks,
)

urlpatterns = [
    *both("accounts", Accounts),
    *both("accounts/<id:account_id>", OneAccount),
    *both("accounts/<id:account_id>/users", Users),
    *audit_logs.urlpatterns,
    *projects.urlpatterns,
    *ci_schemas.urlpatterns,
    *environments.urlpatterns,
    *dbt_versions.urlpatterns,
    *environment_variables.urlpatterns,
    *connections.urlpatterns,
    *credentials.urlpatterns,
    *repositories.urlpatterns,
    *repository_hooks.urlpatterns,
    *pull_requests.urlpatterns,
    *extended_attributes.urlpatterns,
    *service_tokens.urlpatterns,
    *groups.urlpatterns,
    *webhooks.urlpatterns,
]
