"""Processes that tell of one end, and send its mail, at one moment."""

from __future__ import annotations

from tests.mailserver import MailServer
from tests.races.conftest import Racers


def test_an_end_that_six_tell_of_and_six_send_is_one_mail(racers: Racers) -> None:
    server = MailServer()
    server.start()
    try:
        end = racers.act("fail_with_an_owner", "owner@example.org")

        told = racers.race("tell_of_run", end)
        sent = racers.race("send_by", server.port)
    finally:
        server.stop()

    assert (sum(told), sum(sent)) == (1, 1)
    assert [letter["To"] for letter in server.inbox.mails] == ["owner@example.org"]
