"""The console's addresses: dbt Cloud's own, because tools build and print those."""

from __future__ import annotations

from collections.abc import Callable

from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, register_converter
from django.urls.converters import IntConverter, StringConverter
from django.views.generic import RedirectView

from jobsvc.console.views import (
    audit,
    badge,
    connections,
    docs,
    environments,
    go,
    groups,
    home,
    invitations,
    job_bulk,
    job_changes,
    job_editor,
    job_files,
    jobs,
    launch,
    lineage,
    members,
    nodes,
    notification_preview,
    notifications,
    profile,
    projects,
    pulls,
    queue,
    repositories,
    retry,
    run_artifacts,
    run_config,
    run_docs,
    run_list,
    run_logs,
    run_results,
    runs,
    schedule,
    settings,
    setup,
    shell,
    system,
    timing,
    tokens,
    variables,
    webhooks,
)

app_name = "console"


class NumberConverter(IntConverter):
    """An id that fits a 64-bit column: a longer number is no page, not a server error."""

    regex = "[0-9]{1,18}"


class VariableConverter(StringConverter):
    """The name of an environment variable, which no other word of an address looks like."""

    regex = "[A-Z_][A-Z0-9_]{0,254}"


class NodeConverter(StringConverter):
    """The unique id of a node, in which anything may stand."""

    regex = r"[\s\S]{1,500}"


register_converter(NumberConverter, "number")
register_converter(NodeConverter, "node")
register_converter(VariableConverter, "variable")

PROJECT = "deploy/<number:account_id>/projects/<number:project_id>"
ENVIRONMENT = f"{PROJECT}/environments/<number:environment_id>"
VARIABLE = f"{PROJECT}/variables/<variable:variable_name>"
WORKER = "deploy/<number:account_id>/queue/workers/<number:worker_id>"
SETTINGS = "deploy/<number:account_id>/settings"
CONNECTION = f"{SETTINGS}/connections/<number:connection_id>"
REPOSITORY = f"{SETTINGS}/repositories/<number:repository_id>"
NOTIFICATION = f"{SETTINGS}/notifications/<number:notification_id>"
WEBHOOK = f"{SETTINGS}/webhooks/<slug:webhook_id>"


def both(route: str, view: Callable[..., HttpResponseBase], name: str) -> list[URLPattern]:
    """``route`` with a slash at its end and without; links are made with it."""
    return [path(f"{route}/", view, name=name), path(route, view)]


urlpatterns = [
    path("", shell.start, name="start"),
    path("theme", shell.set_theme, name="theme"),
    *both("profile", profile.profile, "profile"),
    *both("profile/mutes/<number:mute_id>/remove", profile.unmute, "unmute"),
    *both("setup", setup.first_owner, "first_owner"),
    *both("deploy/<number:account_id>", home.home, "account"),
    *both("deploy/<number:account_id>/setup", setup.setup, "setup"),
    *both("deploy/<number:account_id>/setup/sample", setup.setup_sample, "setup_sample"),
    *both("deploy/<number:account_id>/setup/test", setup.setup_test, "setup_test"),
    *both("deploy/<number:account_id>/setup/job", setup.setup_job, "setup_job"),
    *both("deploy/<number:account_id>/go", go.go, "go"),
    *both("deploy/<number:account_id>/queue", queue.queue, "queue"),
    *both(f"{WORKER}/drain", queue.worker_drain, "worker_drain"),
    *both(f"{WORKER}/resume", queue.worker_resume, "worker_resume"),
    *both("deploy/<number:account_id>/schedule", schedule.schedule, "schedule"),
    *both("deploy/<number:account_id>/schedule/calendar", schedule.calendar_switch, "calendar"),
    path("feeds/<str:key>/schedule.ics", schedule.calendar_feed, name="calendar_feed"),
    *both("deploy/<number:account_id>/runs", run_list.run_list, "runs"),
    *both("deploy/<number:account_id>/runs/cancel", run_list.cancel_queued, "cancel_queued"),
    *both(f"{PROJECT}/docs", docs.docs, "docs"),
    *both(f"{PROJECT}/docs/link", docs.docs_link, "docs_link"),
    *both(f"{PROJECT}/docs/public", docs.docs_public, "docs_public"),
    *both(f"{PROJECT}/jobs/<number:job_id>/docs", run_docs.job_docs_on, "job_docs_on"),
    *both(PROJECT, RedirectView.as_view(pattern_name="console:jobs"), "project"),
    *both(f"{PROJECT}/jobs", jobs.job_list, "jobs"),
    *both(f"{PROJECT}/jobs/selected", job_bulk.job_bulk, "job_bulk"),
    *both(f"{PROJECT}/jobs/export", job_files.job_export, "job_export"),
    *both(f"{PROJECT}/jobs/import", job_files.job_import, "job_import"),
    *both(f"{PROJECT}/jobs/new", job_editor.new, "job_new"),
    *both(f"{PROJECT}/jobs/new/check", job_editor.check, "job_new_check"),
    *both(f"{PROJECT}/jobs/new/schedule", job_editor.schedule_preview, "schedule_preview"),
    *both(f"{PROJECT}/jobs/<number:job_id>", jobs.job_detail, "job"),
    *both(f"{PROJECT}/jobs/<number:job_id>/settings", job_editor.settings, "job_settings"),
    *both(f"{PROJECT}/jobs/<number:job_id>/settings/check", job_editor.check, "job_check"),
    *both(f"{PROJECT}/jobs/<number:job_id>/runs", jobs.job_runs, "job_runs"),
    *both(f"{PROJECT}/jobs/<number:job_id>/changes", job_changes.job_changes, "job_changes"),
    *both(
        f"{PROJECT}/jobs/<number:job_id>/changes/<number:revision_number>/restore",
        job_changes.job_restore,
        "job_restore",
    ),
    *both(f"{PROJECT}/jobs/<number:job_id>/badge", badge.job_badge_page, "job_badge_page"),
    path(f"{PROJECT}/jobs/<number:job_id>/badge.svg", badge.job_badge, name="job_badge"),
    *both(f"{PROJECT}/jobs/<number:job_id>/run", jobs.run_now, "run_now"),
    *both(f"{PROJECT}/jobs/<number:job_id>/reactivate", jobs.job_reactivate, "job_reactivate"),
    *both(f"{PROJECT}/jobs/<number:job_id>/delete", jobs.job_delete, "job_delete"),
    *both(f"{PROJECT}/jobs/<number:job_id>/launch", launch.launch, "launch"),
    *both(f"{PROJECT}/jobs/<number:job_id>/pause", schedule.job_pause, "job_pause"),
    *both(f"{PROJECT}/jobs/<number:job_id>/resume", schedule.job_resume, "job_resume"),
    *both(f"{PROJECT}/runs/<number:run_id>", runs.run_detail, "run"),
    *both(f"{PROJECT}/runs/<number:run_id>/front", queue.run_front, "run_front"),
    *both(f"{PROJECT}/runs/<number:run_id>/cancel", runs.run_cancel, "run_cancel"),
    *both(f"{PROJECT}/runs/<number:run_id>/retry", retry.run_retry, "run_retry"),
    *both(f"{PROJECT}/runs/<number:run_id>/logs", run_logs.run_logs, "run_logs"),
    *both(f"{PROJECT}/runs/<number:run_id>/logs/tail", runs.log_tail, "log_tail"),
    *both(f"{PROJECT}/runs/<number:run_id>/results", run_results.run_results, "run_results"),
    *both(f"{PROJECT}/runs/<number:run_id>/config", run_config.run_config, "run_config"),
    *both(f"{PROJECT}/runs/<number:run_id>/docs", run_docs.run_docs, "run_docs"),
    *both(f"{PROJECT}/runs/<number:run_id>/docs/page", run_docs.run_docs_page, "run_docs_page"),
    *both(f"{PROJECT}/runs/<number:run_id>/timing", timing.run_timing, "run_timing"),
    *both(f"{PROJECT}/runs/<number:run_id>/lineage", lineage.run_lineage, "run_lineage"),
    *both(f"{PROJECT}/runs/<number:run_id>/artifacts", run_artifacts.artifact_list, "artifacts"),
    path(
        f"{PROJECT}/runs/<number:run_id>/artifacts.zip",
        run_artifacts.artifact_zip,
        name="artifact_zip",
    ),
    path(
        f"{PROJECT}/runs/<number:run_id>/artifacts/<path:artifact_path>",
        run_artifacts.artifact,
        name="artifact",
    ),
    *both(f"{PROJECT}/environments", environments.environment_list, "environments"),
    *both(f"{PROJECT}/environments/new", environments.environment_new, "environment_new"),
    *both(ENVIRONMENT, environments.environment_detail, "environment"),
    *both(f"{ENVIRONMENT}/lineage", lineage.environment_lineage, "environment_lineage"),
    *both(f"{PROJECT}/nodes/<node:unique_id>", nodes.node_detail, "node"),
    *both(f"{ENVIRONMENT}/edit", environments.environment_edit, "environment_edit"),
    *both(
        f"{ENVIRONMENT}/credentials",
        environments.environment_credentials,
        "environment_credentials",
    ),
    *both(f"{ENVIRONMENT}/rotate", environments.environment_rotate, "environment_rotate"),
    *both(f"{ENVIRONMENT}/test", environments.environment_test, "environment_test"),
    *both(f"{ENVIRONMENT}/delete", environments.environment_delete, "environment_delete"),
    *both(f"{PROJECT}/variables", variables.variable_list, "variables"),
    *both(f"{PROJECT}/variables/new", variables.variable_new, "variable_new"),
    *both(f"{PROJECT}/variables/import", variables.variable_import, "variable_import"),
    *both(f"{PROJECT}/variables/export", variables.variable_export, "variable_export"),
    *both(VARIABLE, variables.variable_edit, "variable"),
    *both(f"{VARIABLE}/delete", variables.variable_delete, "variable_delete"),
    *both(f"{PROJECT}/pulls", pulls.pull_list, "pulls"),
    *both(f"{PROJECT}/pulls/<number:number>", pulls.pull_detail, "pull"),
    *both(f"{PROJECT}/pulls/<number:number>/comment", pulls.pull_comment, "pull_comment"),
    *both(f"{PROJECT}/pulls/<number:number>/approve", pulls.pull_approve, "pull_approve"),
    *both(f"{PROJECT}/pulls/<number:number>/rerun", pulls.pull_rerun, "pull_rerun"),
    *both(f"{PROJECT}/pulls/<number:number>/schemas", pulls.pull_schemas_drop, "pull_schemas_drop"),
    *both(
        f"{PROJECT}/pulls/<number:number>/runs/<number:run_id>/report",
        pulls.pull_report,
        "pull_report",
    ),
    *both(SETTINGS, settings.settings_home, "settings"),
    *both(f"{SETTINGS}/projects", projects.project_list, "projects"),
    *both(f"{SETTINGS}/projects/new", projects.project_new, "project_new"),
    *both(f"{SETTINGS}/projects/<number:project_id>", projects.project_edit, "project_settings"),
    *both(
        f"{SETTINGS}/projects/<number:project_id>/delete",
        projects.project_delete,
        "project_delete",
    ),
    *both(f"{SETTINGS}/connections", connections.connection_list, "connections"),
    *both(f"{SETTINGS}/connections/new", connections.connection_new, "connection_new"),
    *both(CONNECTION, connections.connection_detail, "connection"),
    *both(f"{CONNECTION}/edit", connections.connection_edit, "connection_edit"),
    *both(f"{CONNECTION}/test", connections.connection_test, "connection_test"),
    *both(f"{CONNECTION}/delete", connections.connection_delete, "connection_delete"),
    *both(f"{SETTINGS}/tokens", tokens.token_list, "tokens"),
    *both(f"{SETTINGS}/tokens/new", tokens.token_new, "token_new"),
    *both(f"{SETTINGS}/tokens/new-service", tokens.service_token_new, "service_token_new"),
    *both(f"{SETTINGS}/tokens/<number:token_id>/revoke", tokens.token_revoke, "token_revoke"),
    *both(f"{SETTINGS}/members", members.member_list, "members"),
    *both(f"{SETTINGS}/members/new", members.member_new, "member_new"),
    *both(f"{SETTINGS}/members/invite", invitations.member_invite, "member_invite"),
    *both(
        f"{SETTINGS}/members/invitations/<number:invitation_id>/again",
        invitations.invitation_again,
        "invitation_again",
    ),
    *both(
        f"{SETTINGS}/members/invitations/<number:invitation_id>/revoke",
        invitations.invitation_revoke,
        "invitation_revoke",
    ),
    *both(f"{SETTINGS}/members/<number:member_id>/switch", members.member_switch, "member_switch"),
    *both(f"{SETTINGS}/members/<number:member_id>", members.member_edit, "member_edit"),
    *both(f"{SETTINGS}/members/<number:member_id>/remove", members.member_remove, "member_remove"),
    *both(f"{SETTINGS}/groups", groups.group_list, "groups"),
    *both(f"{SETTINGS}/groups/new", groups.group_new, "group_new"),
    *both(f"{SETTINGS}/groups/<number:group_id>", groups.group_detail, "group"),
    *both(f"{SETTINGS}/groups/<number:group_id>/delete", groups.group_delete, "group_delete"),
    *both(f"{SETTINGS}/groups/<number:group_id>/grants", groups.grant_add, "grant_add"),
    *both(
        f"{SETTINGS}/groups/<number:group_id>/grants/<number:grant_id>/remove",
        groups.grant_remove,
        "grant_remove",
    ),
    *both(f"{SETTINGS}/repositories", repositories.repository_list, "repositories"),
    *both(f"{REPOSITORY}", repositories.repository_detail, "repository"),
    *both(f"{REPOSITORY}/secret", repositories.repository_secret, "repository_secret"),
    *both(f"{REPOSITORY}/close", repositories.repository_close, "repository_close"),
    *both(
        f"{REPOSITORY}/deliveries/<number:delivery_id>",
        repositories.repository_delivery,
        "repository_delivery",
    ),
    *both(
        f"{REPOSITORY}/deliveries/<number:delivery_id>/redeliver",
        repositories.repository_redeliver,
        "repository_redeliver",
    ),
    *both(f"{SETTINGS}/audit", audit.audit_log, "audit"),
    *both(f"{SETTINGS}/audit/export", audit.audit_export, "audit_export"),
    *both(f"{SETTINGS}/system", system.system, "system"),
    *both(f"{SETTINGS}/system/install", system.dbt_install, "dbt_install"),
    *both(f"{SETTINGS}/system/remove", system.dbt_remove, "dbt_remove"),
    *both(f"{SETTINGS}/system/test", system.system_test, "system_test"),
    *both(f"{SETTINGS}/system/bundle", system.support_bundle, "support_bundle"),
    *both(f"{SETTINGS}/notifications", notifications.notification_list, "notifications"),
    *both(f"{SETTINGS}/notifications/new", notifications.notification_new, "notification_new"),
    *both(
        f"{SETTINGS}/notifications/log",
        notifications.notification_deliveries,
        "notification_deliveries",
    ),
    *both(f"{SETTINGS}/notifications/mutes/new", notifications.mute_new, "mute_new"),
    *both(
        f"{SETTINGS}/notifications/mutes/<number:mute_id>/end", notifications.mute_end, "mute_end"
    ),
    *both(NOTIFICATION, notifications.notification_detail, "notification"),
    *both(
        f"{NOTIFICATION}/preview",
        notification_preview.notification_preview,
        "notification_preview",
    ),
    *both(
        f"{NOTIFICATION}/preview/message",
        notification_preview.notification_message,
        "notification_message",
    ),
    *both(f"{NOTIFICATION}/edit", notifications.notification_edit, "notification_edit"),
    *both(f"{NOTIFICATION}/forget", notifications.notification_forget, "notification_forget"),
    *both(f"{NOTIFICATION}/test", notifications.notification_test, "notification_test"),
    *both(f"{NOTIFICATION}/delete", notifications.notification_delete, "notification_delete"),
    *both(f"{SETTINGS}/webhooks", webhooks.webhook_list, "webhooks"),
    *both(f"{SETTINGS}/webhooks/new", webhooks.webhook_new, "webhook_new"),
    *both(WEBHOOK, webhooks.webhook_detail, "webhook"),
    *both(f"{WEBHOOK}/edit", webhooks.webhook_edit, "webhook_edit"),
    *both(f"{WEBHOOK}/switch", webhooks.webhook_switch, "webhook_switch"),
    *both(f"{WEBHOOK}/test", webhooks.webhook_test, "webhook_test"),
    *both(f"{WEBHOOK}/delete", webhooks.webhook_delete, "webhook_delete"),
    *both(f"{WEBHOOK}/events/<number:dispatch_id>", webhooks.webhook_dispatch, "webhook_dispatch"),
    *both(
        f"{WEBHOOK}/events/<number:dispatch_id>/replay", webhooks.webhook_replay, "webhook_replay"
    ),
    *both(f"{PROJECT}/runs/<number:run_id>/older", shell.run_older, "run_older"),
    *both(f"{PROJECT}/runs/<number:run_id>/newer", shell.run_newer, "run_newer"),
    *both("join/<str:invitation_key>", invitations.invitation_accept, "invitation_accept"),
    # Short and old forms, from chat, mails and tools.
    *both("r/<number:run_id>", shell.short_run, "short_run"),
    *both("j/<number:job_id>", shell.short_job, "short_job"),
    path(
        "next/deploy/<path:rest>",
        RedirectView.as_view(url="/deploy/%(rest)s", query_string=True),
    ),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("accounts/login", RedirectView.as_view(pattern_name="account_login", query_string=True)),
]
