"""Keys of authenticator apps and recovery codes that were stored as they are are encrypted."""

from django.db import migrations

from environments.second_factor import encrypt_anew


def forwards(apps, schema_editor):
    encrypt_anew(apps.get_model("mfa", "Authenticator"))


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0004_console"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]

    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
