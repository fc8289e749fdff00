"""What variables, refs, schemas, targets and folders may be called."""

from __future__ import annotations

import subprocess

import pytest

from jobsvc.engine import dbt_options, names

ALLOWED_VARIABLES = """
    DBT_X DBT_TARGET_SCHEMA DBT_DATABASE DBT_HOST DBT_USER DBT_PASSWORD DBT_ENV_SECRET_TOKEN
    DBT_ENV_SECRET DBT_ENV_CUSTOM_ENV_TEAM DBT_ENVIRONMENT DBT_CLOUDY DBT_1 DBT_PATH DBT_PYTHON
    REGION DATA_RESIDENCY_ZONE ENABLE_DEBUG_LOGGING X _X SNOWFLAKE_ACCOUNT AWS_REGION PATHWAY
    HOMEPAGE USERS TZ_NAME MY_PROXY_HOST
"""

REFUSED_VARIABLES = """
    PATH HOME USER SHELL PWD TMPDIR TEMP TERM LANG LC_ALL TZ IFS ENV BASH_ENV PS4 CDPATH
    LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT DYLD_INSERT_LIBRARIES GCONV_PATH LOCPATH HOSTALIASES
    GLIBC_TUNABLES MALLOC_CHECK_ RES_OPTIONS
    PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE PYTHONINSPECT PYTHONWARNINGS PYTHONBREAKPOINT
    PYTHONHASHSEED PYTHONEXECUTABLE VIRTUAL_ENV CONDA_PREFIX PIP_INDEX_URL UV_INDEX_URL
    GIT_SSH_COMMAND GIT_CONFIG_COUNT GIT_DIR GIT_EXEC_PATH GIT_ASKPASS GIT_PROXY_COMMAND
    GIT_ALLOW_PROTOCOL SSH_AUTH_SOCK SSH_ASKPASS EDITOR PAGER BROWSER
    HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY FTP_PROXY SSL_CERT_FILE SSL_CERT_DIR SSLKEYLOGFILE
    REQUESTS_CA_BUNDLE CURL_CA_BUNDLE CURL_HOME NODE_EXTRA_CA_CERTS AWS_CA_BUNDLE
    AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_ENDPOINT_URL AWS_CONTAINER_CREDENTIALS_FULL_URI
    OPENSSL_CONF KRB5_CONFIG KRB5CCNAME NETRC PGHOST PGSERVICEFILE PGPASSFILE PGSSLROOTCERT
    JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH SPARK_HOME HADOOP_CONF_DIR
    PERL5LIB RUBYOPT NODE_OPTIONS ODBCINI TNS_ADMIN GOOGLE_APPLICATION_CREDENTIALS
    CLOUDSDK_CONFIG SNOWFLAKE_HOME DATABRICKS_CONFIG_FILE XDG_CONFIG_HOME JOBSVC_SECRET_KEY
    DJANGO_SETTINGS_MODULE CELERY_BROKER_URL
    DBT_ENV DBT_CLOUD_RUN_ID DBT_CLOUD_ANYTHING DBT_ENV_PRIVATE_X DBT_ENV_SECRET_JOBSVC_PASSWORD
    DBT_ENGINE_STATE DBT_ENGINE_ANYTHING DBT_PROFILES_DIR DBT_PROJECT_DIR DBT_TARGET_PATH
    DBT_LOG_PATH DBT_STATE DBT_DEFER DBT_DEFER_STATE DBT_FAVOR_STATE DBT_PROFILE DBT_TARGET
    DBT_ARTIFACT_STATE_PATH DBT_PARTIAL_PARSE_FILE_PATH DBT_WRITE_JSON DBT_LOG_FORMAT_FILE
    DBT_MACRO_DEBUGGING DBT_PACKAGE_HUB_URL DBT_RECORDER_FILE_PATH DBT_INVOCATION_ENV DBT_PP_TEST
"""


@pytest.mark.parametrize("name", ALLOWED_VARIABLES.split())
def test_a_variable_may_have_a_name_of_its_own(name: str) -> None:
    names.check_variable_name(name)


@pytest.mark.parametrize("name", REFUSED_VARIABLES.split())
def test_a_variable_may_not_steer_dbt_or_another_program(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} .+\.$"):
        names.check_variable_name(name)


@pytest.mark.parametrize("name", sorted(dbt_options.ENVIRONMENT))
def test_no_variable_that_dbt_reads_can_be_set(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        names.check_variable_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "dbt_x",
        "DBT_x",
        "DBT-X",
        "DBT X",
        "1X",
        "DBT_Ü",
        "X=Y",
        "DBT_X\n",
        "DBT_\x00",
        "D" * 256,
    ],
)
def test_a_variable_has_a_well_formed_name(name: str) -> None:
    with pytest.raises(ValueError, match="upper-case letters"):
        names.check_variable_name(name)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("DBT_ENV_SECRET_TOKEN", True),
        ("DBT_ENV_SECRET", True),
        ("DBT_ENV_SECRETS", True),  # dbt asks for no underscore
        ("DBT_ENV_SECRE", False),
        ("DBT_TOKEN", False),
    ],
)
def test_a_name_tells_whether_its_value_is_secret(name: str, secret: bool) -> None:
    assert names.is_secret_name(name) is secret


GOOD_REFS = ["main", "feature/a-b_c.1", "v1.2.3", "größe", "a@b", "release-2024/01", "a" * 255]
BAD_REFS = [
    "", "-x", "--upload-pack=id", "/a", "a/", "a//b", "a..b", "a b", "a\nb", "a~1", "a^", "a:b",
    "a?", "a*", "a[b", "a\\b", "@", "a@{1}", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "a\x7f",
    "a\u202eb",
]  # fmt: skip


@pytest.mark.parametrize("ref", GOOD_REFS)
def test_a_ref_that_git_accepts_is_accepted(ref: str) -> None:
    names.check_ref(ref)


@pytest.mark.parametrize("ref", BAD_REFS)
def test_a_ref_that_git_refuses_or_could_take_for_an_option_is_refused(ref: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be the name of a branch or a tag"):
        names.check_ref(ref)


@pytest.mark.parametrize("ref", [ref for ref in GOOD_REFS + BAD_REFS if ref.isprintable()])
def test_git_agrees_on_what_a_branch_may_be_called(ref: str) -> None:
    done = subprocess.run(["git", "check-ref-format", f"refs/heads/{ref}"], check=False)
    # Beyond git: @ alone means HEAD, and a hyphen at the start looks like an option.
    expected = ref in GOOD_REFS or ref == "@" or ref.startswith("-")
    assert (done.returncode == 0) is expected


@pytest.mark.parametrize("sha", ["0" * 40, "0123456789abcdefABCDEF" + "0" * 18])
def test_a_whole_commit_id_is_accepted(sha: str) -> None:
    names.check_sha(sha)


@pytest.mark.parametrize("sha", ["", "0" * 39, "0" * 41, "g" * 40, "0" * 40 + "\n", "HEAD"])
def test_anything_but_a_whole_commit_id_is_refused(sha: str) -> None:
    with pytest.raises(ValueError, match="40 hexadecimal digits"):
        names.check_sha(sha)


@pytest.mark.parametrize("schema", ["main", "dbt_cloud_pr_1_2", "A1", "_x", "x" * 63, "a$b"])
def test_a_plain_identifier_can_be_a_schema(schema: str) -> None:
    names.check_schema(schema)


@pytest.mark.parametrize(
    "schema", ["", "1a", "x" * 64, 'x"; drop', "a.b", "a-b", "a b", "ü", "a\n", "{{ x }}"]
)
def test_a_schema_that_needs_quoting_is_refused(schema: str) -> None:
    with pytest.raises(ValueError, match="cannot be a schema"):
        names.check_schema(schema)


@pytest.mark.parametrize("target", ["default", "prod", "US-Production", "1", "a.b"])
def test_a_plain_word_can_be_a_target(target: str) -> None:
    names.check_target(target)


@pytest.mark.parametrize("target", ["", "-x", ".x", "a b", "a\n", "{{ x }}", "x" * 128, "a/b"])
def test_a_target_that_could_be_taken_for_something_else_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="cannot be a target name"):
        names.check_target(target)


@pytest.mark.parametrize("path", ["analytics", "analytics/dbt", "a b/c", "a.b", "größe/x"])
def test_a_folder_of_the_repository_can_be_the_subdirectory(path: str) -> None:
    names.check_subdirectory(path)


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "./a", "a/./b", "~/a", "../a", "a/../b", "a//b", "-a", ".git", "a/.GIT/b"]
    + [f"a{sign}b" for sign in "#%&{}<>*?$!'\":@\\\n\x00"],
)
def test_a_folder_that_is_written_oddly_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be the project's subdirectory"):
        names.check_subdirectory(path)
