"""Secrets out of streams and files."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import resource
import string
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsvc.engine.redact import Redactor

SECRET = 'p@ss "w0rd"/ü+\\x'
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBg/kqhkiG9w0\nBAQEFAASCBKcwggSj+AgEAA\n-----END KEY-----\n"


def redacted(secrets: list[str], *chunks: bytes) -> str:
    redactor = Redactor(secrets)
    return "".join([*map(redactor.feed, chunks), redactor.flush()])


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "json": json.dumps,
    "json in utf-8": lambda value: json.dumps(value, ensure_ascii=False),
    "json in json": lambda value: json.dumps(json.dumps(value)),
    "json for html": lambda value: re.sub(
        "[<>&']", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value)
    ),
    "python": repr,
    "html": html.escape,
    "url": quote,
    "url, slashes, too": lambda value: quote(value, safe=""),
    "url, lower case": lambda value: quote(value, safe="").lower(),
    "form": quote_plus,
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_secret_is_masked_however_programs_write_it(encode: Callable[[str], str]) -> None:
    secret = "hunter2 <&'/ü+\\\">"
    written = encode(secret.lower())
    assert written.strip("\"'") not in redacted([secret.lower()], f"a {written} b".encode())


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
@pytest.mark.parametrize("after", ["", "@", "@h", "@host"])
def test_a_secret_is_masked_inside_base64_wherever_it_begins(
    encode: Callable[[bytes], bytes], before: str, after: str
) -> None:
    secret = "s3cret?pass>word~~"
    shown = redacted([secret], b"Basic " + encode(f"{before}{secret}{after}".encode()) + b" end")
    assert shown.startswith("Basic ") and shown.endswith(" end") and "*****" in shown
    left = "".join(part for part in shown[6:-4].split("*****"))
    # What is left is too short to hold more of the secret than a few bits.
    assert len(left) <= 4 * (len(before) + len(after)) / 3 + 6


def test_text_around_a_secret_stays_as_it_is() -> None:
    assert redacted([SECRET], f"before {SECRET} after".encode()) == "before ***** after"


def test_a_longer_secret_is_masked_whole_though_a_shorter_begins_it() -> None:
    assert redacted(["pass", "password"], b"a password, a pass") == "a *****, a *****"


def test_overlapping_secrets_leave_nothing_of_either() -> None:
    assert redacted(["abcdef", "defghi"], b"[abcdefghi]") == "[*****]"


@pytest.mark.parametrize("secret", ["abc", "", "  x  "])
def test_a_value_under_four_characters_is_not_masked(secret: str) -> None:
    assert redacted([secret], b"abc x abc") == "abc x abc"


def test_a_secret_pasted_with_its_line_end_is_masked() -> None:
    assert redacted(["hunter22\n"], b"password=hunter22;") == "password=*****;"


def test_each_line_of_a_key_is_masked_alone() -> None:
    line = KEY.splitlines()[1]
    assert redacted([KEY], f"> {line}\r\n> next".encode()) == "> *****\r\n> next"


@pytest.mark.parametrize("written", [KEY, KEY.replace("\n", "\r\n"), json.dumps(KEY), repr(KEY)])
def test_a_key_of_several_lines_is_masked_whole(written: str) -> None:
    shown = redacted([KEY], written.encode())
    assert not any(line in shown for line in KEY.splitlines())


def test_a_number_is_masked_as_a_number_only() -> None:
    shown = redacted(["5432"], b"port 5432, took 1.54321 s, 5432:5432, 95432")
    assert shown == "port *****, took 1.54321 s, *****:*****, 95432"


def test_a_number_is_masked_at_the_very_end() -> None:
    assert redacted(["5432"], b"54", b"32") == "*****"


def test_a_number_that_goes_on_in_the_next_chunk_is_another_number() -> None:
    assert redacted(["5432"], b"5432", b"1") == "54321"
    assert redacted(["5432"], b"1", b"5432") == "15432"


def test_a_nul_inside_a_secret_does_not_hide_it() -> None:
    assert redacted(["hunter22"], b"hun\x00ter", b"\x0022\x00.") == "*****."


def test_invalid_utf_8_is_replaced_and_a_cut_character_is_waited_for() -> None:
    assert redacted([SECRET], b"\xff|\xc3", b"\xa4|\xe2\x82") == "\ufffd|ä|\ufffd"


def test_a_complete_line_is_shown_at_once() -> None:
    redactor = Redactor([SECRET, KEY, "1234567"])
    assert redactor.feed(b"12 of 34 done\n") == "12 of 34 done\n"


def test_what_could_become_a_secret_waits() -> None:
    redactor = Redactor(["password"])
    assert [redactor.feed(b"a pass"), redactor.feed(b"age"), redactor.flush()] == [
        "a ",
        "passage",
        "",
    ]


def test_after_flush_a_stream_begins_anew() -> None:
    redactor = Redactor(["password"])
    assert [redactor.feed(b"pass"), redactor.flush(), redactor.feed(b"word")] == [
        "",
        "pass",
        "word",
    ]


def scrubbed(redactor: Redactor, content: bytes) -> bytes:
    copy = io.BytesIO()
    redactor.scrub_file(io.BytesIO(content), copy)
    return copy.getvalue()


def test_without_secrets_everything_passes() -> None:
    assert redacted([], b"any", b"thing") == "anything"


def test_a_file_is_masked_and_otherwise_untouched() -> None:
    content = b"\x00\xff" + SECRET.encode() + b"\x00\r\n" + bytes(range(256))
    expected = b"\x00\xff*****\x00\r\n" + bytes(range(256))
    assert scrubbed(Redactor([SECRET]), content) == expected


def test_scrubbing_a_file_leaves_the_stream_alone() -> None:
    redactor = Redactor(["password"])
    redactor.feed(b"pass")
    scrubbed(redactor, b"password")
    assert redactor.feed(b"word") + redactor.flush() == "*****"


def test_a_masked_artifact_is_still_json() -> None:
    secrets = [SECRET, "5432", KEY, 'quote"d']
    artifact = {"a": SECRET, "port": "5432", "at": 1763715432.154321, "k": KEY, "q": ['quote"d']}
    shown = scrubbed(Redactor(secrets), json.dumps(artifact).encode())
    assert json.loads(shown)["at"] == artifact["at"]


# An alphabet this small makes secrets overlap each other and themselves.
SECRETS = st.lists(
    st.text("abc\n", min_size=4, max_size=9) | st.text("12", min_size=4, max_size=6), max_size=4
)
PIECES = st.lists(st.text("abc12 \n\x00ü", max_size=12) | st.none(), max_size=12)


@settings(max_examples=400, deadline=None)
@given(SECRETS, PIECES, st.data())
def test_however_a_stream_is_cut_the_output_is_the_same_and_holds_no_secret(
    secrets: list[str], pieces: list[str | None], data: st.DataObject
) -> None:
    # None stands for a secret.
    text = "".join(
        data.draw(st.sampled_from(secrets)) if piece is None and secrets else piece or ""
        for piece in pieces
    )
    stream = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    shown = redacted(secrets, *chunks)
    assert shown == redacted(secrets, stream)
    assert not any(
        secret.strip() in shown
        for secret in secrets
        if len(secret.strip()) >= 4 and not secret.strip().isdigit()
    )


@settings(max_examples=200, deadline=None)
@given(st.text(string.printable, min_size=4, max_size=30), st.integers(1, 7))
def test_a_secret_of_any_characters_is_masked_across_chunks(secret: str, size: int) -> None:
    stream = f"«{secret}» «{json.dumps(secret)}»".encode()
    shown = redacted([secret], *(stream[i : i + size] for i in range(0, len(stream), size)))
    if len(secret.strip()) >= 4 and "*" not in secret:
        assert secret.strip() not in shown


def test_a_line_of_200_mb_is_drained_fast_in_little_memory() -> None:
    redactor = Redactor(["s3cr3t-pass/word", "hunter2hunter2", "ghp_" + "aB3" * 12, "postgres"])
    chunk = (b"12:01:33.123456 [info ] 1 of 23 OK created sql table model prod.stg_orders " * 4000)[
        : 256 * 1024
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shown, slices = 0, []
    for _ in range(8):
        began = time.process_time()
        shown += sum(len(redactor.feed(chunk)) for _ in range(100))
        slices.append(time.process_time() - began)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert shown + len(redactor.flush()) == 800 * len(chunk)
    assert grown < 32 * 1024  # KiB
    # The fastest of eight: what else the machine does at the time is not ours to measure.
    assert 25 / min(slices) > 100, f"{25 / min(slices):.0f} MiB/s"
