"""What may be called what: variables, git refs, schemas, targets, folders.

Checked when something is saved and again when a run is planned. Every check takes the value
and returns nothing, or raises ValueError with a sentence for the person who typed it.
"""

from __future__ import annotations

import re

from jobsvc.engine import dbt_options

LONGEST_NAME = 255

# Set by the service for every run, or kept by dbt for itself.
_RESERVED = re.compile(r"DBT_ENV$|DBT_CLOUD_|DBT_ENV_PRIVATE|DBT_ENV_SECRET_JOBSVC_|DBT_ENGINE")

# dbt reads these, too, but no table of its own lists them.
_DBT_READS = {
    "DBT_DEFAULT_PLACEHOLDER",
    "DBT_DOWNLOADS_DIR",
    "DBT_HTTP_TIMEOUT",
    "DBT_INVOCATION_CONTEXT",
    "DBT_MACRO_DEBUGGING",
    "DBT_RECORDER_FILE_PATH",
    "DBT_RECORDER_MODE",
    "DBT_RECORDER_REDACT_ENV_VARS",
    "DBT_RECORDER_ROW_LIMIT",
    "DBT_RECORDER_TYPES",
    "DBT_TEST_BINARY_SERIALIZATION",
    "DBT_TEST_SINGLE_THREADED",
}

# Names outside DBT_ that steer the process, its interpreter, its network or its tools.
# Prefixes end in an underscore or are whole families; the rest are whole names.
_STEERING = re.compile(
    r"""
    (?:
        LD_ | DYLD_ | PYTHON | GIT_ | SSH_ | SSL_ | CURL_ | REQUESTS_ | OPENSSL | GLIBC_ | MALLOC_
        | RUST_ | UV_ | PIP_ | VIRTUAL_ENV | CONDA_ | BASH_ | JOBSVC_ | DJANGO_ | CELERY_
        | JAVA_ | JDK_ | _JAVA_ | SPARK_ | HADOOP_ | PERL | RUBY | NODE_ | XDG_ | LC_ | KRB5
        | PG | DUCKDB_ | NSS_ | GCONV_ | DATABRICKS_CONFIG_ | CLOUDSDK_ | SNOWFLAKE_HOME
        | AWS_(?:CONFIG|SHARED|CA_|ENDPOINT|EXECUTION|CONTAINER|WEB_IDENTITY)
    ).*
    | .*(?:_PROXY|_CA_BUNDLE|_CERT_FILE|_CERT_DIR|_CAFILE|_PRELOAD)
    | PATH | HOME | USER | LOGNAME | SHELL | PWD | OLDPWD | TMPDIR | TEMP | TMP | TERM | LANG
    | LANGUAGE | TZ | TZDIR | IFS | ENV | CDPATH | PS[0-4] | EDITOR | VISUAL | PAGER | BROWSER
    | DISPLAY | MAIL | HOSTNAME | HOSTALIASES | LOCALDOMAIN | RES_OPTIONS | LOCPATH | NLSPATH
    | PROXY | SSLKEYLOGFILE | NETRC | CLASSPATH | PROMPT_COMMAND | SHELLOPTS | BASHOPTS | ODBCINI
    | ODBCSYSINI | TNS_ADMIN | GOOGLE_APPLICATION_CREDENTIALS
    """,
    re.VERBOSE,
)


def check_variable_name(name: str) -> None:
    """Refuse a name that a job's environment variable may not have.

    Raises:
        ValueError: it is malformed, reserved, or would steer dbt or another program.
    """
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) or len(name) > LONGEST_NAME:
        raise ValueError(
            "The name of an environment variable has upper-case letters, digits and "
            f"underscores, does not begin with a digit, and has at most {LONGEST_NAME} "
            "characters. Begin it with DBT_."
        )
    if _RESERVED.match(name):
        raise ValueError(f"{name} is set by this service or by dbt itself. Choose another name.")
    if name in dbt_options.ENVIRONMENT or name in _DBT_READS:
        raise ValueError(
            f"{name} steers dbt itself. Use the job's settings or an option of the step instead."
        )
    if not name.startswith("DBT_") and _STEERING.fullmatch(name):
        raise ValueError(
            f"{name} can steer the programs of a run. Choose a name that begins with DBT_."
        )


def is_set_here(name: str) -> bool:
    """Whether every run gets this variable from the service itself."""
    return name.startswith("DBT_CLOUD_")


def is_secret_name(name: str) -> bool:
    """Whether dbt, and so this service, keeps the value of this variable secret."""
    return name.startswith("DBT_ENV_SECRET")  # dbt's own rule: no underscore at the end


def check_ref(ref: str) -> None:
    """Refuse what git does not accept as the name of a branch or a tag (``git check-ref-format``).

    Raises:
        ValueError: it is malformed, or could be taken for an option.
    """
    parts = ref.split("/")
    if (
        not 0 < len(ref) <= LONGEST_NAME
        or ref.startswith(("-", "/"))
        or ref.endswith(("/", "."))
        or ref == "@"
        or ".." in ref
        or "@{" in ref
        or "//" in ref
        or re.search(r"[\x00-\x20\x7f~^:?*\[\\]", ref)
        or not ref.isprintable()
        or any(part.startswith(".") or part.endswith(".lock") for part in parts)
    ):
        raise ValueError(
            f"{ref!r} cannot be the name of a branch or a tag. Write it as `git branch` shows it."
        )


def check_sha(sha: str) -> None:
    """Refuse what is not a whole commit id: 40 hexadecimal digits.

    Raises:
        ValueError
    """
    if not re.fullmatch(r"[0-9a-fA-F]{40}", sha):
        raise ValueError(f"{sha!r} is not a commit. Give all 40 hexadecimal digits of its id.")


def check_schema(schema: str) -> None:
    """Refuse a schema name that would need quoting, or that a warehouse would cut.

    Raises:
        ValueError
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]{0,62}", schema):
        raise ValueError(
            f"{schema!r} cannot be a schema. Use at most 63 letters, digits and underscores, "
            "and do not begin with a digit."
        )


def check_target(target: str) -> None:
    """Refuse a target name that could not stand in a profile or after ``--target``.

    Raises:
        ValueError
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}", target):
        raise ValueError(
            f"{target!r} cannot be a target name. Use at most 127 letters, digits, underscores, "
            "dots and hyphens, and do not begin with a dot or a hyphen."
        )


def check_subdirectory(path: str) -> None:
    """Refuse a folder inside a repository that is not written plainly, ``analytics/dbt``.

    Raises:
        ValueError
    """
    if (
        not 0 < len(path) <= 1000
        or path.startswith("-")
        or re.search(r"[#%&{}<>*?$!'\":@\\`|;]", path)
        or not path.isprintable()
        or any(part in {"", ".", "..", "~", ".git"} for part in path.lower().split("/"))
    ):
        raise ValueError(
            f"{path!r} cannot be the project's subdirectory. Write the folder from the "
            "repository's root, like analytics/dbt, without a slash at either end."
        )
