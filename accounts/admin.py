"""The operator's view of accounts, people and tokens. For superusers; people use the console."""

from __future__ import annotations

from typing import Any

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group

from accounts.audit import AuditEvent
from accounts.models import Account, Membership, Token, User

# Its own form would know nothing of the rate limits that the sign-in page has.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign] # as allauth documents it
admin.site.site_header = admin.site.site_title = "jobsvc: operator's admin"
admin.site.unregister(Group)  # what people may do is said by their memberships


def never(*_: Any, **__: Any) -> bool:
    """In the place of a permission that nobody has, however much of a superuser."""
    return False


class ReadOnly(admin.ModelAdmin[Any]):
    """Rows that only the service itself writes."""

    has_add_permission = has_change_permission = has_delete_permission = never


class Undeletable(admin.ModelAdmin[Any]):
    """Rows that runs refer to: they are marked deleted by their state, never removed."""

    has_delete_permission = never


class MembershipInline(admin.TabularInline[Membership, Any]):
    model = Membership
    extra = 0
    autocomplete_fields = ("user", "account")


@admin.register(Account)
class AccountAdmin(Undeletable):
    list_display = ("id", "name", "run_slots", "default_dbt_version", "state", "created_at")
    search_fields = ("name",)
    inlines = (MembershipInline,)


@admin.register(User)
class PersonAdmin(UserAdmin[User]):
    """People sign in with an e-mail address and have no user name."""

    ordering = ("email",)
    list_display = ("email", "full_name", "is_active", "is_superuser", "last_login")
    list_filter = ("is_active", "is_superuser")
    search_fields = ("email", "first_name", "last_name")
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("email", "password", "first_name", "last_name")}),
        ("What they may do here", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("When", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)
    inlines = (MembershipInline,)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnly):
    list_display = ("id", "created_at", "account", "actor_name", "action", "target_name", "address")
    list_filter = ("source", "actor_kind")
    list_select_related = ("account",)
    search_fields = ("action", "actor_name", "target_name", "request_id")


@admin.register(Token)
class TokenAdmin(admin.ModelAdmin[Token]):
    """A token is made where its text can be shown once; here it can be seen, and deleted."""

    list_display = ("id", "name", "kind", "account", "user", "prefix", "state", "last_used_at")
    list_filter = ("kind", "state")
    list_select_related = ("account", "user")
    exclude = ("digest",)
    has_add_permission = has_change_permission = never
