"""What is set wrong is said at start, with its number and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.checks import CheckMessage, run_checks

from jobsvc.notifications.emails import NO_SERVER

KEY = Fernet.generate_key().decode()


@pytest.fixture
def sound(settings: Any) -> Any:
    """Settings that nothing is wrong with, not even for a deployment."""
    settings.SECRET_KEY = "x" * 60
    settings.FIELD_ENCRYPTION_KEYS = [KEY]
    settings.SITE_URL = "https://jobs.example.com"
    settings.RUN_UIDS = "20001-20064"
    settings.EMBEDDED = False
    settings.GIT_LOCAL_ROOTS = []
    return settings


def ours() -> list[CheckMessage]:
    found = run_checks(include_deployment_checks=True)
    return [message for message in found if str(message.id).startswith("jobsvc.")]


def test_sound_settings_raise_nothing(sound: Any) -> None:
    assert ours() == []


@pytest.mark.parametrize(
    ("setting", "value", "number"),
    [
        ("SECRET_KEY", "", "E001"),
        ("FIELD_ENCRYPTION_KEYS", [], "E002"),
        ("FIELD_ENCRYPTION_KEYS", ["not a key"], "E003"),
        ("FIELD_ENCRYPTION_KEYS", [KEY, KEY[:-1]], "E003"),
        ("SITE_URL", "jobs.example.com", "E005"),
        ("SITE_URL", "", "E005"),
        ("RUN_UIDS", "20001", "E006"),
        ("RUN_UIDS", "20064-20001", "E006"),
        ("RUN_UIDS", "0-100", "E006"),
        ("RUN_UIDS", "a-b", "E006"),
        ("EMBEDDED", True, "E007"),
        ("GIT_LOCAL_ROOTS", ["/srv/git"], "E008"),
    ],
)
def test_what_is_wrong_has_a_number_and_a_hint(
    sound: Any, setting: str, value: Any, number: str
) -> None:
    setattr(sound, setting, value)

    [message] = ours()
    assert message.id == f"jobsvc.{number}"
    assert str(message.hint).endswith(".")


@pytest.mark.parametrize("engine", ["mysql", "oracle"])
def test_only_the_promised_databases_are_taken(
    sound: Any, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setitem(
        sound.DATABASES, "default", {"ENGINE": f"django.db.backends.{engine}", "HOST": ""}
    )

    assert [message.id for message in ours()] == ["jobsvc.E004"]


def test_a_range_of_user_ids_may_be_left_out(sound: Any) -> None:
    sound.RUN_UIDS = ""

    assert ours() == []


def test_a_wrong_key_is_named_by_its_place_and_not_shown(sound: Any) -> None:
    sound.FIELD_ENCRYPTION_KEYS = [KEY, "hunter2"]

    [message] = ours()
    assert message.msg.startswith("Key 2 of JOBSVC_FIELD_ENCRYPTION_KEYS")
    assert "hunter2" not in str(message)


def test_a_try_out_is_no_error_until_it_is_deployed(sound: Any) -> None:
    sound.EMBEDDED, sound.GIT_LOCAL_ROOTS = True, ["/srv/git"]

    assert [message.id for message in run_checks()] == []
    assert [message.id for message in ours()] == ["jobsvc.E007", "jobsvc.E008"]


def test_without_a_mail_server_mails_go_to_the_log(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from jobsvc import settings; print(settings.EMAIL_BACKEND)"],
        env={"JOBSVC_DATA_DIR": str(tmp_path), "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout.strip() in NO_SERVER


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("JOBSVC_MODE", "prod"),
        ("JOBSVC_DATABASE_URL", "the one on my laptop"),
        ("JOBSVC_DATABASE_URL", "mysql://user:password@db/jobsvc"),
        ("JOBSVC_SWEEP_SECONDS", "0"),
        ("JOBSVC_RUN_MAX_SECONDS", "-5"),
        ("JOBSVC_STOP_GRACE_SECONDS", "soon"),
        ("JOBSVC_CHECKOUT_TIMEOUT_SECONDS", "0"),
        ("JOBSVC_LOG_LEVEL", "loud"),
        ("JOBSVC_OUTBOUND_NETWORKS", "10.0.0.0/8,the office"),
        ("JOBSVC_EMAIL_URL", "smtp+tls://user:password@mail.example.com"),
        ("JOBSVC_EMAIL_URL", "submission://user:password@mail.example.com:port"),
    ],
)
def test_a_value_that_cannot_be_is_refused_at_start_by_name(
    tmp_path: Path, variable: str, value: str
) -> None:
    wrong = {variable: value, "JOBSVC_KEEP_RUNS_DAYS": "-1"}
    started = subprocess.run(
        [sys.executable, "-c", "import jobsvc.settings"],
        env={"JOBSVC_DATA_DIR": str(tmp_path), "PYTHONPATH": ".", **wrong},
        capture_output=True,
        text=True,
        check=False,
    )

    last = started.stderr.splitlines()[-1]
    assert started.returncode == 1
    assert all(name in last for name in wrong)
    assert "password" not in started.stderr
