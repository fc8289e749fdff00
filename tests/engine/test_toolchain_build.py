"""Environments are made once, whole or not at all; only a stand-in for uv is run here."""

from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from jobsvc.engine.errors import IndexUnreachable, VersionNotBuilt
from jobsvc.engine.toolchain import Wanted, check_version, choices_of, read_locks, read_version
from jobsvc.engine.toolchain_build import (
    MARKER,
    Stopped,
    Workshop,
    is_hash_locked,
    package_of,
    reason_in,
)

# Writes down how it was called, then makes what uv would: an environment that holds the
# packages of its lock, or those it was given.
UV = """#!/bin/sh
echo "$@" >> {calls}
env >> {environment}
for last; do :; done
case "$*" in
*" venv "*) mkdir -p "$last/bin" ;;
*) sleep {seconds}
   {fails}
   for word; do
       case "$previous" in --python) place=${{word%/bin/python}} ;; esac
       previous=$word
   done
   site=$place/lib/python3.11/site-packages
   mkdir -p "$site/dbt_core-1.10.23.dist-info" "$site/dbt_duckdb-1.10.1.dist-info"
   echo '#!/bin/sh' > "$place/bin/dbt" ;;
esac
"""
LOCK = "dbt-adapters==1.24.5\ndbt-core==1.10.23 \\\n    --hash=sha256:0\ndbt-duckdb==1.10.1\n"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return make_workshop(tmp_path)


def make_workshop(place: Path, *, seconds: float = 0, fails: str = "") -> Workshop:
    """A workshop with a lock for 1.10, whose uv takes ``seconds`` or does ``fails``."""
    locks, uv = place / "locks", place / "uv"
    locks.mkdir()
    (locks / "dbt-1.10.txt").write_text(LOCK)
    uv.write_text(
        UV.format(
            calls=place / "toolchains" / "calls",
            environment=place / "toolchains" / "environment",
            seconds=seconds,
            fails=fails,
        )
    )
    uv.chmod(0o755)
    return Workshop(directory=place / "toolchains", locks=locks, uv=uv)


def calls(workshop: Workshop) -> list[str]:
    return (workshop.directory / "calls").read_text().splitlines()


def never() -> bool:
    return False


def made_in(workshop: Workshop) -> list[str]:
    return sorted(path.name for path in workshop.directory.glob("dbt-*"))


def test_what_a_lock_covers_is_installed_by_its_hashes(workshop: Workshop) -> None:
    made = workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never)

    _venv, install = calls(workshop)
    assert f"--require-hashes --requirement {workshop.locks}/dbt-1.10.txt" in install
    assert made.executable == workshop.directory / "dbt-1.10.23-duckdb" / "bin" / "dbt"
    assert is_hash_locked(made) is True


def test_an_adapter_beyond_the_lock_is_installed_beside_the_locks_dbt(workshop: Workshop) -> None:
    with pytest.raises(VersionNotBuilt, match="what was installed is not what was asked for"):
        workshop.build(Wanted("1.10"), ["duckdb", "snowflake"], should_stop=never)

    assert "dbt-core==1.10.23 dbt-duckdb dbt-snowflake" in calls(workshop)[1]
    assert "--require-hashes" not in calls(workshop)[1]
    assert made_in(workshop) == []


@pytest.mark.parametrize(
    ("wanted", "requirement"),
    [(Wanted("1.10", "1.10.5"), "dbt-core==1.10.5 "), (Wanted("1.8"), "dbt-core==1.8.* ")],
)
def test_a_version_without_a_lock_is_left_to_the_resolver(
    workshop: Workshop, wanted: Wanted, requirement: str
) -> None:
    with pytest.raises(VersionNotBuilt):
        workshop.build(wanted, ["duckdb"], should_stop=never)

    assert requirement in calls(workshop)[1]


def test_a_track_is_the_newest_lock(workshop: Workshop) -> None:
    assert workshop.build(Wanted(), ["duckdb"], should_stop=never).version == "1.10.23"


def test_no_package_builds_itself_unless_an_administrator_says_so(tmp_path: Path) -> None:
    workshop = make_workshop(tmp_path)
    workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never)

    assert "--no-build" in calls(workshop)[1]


def test_everybody_can_read_and_start_it(workshop: Workshop) -> None:
    made = workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never)

    root = made.executable.parent.parent
    assert stat.S_IMODE(made.executable.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*") if path.is_dir()} == {
        0o755
    }


def test_the_marker_says_what_it_holds(workshop: Workshop) -> None:
    made = workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never)

    assert json.loads((made.executable.parent.parent / MARKER).read_text()) == {
        "version": "1.10.23",
        "adapters": ["duckdb"],
        "hash_locked": True,
    }


def test_the_installer_learns_nothing_of_the_workers_secrets(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBSVC_SECRET_KEY", "battery-staple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "file:///index")

    workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never)

    seen = (workshop.directory / "environment").read_text()
    assert "battery-staple" not in seen
    assert "UV_DEFAULT_INDEX=file:///index" in seen


def test_a_second_asking_finds_it_made(workshop: Workshop) -> None:
    first = workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never)
    second = workshop.build(Wanted("1.10", "1.10.23"), ["duckdb"], should_stop=never)

    assert first == second
    assert len(calls(workshop)) == 2


def build_in(place: Path) -> str:
    workshop = Workshop(directory=place / "toolchains", locks=place / "locks", uv=place / "uv")
    return str(workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never).executable)


def test_of_four_workers_that_need_it_at_once_one_makes_it(tmp_path: Path) -> None:
    workshop = make_workshop(tmp_path, seconds=1)

    with multiprocessing.get_context("spawn").Pool(4) as workers:
        made = workers.map(build_in, [tmp_path] * 4, chunksize=1)

    assert set(made) == {str(workshop.directory / "dbt-1.10.23-duckdb" / "bin" / "dbt")}
    assert len(calls(workshop)) == 2


def test_a_stop_ends_the_installing_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    workshop = make_workshop(tmp_path, seconds=60)
    looks = iter([False] * 5 + [True] * 1000)

    with pytest.raises(Stopped):
        workshop.build(Wanted("1.10"), ["duckdb"], should_stop=lambda: next(looks))

    assert made_in(workshop) == []
    assert list(workshop.directory.glob(".making-*")) == []


def test_what_a_killed_worker_left_is_cleared_away(workshop: Workshop) -> None:
    left = workshop.directory / ".making-1.10-duckdb"
    (left / "bin").mkdir(parents=True)
    (left / "bin" / "half").touch()

    made = workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never)

    assert not (made.executable.parent / "half").exists()


def test_a_failure_is_told_in_the_installers_words(tmp_path: Path) -> None:
    workshop = make_workshop(
        tmp_path, fails="echo 'error: no such host: https://me:pw@index.example/simple/'; exit 2"
    )

    with pytest.raises(VersionNotBuilt) as failure:
        workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never)

    assert str(failure.value) == (
        "dbt 1.10.x with duckdb could not be installed: no such host: <address>. Choose another "
        "version (installed: nothing is installed yet), or ask your administrator."
    )


def test_an_index_that_does_not_answer_is_told_from_a_version_that_is_not(tmp_path: Path) -> None:
    said = (
        "error: Failed to fetch: http://u:p@index/simple/\n  cause: dns error (http://u:p@index/)"
    )
    workshop = make_workshop(tmp_path, fails=f"echo '{said}'; exit 2")

    with pytest.raises(IndexUnreachable) as failure:
        workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never)

    assert ": Failed to fetch: <address>: dns error (<address>). Retry;" in str(failure.value)


def test_a_folder_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    workshop = make_workshop(tmp_path)
    workshop.directory.write_text("a file")

    with pytest.raises(VersionNotBuilt, match="could not be installed: Not a directory"):
        workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never)


def test_long_words_are_cut_and_drawings_left_out() -> None:
    said = "  \u00d7 No solution found:\n  ╰─▶ Because x\n      and y.\nhint: try z\n" + "w " * 400

    reason = reason_in(said)

    assert reason.startswith("No solution found: Because x and y. w w")
    assert len(reason) == 400
    assert reason.endswith("…")


def test_an_adapters_package_has_its_name() -> None:
    assert package_of("my_own") == "dbt-my-own"


# --- What may be asked for ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1.11.16", Wanted("1.11", "1.11.16")),
        ("==1.10.23", Wanted("1.10", "1.10.23")),
        ("1.12.0rc1", Wanted("1.12", "1.12.0rc1")),
        ("1.11.x", Wanted("1.11")),
        ("~=1.11", Wanted("1.11")),
        ("1.11", Wanted("1.11")),
        ("1.7.0-latest", Wanted("1.7")),
        ("Latest", Wanted()),
        ("", Wanted()),
        ("git+https://x", None),
        ("1", None),
        ("1.11.16; echo", None),
        ("--index", None),
    ],
)
def test_a_version_is_read_or_not_at_all(text: str, wanted: Wanted | None) -> None:
    assert read_version(text) == wanted


@pytest.mark.parametrize("version", ["latest", "1.10.x", "1.10.23", "1.10.99", "~=1.10"])
def test_what_could_be_had_is_accepted(workshop: Workshop, version: str) -> None:
    check_version(version, installed={}, locks=read_locks(workshop.locks))


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("1.6.x", "dbt 1.6.x is not to be had here. Choose one of: latest,"),
        ("1.12.x", "dbt 1.12.x is not to be had here: dbt 1.12 needs a package whose"),
        ("2.0.1", "what dbt 2 writes cannot be compared with what dbt 1 writes. Choose one of"),
        ("newest", "'newest' is no dbt version. Choose one of: latest, versionless, compatible"),
    ],
)
def test_what_could_not_is_refused_with_the_choices(
    workshop: Workshop, version: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=r"1\.10\.x, 1\.10\.23") as refusal:
        check_version(version, installed={}, locks=read_locks(workshop.locks))

    assert reason in str(refusal.value)


def test_what_an_administrator_installed_can_be_chosen(workshop: Workshop) -> None:
    made = workshop.build(Wanted("1.10"), ["duckdb"], should_stop=never)

    check_version("1.10.x", installed={"ours": made}, locks=[])
    check_version("ours", installed={"ours": made}, locks=[])
    assert "1.10.23" in choices_of({"ours": made}, [])
