"""Which installed dbt a version names; read from metadata alone, nothing is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobsvc.engine.errors import VersionUnavailable
from jobsvc.engine.toolchain import ExecutableToolchain


def install(place: Path, version: str, *adapters: str, home: Path | None = None) -> str:
    """A stand-in for a virtual environment: its metadata, and a dbt that cannot be started."""
    site = place / "lib" / "python3.11" / "site-packages"
    for name in (f"dbt_core-{version}", "dbt_adapters-1.24.5", "dbt_common-1.39.0", *adapters):
        (site / f"{name}.dist-info").mkdir(parents=True)
    (place / "bin").mkdir()
    (place / "bin" / "dbt").write_text("not a program")
    (place / "pyvenv.cfg").write_text(f"home = {home or '/usr/bin'}\nversion_info = 3.11.7\n")
    return str(place / "bin" / "dbt")


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    return {
        "1.10": install(tmp_path / "a", "1.10.20", "dbt_duckdb-1.10.1"),
        "1.11": install(tmp_path / "b", "1.11.9", "dbt_duckdb-1.11.1"),
        "1.11-all": install(tmp_path / "c", "1.11.16", "dbt_duckdb-1.11.1", "dbt_postgres-1.11.0"),
        "next": install(tmp_path / "d", "1.12.0rc1", "dbt_duckdb-1.11.1"),
        "gone": str(tmp_path / "nowhere" / "bin" / "dbt"),
    }


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("1.11.9", "1.11.9"),
        ("==1.11.9", "1.11.9"),
        ("1.11.x", "1.11.16"),
        ("1.11", "1.11.9"),  # a name from the settings, before anything else
        ("~=1.11", "1.11.16"),
        ("1.11.*", "1.11.16"),
        ("1.10.0-latest", "1.10.20"),
        ("1.10.latest", "1.10.20"),
        ("latest", "1.11.16"),
        ("versionless", "1.11.16"),
        ("compatible", "1.11.16"),
        ("extended", "1.11.16"),
        ("", "1.11.16"),
        ("1.12.0rc1", "1.12.0rc1"),
    ],
)
def test_a_version_names_the_newest_that_fits(installed, version, found) -> None:
    assert ExecutableToolchain(installed).resolve(version, ["duckdb"]).version == found


def test_an_environment_without_the_adapter_does_not_count(installed) -> None:
    plan = ExecutableToolchain(installed).resolve("1.11.x", ["postgres"])

    assert plan.executable == installed["1.11-all"]


@pytest.mark.parametrize(("version", "adapter"), [("1.9.x", "duckdb"), ("1.11.x", "snowflake")])
def test_what_is_not_installed_is_refused_with_what_is(installed, version, adapter) -> None:
    with pytest.raises(VersionUnavailable) as refusal:
        ExecutableToolchain(installed).resolve(version, [adapter])

    assert f"dbt {version} with {adapter} is not installed" in str(refusal.value)
    assert "1.11.16 with duckdb, postgres" in str(refusal.value)


def test_a_server_without_dbt_says_so() -> None:
    with pytest.raises(VersionUnavailable, match="nothing is installed yet"):
        ExecutableToolchain({}).resolve("latest", ["duckdb"])


def test_an_environment_and_its_python_are_readable(tmp_path: Path) -> None:
    home = tmp_path / "python" / "bin"
    executable = install(tmp_path / "venv", "1.11.16", home=home)

    plan = ExecutableToolchain({"x": executable}).resolve("x", [])

    assert plan.read_only == (str(tmp_path / "venv"), str(tmp_path / "python"))


def test_the_real_environment_is_read_as_it_is(toolchain) -> None:
    assert toolchain.version.startswith("1.11.")
