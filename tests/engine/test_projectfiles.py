"""What of a project's own files is refused before dbt reads them."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from jobsvc.engine.errors import ProjectFileRefused
from jobsvc.engine.projectfiles import check_project_files

PATH_KEYS = [
    "model-paths",
    "seed-paths",
    "snapshot-paths",
    "analysis-paths",
    "macro-paths",
    "test-paths",
    "docs-paths",
    "asset-paths",
    "function-paths",
    "packages-install-path",
    "target-path",
    "log-path",
    "clean-targets",
    "source-paths",
    "data-paths",
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "checkout" / "analytics").mkdir(parents=True)
    return tmp_path / "checkout"


def check(checkout: Path, name: str, content: str, *, project: str = "") -> None:
    folder = checkout / project
    (folder / name).write_text(textwrap.dedent(content))
    check_project_files(folder, checkout)


def refusal(checkout: Path, name: str, content: str, *, project: str = "") -> str:
    with pytest.raises(ProjectFileRefused) as refused:
        check(checkout, name, content, project=project)
    return refused.value.summary


@pytest.mark.parametrize("key", [*PATH_KEYS, "model_paths"])
@pytest.mark.parametrize("path", ["/etc", "../other", "a/../../b", "~/x", "a\\0b"])
def test_a_path_that_leaves_the_checkout_is_refused_with_its_line(
    checkout: Path, key: str, path: str
) -> None:
    said = refusal(checkout, "dbt_project.yml", f'name: shop\nversion: 1\n{key}: ["{path}"]\n')
    assert said.startswith("dbt_project.yml, line 3: ")
    assert key.replace("_", "-") in said


@pytest.mark.parametrize("key", PATH_KEYS)
def test_a_path_inside_the_project_is_fine(checkout: Path, key: str) -> None:
    check(checkout, "dbt_project.yml", f"{key}: ['folder/inner', './other']")


def test_a_path_is_refused_on_the_line_of_its_own_item(checkout: Path) -> None:
    said = refusal(
        checkout,
        "dbt_project.yml",
        """\
        name: shop
        model-paths:
          - models
          - ../../secrets
        """,
    )
    assert said == (
        "dbt_project.yml, line 4: model-paths `../../secrets` leads out of the repository."
    )


def test_a_project_in_a_subdirectory_may_read_elsewhere_in_its_checkout(checkout: Path) -> None:
    check(checkout, "dbt_project.yml", "macro-paths: [macros, ../common]", project="analytics")


def test_a_project_in_a_subdirectory_is_named_from_the_root(checkout: Path) -> None:
    said = refusal(checkout, "dbt_project.yml", "seed-paths: [../../x]", project="analytics")
    assert said.startswith("analytics/dbt_project.yml, line 1: ")


def test_an_asset_path_may_not_climb_because_dbt_deletes_it_below_its_target(
    checkout: Path,
) -> None:
    content = "asset-paths: [../common]"
    assert "leads out" in refusal(checkout, "dbt_project.yml", content, project="analytics")


def test_jinja_in_target_path_is_fine_because_the_run_sets_its_own(checkout: Path) -> None:
    check(checkout, "dbt_project.yml", "target-path: \"{{ env_var('DBT_TARGET_PATH', 't') }}\"")


def test_jinja_in_a_path_that_counts_is_refused(checkout: Path) -> None:
    content = "packages-install-path: \"{{ env_var('X') }}\""
    assert "Jinja" in refusal(checkout, "dbt_project.yml", content)


def test_a_path_key_given_twice_is_noticed(checkout: Path) -> None:
    said = refusal(checkout, "dbt_project.yml", "model-paths: [a]\nname: x\nmodel-paths: [b]\n")
    assert said.startswith("dbt_project.yml, line 3: model-paths is given twice")


def test_a_path_that_comes_by_a_merged_mapping_is_found(checkout: Path) -> None:
    said = refusal(
        checkout,
        "dbt_project.yml",
        """\
        vars: &base
          seed-paths: [/etc]
        <<: [*base, *base]
        """,
    )
    assert said.startswith("dbt_project.yml, line 2: seed-paths `/etc`")


def test_a_path_through_a_link_is_followed_to_where_it_leads(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "inside").symlink_to(tmp_path)
    assert "leads out" in refusal(checkout, "dbt_project.yml", "model-paths: [inside/other]")


def test_binary_text_is_refused(checkout: Path) -> None:
    assert "binary" in refusal(checkout, "dbt_project.yml", "model-paths: [!!binary Li4vLi4v]")


def test_an_alias_bomb_is_read_in_no_time(checkout: Path) -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 60)]
    check(checkout, "dbt_project.yml", "\n".join(["l0: &l0 [x]", *levels]))


def test_a_merge_bomb_is_read_in_no_time(checkout: Path) -> None:
    levels = [f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 9)}]}}" for n in range(1, 40)]
    content = "\n".join(["l0: &l0 {log-path: x}", *levels, "<<: *l39"])
    check(checkout, "dbt_project.yml", content)


def test_nesting_without_end_is_refused(checkout: Path) -> None:
    assert "YAML" in refusal(checkout, "dbt_project.yml", "[" * 100_000)


def test_invalid_yaml_is_refused_with_its_line(checkout: Path) -> None:
    said = refusal(checkout, "dbt_project.yml", "name: shop\nmodel-paths: [a\nb: c: d\n")
    assert said.startswith("dbt_project.yml, line 3: it is not valid YAML")


def test_bytes_that_are_not_utf_8_are_refused(checkout: Path) -> None:
    (checkout / "dbt_project.yml").write_bytes("model-paths: [/etc]".encode("utf-16"))
    with pytest.raises(ProjectFileRefused, match="UTF-8"):
        check_project_files(checkout, checkout)


def test_a_huge_file_is_refused_unread(checkout: Path) -> None:
    with (checkout / "packages.yml").open("wb") as file:
        file.truncate(1024**3)
    with pytest.raises(ProjectFileRefused, match="larger than 512 KiB"):
        check_project_files(checkout, checkout)


def test_a_link_or_a_pipe_in_place_of_a_file_is_refused(checkout: Path) -> None:
    os.mkfifo(checkout / "packages.yml")
    with pytest.raises(ProjectFileRefused, match="regular file"):
        check_project_files(checkout, checkout)
    (checkout / "packages.yml").unlink()
    (checkout / "packages.yml").symlink_to("/etc/passwd")
    with pytest.raises(ProjectFileRefused, match="regular file"):
        check_project_files(checkout, checkout)


def test_a_project_folder_that_leads_out_is_refused(checkout: Path, tmp_path: Path) -> None:
    (checkout / "link").symlink_to(tmp_path)
    with pytest.raises(ProjectFileRefused, match="outside the repository"):
        check_project_files(checkout / "link", checkout)


GOOD_PACKAGES = [
    "package: dbt-labs/dbt_utils\n    version: ['>=1.0.0', '<2.0.0']",
    "package: dbt-labs/dbt_utils\n    version: 1.3.0",
    "git: https://example.com/org/repo.git\n    revision: 1.2.3\n    subdirectory: packages/a",
    "git: git@example.com:org/repo.git\n    revision: main",
    "git: ssh://git@example.com/org/repo.git",
    "git: \"https://{{ env_var('DBT_ENV_SECRET_TOKEN') }}@example.com/org/repo.git\"",
    "tarball: https://example.com/a.tar.gz\n    name: a_package",
    "local: packages/mine",
    "local: ./packages/mine",
    "private: org/repo",
]

BAD_PACKAGES = [
    "git: ext::sh -c id",
    "git: 'ext::https://example.com/x'",
    "git: file:///srv/other",
    "git: ../other",
    "git: /srv/other",
    "git: http://example.com/org/repo.git",
    "git: git://example.com/org/repo.git",
    "git: --upload-pack=id",
    "git: -oProxyCommand=id@example.com:x",
    "git: ssh://-oProxyCommand=id/x",
    "git: https://-x/y",
    "git: \"{{ env_var('URL') }}\"",
    "git: github.com/org/repo",
    "git:",
    "git: https://example.com/r.git\n    revision: --upload-pack=id",
    "git: https://example.com/r.git\n    revision: \"{{ '--upload-pack=id' }}\"",
    "git: https://example.com/r.git\n    subdirectory: ../../x",
    "git: https://example.com/r.git\n    subdirectory: /etc",
    "git: https://example.com/r.git\n    subdirectory: -x",
    "git: https://example.com/r.git\n    git: ext::id",
    "name: a\n    tarball: http://example.com/a.tar.gz",
    "name: a\n    tarball: file:///etc/passwd",
    "tarball: https://example.com/a.tar.gz\n    name: ../../a",
    "local: ../other",
    "local: /srv/other",
    "local: ~/other",
    "local: \"{{ env_var('X') }}\"",
    "private: --x",
]


@pytest.mark.parametrize("name", ["packages.yml", "dependencies.yml", "package-lock.yml"])
@pytest.mark.parametrize("entry", GOOD_PACKAGES)
def test_a_package_from_a_known_kind_of_place_is_fine(
    checkout: Path, name: str, entry: str
) -> None:
    check(checkout, name, f"packages:\n  - {entry}\n")


@pytest.mark.parametrize("name", ["packages.yml", "dependencies.yml", "package-lock.yml"])
@pytest.mark.parametrize("entry", BAD_PACKAGES)
def test_a_package_from_elsewhere_is_refused_with_its_line(
    checkout: Path, name: str, entry: str
) -> None:
    content = (
        f"# ours\npackages:\n  - package: dbt-labs/dbt_utils\n    version: 1.3.0\n  - {entry}\n"
    )
    said = refusal(checkout, name, content)
    assert said.startswith(f"{name}, line {4 + len(entry.splitlines())}: ")


def test_a_local_package_beside_the_project_may_lie_in_its_checkout(checkout: Path) -> None:
    check(checkout, "packages.yml", "packages: [{local: ../common}]", project="analytics")


def test_a_second_packages_key_is_read_as_well(checkout: Path) -> None:
    content = "packages: [{local: /etc}]\npackages: []\n"
    assert "local `/etc`" in refusal(checkout, "packages.yml", content)


def test_a_project_without_any_of_these_files_passes(checkout: Path) -> None:
    check_project_files(checkout, checkout)
