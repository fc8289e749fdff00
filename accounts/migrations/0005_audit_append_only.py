"""The database itself refuses to change an audit event, and PostgreSQL to delete one.

Retention says ``SET LOCAL jobsvc.audit_retention = 'on'`` in its transaction. SQLite has no such
word, so there only the service refuses. A migration that has SQLite make the table anew must
make the trigger anew, too.
"""

from __future__ import annotations

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

POSTGRESQL = """
CREATE FUNCTION accounts_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('jobsvc.audit_retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'an audit event is never changed, and deleted by retention alone';
END $$;
CREATE TRIGGER audit_event_is_append_only BEFORE UPDATE OR DELETE ON accounts_auditevent
    FOR EACH ROW EXECUTE FUNCTION accounts_audit_is_append_only();
"""
SQLITE = """
CREATE TRIGGER audit_event_is_append_only BEFORE UPDATE ON accounts_auditevent
BEGIN SELECT RAISE(ABORT, 'an audit event is never changed'); END;
"""


def guard(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    editor.execute(POSTGRESQL if editor.connection.vendor == "postgresql" else SQLITE)


def unguard(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    if editor.connection.vendor == "postgresql":
        editor.execute("DROP TRIGGER audit_event_is_append_only ON accounts_auditevent")
        editor.execute("DROP FUNCTION accounts_audit_is_append_only()")
    else:
        editor.execute("DROP TRIGGER audit_event_is_append_only")


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_console")]

    operations = [migrations.RunPython(guard, unguard)]
