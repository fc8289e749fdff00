"""The canary gets nothing from a confined run, and nearly everything from a plain child."""

from __future__ import annotations

import sys

import pytest

from tests.canary import harness
from tests.canary.harness import Report

# What any user's plain child gets on any Linux, root or not: the proof that the attacks work.
WITHOUT_CONFINEMENT = {
    "change_another_runs_file",
    "change_its_own_profile",
    "change_the_service_database",
    "change_the_services_code",
    "change_the_toolchain",
    "connect_to_a_socket_of_the_service",
    "connect_to_an_abstract_socket",
    "connect_to_postgresql",
    "connect_to_rabbitmq",
    "connect_to_redis",
    "connect_to_the_broker",
    "connect_to_the_broker_by_ipv6",
    "empty_another_runs_file",
    "find_the_services_settings_in_the_environment",
    "leave_a_daemon",
    "leave_a_file_in_shared_memory",
    "leave_a_file_in_the_operators_home",
    "leave_a_file_in_tmp",
    "leave_a_file_in_var_tmp",
    "leave_a_process_in_another_session",
    "leave_a_shared_memory_segment",
    "limit_the_worker",
    "list_all_processes",
    "list_all_runs",
    "list_another_run",
    "listen_for_the_service",
    "make_another_runs_file_look_old",
    "move_another_runs_file",
    "read_another_run_through_a_link",
    "read_another_runs_file",
    "read_another_runs_profile",
    "read_the_operators_key",
    "read_the_service_database",
    "read_the_services_code",
    "read_the_supervisors_environment",
    "read_the_workers_environment",
    "remove_another_runs_file",
    "signal_the_supervisor",
    "signal_the_worker",
    "signal_the_worker_by_a_pipe",
    "signal_the_workers_group",
    "sql_attaches_another_runs_warehouse",
    "sql_copies_into_another_run",
    "sql_copies_into_tmp",
    "sql_copies_over_the_toolchain",
    "sql_lists_other_runs",
    "sql_reads_another_runs_file",
    "sql_reads_another_runs_profile",
    "sql_reads_the_service_database",
    "sql_reads_the_workers_environment",
    "sql_sees_the_services_settings",
    "take_away_another_runs_rights",
    "watch_another_run",
}


@pytest.fixture(scope="module")
def naive(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return harness.attack("naive", tmp_path_factory.mktemp("naive"))


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return harness.attack("confined", tmp_path_factory.mktemp("confined"))


def test_no_attack_gets_anything_from_a_confined_run(naive, confined, capsys):
    with capsys.disabled():
        sys.stdout.write(f"\n{harness.table(naive, confined)}\n")

    assert confined.through() == []


def test_the_same_attacks_get_through_where_nothing_confines_them(naive):
    assert set(naive.through()) >= WITHOUT_CONFINEMENT


def test_every_attack_was_tried_on_both(naive, confined):
    assert confined.verdicts.keys() == naive.verdicts.keys()
    assert len(confined.verdicts) >= 87
