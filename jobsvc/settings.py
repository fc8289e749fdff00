"""Every knob, read from the environment. What is wrong is said all at once, at start.

Two modes. ``embedded`` (the default) is one machine trying the product out: SQLite, a broker
on disk, keys made on first start, all below ``JOBSVC_DATA_DIR``. ``production`` makes nothing
up: what it needs and is not given is an error (``manage.py check --deploy``).
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
from cryptography.fernet import Fernet
from csp.constants import NONCE, NONE, SELF
from environs import Env, ValidationError, validate

django_stubs_ext.monkeypatch()  # lets generic Django classes be written with their types

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env(eager=False)

MODE = env.str(
    "JOBSVC_MODE",
    "embedded",
    validate=validate.OneOf(["embedded", "production"], error="is embedded or production"),
)
EMBEDDED = MODE == "embedded"
DATA_DIR = env.path("JOBSVC_DATA_DIR", BASE_DIR / ".jobsvc").resolve()


def _made_keys() -> tuple[str, list[str]]:
    """The keys of an embedded installation, made once and kept in a file only we can read.

    Returns:
        the secret key; the keys that encrypt secrets at rest.
    """
    place = DATA_DIR / "keys.json"
    DATA_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
    made: dict[str, Any] = {
        "secret_key": secrets.token_urlsafe(50),
        "field_encryption_keys": [Fernet.generate_key().decode()],
    }
    whole = place.with_name(f"keys.{os.getpid()}.json")
    with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(made, file)
    # A link is made whole or not at all: of processes that start at once, all get one's keys.
    with suppress(FileExistsError):
        os.link(whole, place)
    whole.unlink()
    made = json.loads(place.read_text())
    return str(made["secret_key"]), list(made["field_encryption_keys"])


_secret_key, _encryption_keys = _made_keys() if EMBEDDED else ("", [])

DEBUG = env.bool("JOBSVC_DEBUG", False)
SECRET_KEY = env.str("JOBSVC_SECRET_KEY", _secret_key)
FIELD_ENCRYPTION_KEYS: list[str] = env.list(
    "JOBSVC_FIELD_ENCRYPTION_KEYS", _encryption_keys
)  # Fernet keys: the first encrypts, all decrypt
SITE_URL = env.str("JOBSVC_SITE_URL", "http://127.0.0.1:8000").rstrip("/")
ALLOWED_HOSTS = env.list("JOBSVC_ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = [SITE_URL]

VERSION = "0.1.0"  # of this service, as in pyproject.toml

# --- What it is made of ------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "accounts",
    "environments",
    "jobsvc",
    "jobsvc.jobs",
    "jobsvc.runs",
    "jobsvc.notifications",
    "ci",
    "jobsvc.console",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.github",
    "allauth.socialaccount.providers.openid_connect",
    "health_check",
]

MIDDLEWARE = [
    "jobsvc.console.request_id.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "jobsvc.console.actor.ActorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "jobsvc.urls"
WSGI_APPLICATION = "jobsvc.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False  # API clients post to both forms, and a redirected POST is a lost one

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

# --- Database ----------------------------------------------------------------------------

# Another kind would fail at its driver, with the advice to install that.
env.str(
    "JOBSVC_DATABASE_URL",
    "",
    validate=validate.Regexp(
        r"(postgres|postgresql|pgsql|sqlite)://", error="is no postgres:// or sqlite:// address"
    ),
)
# None where the address cannot be read, which seal() says at the end.
_database = env.dj_db_url(
    "JOBSVC_DATABASE_URL", f"sqlite:///{DATA_DIR}/db.sqlite3", conn_max_age=60
) or {"ENGINE": ""}
DATABASES = {"default": _database}
if _database["ENGINE"].endswith("sqlite3"):
    # A read that later writes would fail with "database is locked" in a deferred transaction.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }
else:
    _database["CONN_HEALTH_CHECKS"] = True
    _database["OPTIONS"] = {
        **_database.get("OPTIONS", {}),
        "options": "-c lock_timeout=10s -c idle_in_transaction_session_timeout=60s",
    }

# --- Broker: a bell, never the book ------------------------------------------------------

CELERY_BROKER_URL = env.str("JOBSVC_BROKER_URL", "filesystem://localhost")
CELERY_BROKER_CONNECTION_TIMEOUT = 1  # seconds; a broker that is down costs a request no more
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for its broker for ever
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {"max_retries": 0}  # the sweep tries again
if CELERY_BROKER_URL.startswith(("redis:", "rediss:")):
    # The second also ends the wait for a server that takes the call and never answers.
    CELERY_BROKER_TRANSPORT_OPTIONS |= {"socket_connect_timeout": 1, "socket_timeout": 1}
if CELERY_BROKER_URL.startswith("filesystem:"):
    _broker = DATA_DIR / "broker"
    for _folder in ("messages", "control"):
        (_broker / _folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_broker / "messages"),
        "data_folder_out": str(_broker / "messages"),
        "control_folder": str(_broker / "control"),
        "polling_interval": 0.2,
    }
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # the row is the book; a second delivery must never be needed
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {
    "jobsvc.runs.tasks.execute_run": {"queue": "runs"},
    "jobsvc.runs.tasks.change_toolchain": {"queue": "runs"},
    # It starts a child, and needs what runs need: dbt, its walls, the warehouse's file.
    "ci.tasks.drop_schemas": {"queue": "runs"},
    # Whoever waits for strangers waits in a queue of their own, and holds up no tick.
    "jobsvc.notifications.tasks.post_webhooks": {"queue": "outbound"},
    "jobsvc.notifications.tasks.send_delivery": {"queue": "outbound"},
    "ci.tasks.post_report": {"queue": "outbound"},
    "ci.tasks.read_delivery": {"queue": "outbound"},
}
CELERY_TIMEZONE = "UTC"

SWEEP_SECONDS = env.float(
    "JOBSVC_SWEEP_SECONDS",
    2 if EMBEDDED else 30,
    validate=validate.Range(min=0.1, max=3600, error="is from 0.1 to 3600 seconds"),
)
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 1
CELERY_BEAT_SCHEDULE = {
    # A tick that was not taken before the next one is due is worth nothing: it expires.
    "start due runs": {
        "task": "jobsvc.runs.tasks.start_due_runs",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
    "sweep": {
        "task": "jobsvc.runs.tasks.sweep",
        "schedule": SWEEP_SECONDS,
        "options": {"expires": SWEEP_SECONDS},
    },
    "watch": {
        "task": "jobsvc.runs.tasks.watch",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
    # What is to be told, posted or dropped and was not: after a lost bell, or one more try.
    "sweep ci": {
        "task": "ci.tasks.sweep",
        "schedule": SWEEP_SECONDS,
        "options": {"expires": SWEEP_SECONDS},
    },
    "sweep notifications": {
        "task": "jobsvc.notifications.tasks.sweep",
        "schedule": SWEEP_SECONDS,
        "options": {"expires": SWEEP_SECONDS},
    },
    "sweep webhooks": {
        "task": "jobsvc.notifications.tasks.sweep_webhooks",
        "schedule": SWEEP_SECONDS,
        "options": {"expires": SWEEP_SECONDS},
    },
    "prune webhooks": {
        "task": "jobsvc.notifications.tasks.prune_webhooks",
        "schedule": 24 * 3600.0,
        "options": {"expires": 3600},
    },
    "prune": {
        "task": "jobsvc.runs.tasks.prune",
        "schedule": 24 * 3600.0,
        "options": {"expires": 3600},
    },
}

# What follows a run's move, in order. Each task takes a transition's id, may come twice or
# late, and reads what is true when it comes.
RUN_REACTIONS = [
    "jobsvc.runs.tasks.dispatch_queued_runs",
    "jobsvc.runs.tasks.start_downstream_runs",
    "jobsvc.runs.tasks.deactivate_failing_job",
    "ci.tasks.report_run",
    "ci.tasks.note_schemas",
    "jobsvc.notifications.tasks.tell_of_run",
]

# --- Git hosts ---------------------------------------------------------------------------

# The hosts that pull requests come from: what a repository's address names → its adapter.
GIT_PROVIDERS = {"github": "ci.providers.github.GitHub"}
# How a repository is signed in to that holds no secret of its own: clone strategy → a function
# that takes the Repository and returns (username, password).
CLONE_CREDENTIALS = {"github_app": "ci.access.clone_credentials"}
GITHUB_API_URL = env.str("JOBSVC_GITHUB_API_URL", "https://api.github.com").rstrip("/")
# Where its repositories are cloned from and its pages are; of GitHub Enterprise, its own.
GITHUB_URL = env.str("JOBSVC_GITHUB_URL", "https://github.com").rstrip("/")
GITHUB_APP_ID = env.str("JOBSVC_GITHUB_APP_ID", "")
GITHUB_APP_PRIVATE_KEY = env.str("JOBSVC_GITHUB_APP_PRIVATE_KEY", "").replace("\\n", "\n")
GITHUB_APP_WEBHOOK_SECRETS: list[str] = env.list(
    "JOBSVC_GITHUB_APP_WEBHOOK_SECRETS", []
)  # one, or while it is being changed two
WEBHOOK_MAX_BYTES = env.int(
    "JOBSVC_WEBHOOK_MAX_BYTES",
    5 * 1024**2,
    validate=validate.Range(min=1024, max=25 * 1024**2, error="is from 1024 bytes to 25 MiB"),
)


def _are_networks(given: list[str]) -> None:
    for text in given:
        try:
            ip_network(text)
        except ValueError as error:
            raise ValidationError(f"{text!r} is no network such as 10.0.0.0/8") from error


# Networks that requests of ours may go to although they are private, or not encrypted:
# "10.0.0.0/8,127.0.0.0/8". What people type leads nowhere else inside.
OUTBOUND_NETWORKS: list[str] = env.list(
    "JOBSVC_OUTBOUND_NETWORKS", [], subcast=str.strip, validate=_are_networks
)

# --- Files -------------------------------------------------------------------------------

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    "artifacts": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": str(DATA_DIR / "artifacts"),
            "base_url": None,
            # Worker and web may be different users of one group; others have no business here.
            "file_permissions_mode": 0o640,
            "directory_permissions_mode": 0o770,
        },
    },
}
STATIC_URL = "static/"
STATIC_ROOT = env.path("JOBSVC_STATIC_ROOT", DATA_DIR / "static")
if EMBEDDED:
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # whitenoise warns of each start without it
WHITENOISE_USE_FINDERS = DEBUG
MEDIA_ROOT = DATA_DIR / "media"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024**2  # bytes of a request's body

# --- Runs --------------------------------------------------------------------------------

WORKSPACES_DIR = env.path("JOBSVC_WORKSPACES_DIR", DATA_DIR / "workspaces")
WAREHOUSES_DIR = env.path("JOBSVC_WAREHOUSES_DIR", DATA_DIR / "warehouses")  # DuckDB files
TOOLCHAINS_DIR = env.path("JOBSVC_TOOLCHAINS_DIR", BASE_DIR / ".toolchains").resolve()
CONSTRAINTS_DIR = BASE_DIR / "constraints"  # dbt-*.txt: the versions that runs may have made
LEASE_SECONDS = 30  # without a heartbeat for this long, a run is taken from its worker
HEARTBEAT_SECONDS = 10
_seconds = {"validate": validate.Range(min=1, error="is at least 1 second")}
RUN_MAX_SECONDS = env.int("JOBSVC_RUN_MAX_SECONDS", 24 * 3600, **_seconds)
STOP_GRACE_SECONDS = env.int("JOBSVC_STOP_GRACE_SECONDS", 10, **_seconds)  # SIGINT to SIGTERM
CHECKOUT_TIMEOUT_SECONDS = env.int("JOBSVC_CHECKOUT_TIMEOUT_SECONDS", 300, **_seconds)
# Days that things of a finished run are kept; 0 keeps them for ever.
_days = {"validate": validate.Range(min=0, max=36500, error="is from 0 to 36500 days")}
KEEP_RUNS_DAYS = env.int("JOBSVC_KEEP_RUNS_DAYS", 365, **_days)
KEEP_LOGS_DAYS = env.int("JOBSVC_KEEP_LOGS_DAYS", 90, **_days)
KEEP_ARTIFACTS_DAYS = env.int("JOBSVC_KEEP_ARTIFACTS_DAYS", 90, **_days)
KEEP_DELIVERIES_DAYS = env.int("JOBSVC_KEEP_DELIVERIES_DAYS", 30, **_days)  # in and out
AUDIT_DAYS = env.int("JOBSVC_AUDIT_DAYS", 365, **_days)  # of the audit log's events
# Days after its last run that a schema is kept which no closed pull request takes away.
CI_SCHEMA_TTL_DAYS = env.int("JOBSVC_CI_SCHEMA_TTL_DAYS", 14, **_days)
# Layers of isolation that must hold, else a run is refused: "landlock:4,seccomp,uid".
ISOLATION_NEED: list[str] = env.list("JOBSVC_ISOLATION_NEED", [])
# First and last user id that runs are given, one each ("20001-20064"); needs a root worker.
RUN_UIDS = env.str("JOBSVC_RUN_UIDS", "")
# Folders whose repositories may be cloned by file://. Only for one's own machine.
GIT_LOCAL_ROOTS: list[str] = env.list("JOBSVC_GIT_LOCAL_ROOTS", [])
# Hosts that may be cloned from by plain http, such as one on a private network.
GIT_PLAIN_HTTP_HOSTS: list[str] = env.list("JOBSVC_GIT_PLAIN_HTTP_HOSTS", [])
# A warehouse on the very server that holds our own data is refused unless this is on.
ALLOW_OWN_DATABASE_SERVER = env.bool("JOBSVC_ALLOW_OWN_DATABASE_SERVER", False)
# Whether testing a connection may knock at private addresses, and so show what listens there.
ALLOW_PRIVATE_CONNECTION_TESTS = env.bool("JOBSVC_ALLOW_PRIVATE_CONNECTION_TESTS", EMBEDDED)

# --- People and safety -------------------------------------------------------------------

# How many proxies stand in front, each of which appends to X-Forwarded-For: so the address
# that sign-ins are limited by and the audit log tells is the visitor's, not the proxy's.
ALLAUTH_TRUSTED_PROXY_COUNT = env.int(
    "JOBSVC_TRUSTED_PROXY_COUNT",
    0,
    validate=validate.Range(min=0, max=9, error="is from 0 to 9 proxies"),
)

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
ACCOUNT_ADAPTER = "accounts.adapter.ClosedSignUp"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
# A second factor: an app's codes, a key or a passkey, and codes for the day it is lost.
USERSESSIONS_ADAPTER = "accounts.adapter.Sessions"
MFA_ADAPTER = "environments.second_factor.EncryptedSecondFactors"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True  # an administrator gave the address; nobody else can
MFA_TOTP_ISSUER = "jobsvc"
MFA_TOTP_TOLERANCE = 1  # codes before and after; telephones' clocks differ a little
# Browsers take localhost for safe without https; for every other host they refuse by themselves.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not SITE_URL.startswith("https://")

# By GitHub, or by an OpenID Connect provider: only people who are users here already come in,
# by an e-mail address that the provider has verified.
SIGN_IN_GITHUB_ID = env.str("JOBSVC_SIGN_IN_GITHUB_ID", "")
SIGN_IN_GITHUB_SECRET = env.str("JOBSVC_SIGN_IN_GITHUB_SECRET", "")
OIDC_URL = env.str("JOBSVC_OIDC_URL", "").rstrip("/")
OIDC_NAME = env.str("JOBSVC_OIDC_NAME", "Single sign-on")
OIDC_CLIENT_ID = env.str("JOBSVC_OIDC_CLIENT_ID", "")
OIDC_CLIENT_SECRET = env.str("JOBSVC_OIDC_CLIENT_SECRET", "")
SOCIALACCOUNT_ADAPTER = "accounts.adapter.MembersOnly"
SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
SOCIALACCOUNT_QUERY_EMAIL = True
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {}
if SIGN_IN_GITHUB_ID:
    SOCIALACCOUNT_PROVIDERS["github"] = {
        "SCOPE": ["user:email"],
        "GITHUB_URL": GITHUB_URL,
        "APPS": [{"client_id": SIGN_IN_GITHUB_ID, "secret": SIGN_IN_GITHUB_SECRET}],
    }
if OIDC_URL:
    SOCIALACCOUNT_PROVIDERS["openid_connect"] = {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "oidc",
                "name": OIDC_NAME,
                "client_id": OIDC_CLIENT_ID,
                "secret": OIDC_CLIENT_SECRET,
                "settings": {"server_url": OIDC_URL},
            }
        ],
    }
# Where the forms of the sign-in page lead on to.
SIGN_IN_ORIGINS = [
    "{0.scheme}://{0.netloc}".format(urlsplit(url))
    for url, given in ((GITHUB_URL, SIGN_IN_GITHUB_ID), (OIDC_URL, OIDC_URL))
    if given
]

LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "/"

_https = SITE_URL.startswith("https://")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _https else None
SECURE_SSL_REDIRECT = _https
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]  # probes come from inside, in plain http
SECURE_HSTS_SECONDS = 31536000 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _https
SECURE_HSTS_PRELOAD = _https
SESSION_COOKIE_SECURE = _https
CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_NAME = "__Host-sessionid" if _https else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken" if _https else "csrftoken"
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF, *SIGN_IN_ORIGINS],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- API ---------------------------------------------------------------------------------

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["jobsvc.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["jobsvc.api.permissions.AccountPermission"],
    "DEFAULT_RENDERER_CLASSES": ["jobsvc.api.envelope.EnvelopeRenderer"],
    "DEFAULT_PARSER_CLASSES": ["jobsvc.api.parsers.LenientJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "jobsvc.api.errors.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "jobsvc",
    "DESCRIPTION": "Runs dbt jobs. The wire is dbt Cloud's administrative API, v2 and v3.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [],  # choices stand where they belong; two fields are called type
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# --- Logging -----------------------------------------------------------------------------

_levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LOG_LEVEL = env.str(
    "JOBSVC_LOG_LEVEL",
    "INFO",
    validate=validate.OneOf(_levels, error=f"is one of {', '.join(_levels)}"),
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s%(request_id)s %(message)s"}
    },
    "filters": {"request": {"()": "jobsvc.console.request_id.InLogs"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["request"],
        },
        "recent": {
            "class": "jobsvc.console.system.warnings.Recent",
            "level": "WARNING",
            "filters": ["request"],
        },
    },
    "root": {"handlers": ["console", "recent"], "level": LOG_LEVEL},
}

# Of another kind Django would quietly speak plain SMTP.
env.str(
    "JOBSVC_EMAIL_URL",
    "",
    validate=validate.Regexp(
        r"(smtp|smtps|submission|submit|console|dummy)://",
        error="is no submission://, smtps:// or smtp:// address",
    ),
)
# None where the address cannot be read, which seal() says at the end.
EMAIL_CONFIG = env.dj_email_url("JOBSVC_EMAIL_URL", "console://") or {}
vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = env.str("JOBSVC_FROM_EMAIL", "jobsvc@localhost")

env.seal()
