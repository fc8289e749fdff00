"""The one way out: where it leads, and that it ends."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from jobsvc.outbound import AddressRefused, NoAnswer, check_address, send

INSIDE = [
    "127.0.0.1",
    "2130706433",
    "127.1",
    "0x7f.1",
    "017700000001",
    "0",
    "①②⑦.⓪.⓪.①",
    "localhost",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::a00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fec0::1]",
    "[fe80::1]",
    "[fd00::1]",
    "[ff02::1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.1",
    "192.88.99.1",
    "224.0.0.1",
    "255.255.255.255",
]
MALFORMED = [
    "",
    "example.com/hook",
    "ftp://example.com/",
    "file:///etc/passwd",
    "https:///hook",
    "https://user:hunter2@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https://127%2e0.0.1/",
    "https://[fe80::1%25eth0]/",
    "https://example.com:99999/",
    "https://example.com:port/",
    "https://example.com/a b",
    "https://example.com/\r\nX-Injected: yes",
    "https://example.com/\N{SNOWMAN}",
    "https://" + "a" * 300 + ".com/",
    "https://example.com/" + "a" * 3000,
]


class Receiver(ThreadingHTTPServer):
    """A web server on one loopback address that misbehaves as its paths say."""

    daemon_threads = True

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), _Handler)
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.closing = threading.Event()
        self.was_cut = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients break off here on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""

    def do_POST(self) -> None:
        self.server.paths.append(self.path)
        self.server.headers.append(dict(self.headers))
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        if self.path == "/drip":
            self._pour(b"x", every=0.02)
        elif self.path == "/huge":
            self._pour(b"x" * 65536, every=0)
        elif self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", f"{self.server.url}/elsewhere")
            self.end_headers()
        elif self.path == "/silent":
            self.server.closing.wait()
        else:
            self.send_response(200)
            self.send_header("X-Said", "Yes")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    do_GET = do_POST

    def _pour(self, piece: bytes, every: float) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.closing.wait(every):
            try:
                self.wfile.write(piece)
            except OSError:
                self.server.was_cut.set()
                return


@contextmanager
def serving(receiver: Receiver) -> Iterator[Receiver]:
    threading.Thread(target=receiver.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.closing.set()
        receiver.shutdown()
        receiver.server_close()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    """A receiver that the operator allows."""
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
    with serving(Receiver()) as made:
        yield made


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """``names(host=[answer, answer, …])``: a DNS whose answers follow each other."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def make(answers: dict[str, list[list[str]]]) -> list[str]:
        def getaddrinfo(host: str, port: int, *arguments: Any, **options: Any) -> Any:
            if host not in answers:
                return real(host, port, *arguments, **options)
            asked.append(host)
            left = answers[host]
            found = left.pop(0) if len(left) > 1 else left[0]
            return [entry for one in found for entry in real(one, port, *arguments, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return make


# --- Where it leads ------------------------------------------------------------------------


@pytest.mark.parametrize("host", INSIDE)
def test_what_leads_inside_is_refused_however_it_is_spelled(host: str) -> None:
    with pytest.raises(AddressRefused, match="JOBSVC_OUTBOUND_NETWORKS"):
        check_address(f"https://{host}/hook")
    with pytest.raises(AddressRefused, match="JOBSVC_OUTBOUND_NETWORKS"):
        send("POST", f"https://{host}/hook")


@pytest.mark.parametrize("url", MALFORMED)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        check_address(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700:4700::1111]", "8.8.8.8:8443"])
def test_a_public_address_is_allowed_encrypted_alone(host: str) -> None:
    check_address(f"https://{host}/hook")
    with pytest.raises(AddressRefused, match="not be encrypted"):
        check_address(f"http://{host}/hook")


def test_a_host_that_nobody_knows_may_be_kept_but_is_not_reached() -> None:
    check_address("https://nobody.invalid/")
    with pytest.raises(NoAnswer, match=r"nobody\.invalid is not known"):
        send("GET", "https://nobody.invalid/")


def test_a_host_of_which_one_address_leads_inside_is_refused(
    names: Callable[..., list[str]],
) -> None:
    names({"both.example": [["8.8.8.8", "10.0.0.1"]]})

    with pytest.raises(AddressRefused):
        check_address("https://both.example/")


def test_a_network_that_the_operator_lists_is_reached_without_encryption(
    receiver: Receiver,
) -> None:
    answer = send("POST", f"{receiver.url}/hook?a=1", headers={"X-Own": "1"}, body=b"{}")

    assert (answer.status, answer.body, answer.headers["x-said"]) == (200, b"ok", "Yes")
    assert (receiver.paths, receiver.bodies) == (["/hook?a=1"], [b"{}"])
    assert receiver.headers[0]["Host"] == f"127.0.0.1:{receiver.port}"
    assert receiver.headers[0]["X-Own"] == "1"


def test_a_list_of_networks_opens_nothing_else(receiver: Receiver, settings: Any) -> None:
    settings.OUTBOUND_NETWORKS = ["10.0.0.0/8"]

    with pytest.raises(AddressRefused):
        send("POST", f"{receiver.url}/hook")
    assert receiver.paths == []


def test_the_address_that_was_checked_is_the_one_connected_to(
    settings: Any, names: Callable[..., list[str]]
) -> None:
    settings.OUTBOUND_NETWORKS = ["127.0.0.1/32"]
    with serving(Receiver()) as allowed:
        asked = names({"moves.example": [["127.0.0.1"], ["127.0.0.2"]]})

        answer = send("POST", f"http://moves.example:{allowed.port}/hook")

        assert (answer.status, asked) == (200, ["moves.example"])
        assert allowed.headers[0]["Host"] == f"moves.example:{allowed.port}"


def test_a_host_that_moves_inside_between_check_and_request_is_not_reached(
    settings: Any, names: Callable[..., list[str]]
) -> None:
    with serving(Receiver()) as inside:
        names({"moves.example": [["8.8.8.8"], ["127.0.0.1"]]})
        check_address(f"https://moves.example:{inside.port}/")

        with pytest.raises(AddressRefused):
            send("POST", f"https://moves.example:{inside.port}/")
        assert inside.paths == []


def test_the_next_address_of_a_host_is_tried_where_the_first_does_not_answer(
    receiver: Receiver, names: Callable[..., list[str]]
) -> None:
    names({"two.example": [["127.0.0.9", "127.0.0.1"]]})

    assert send("POST", f"http://two.example:{receiver.port}/").status == 200


def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver) -> None:
    answer = send("POST", f"{receiver.url}/redirect")

    assert (answer.status, receiver.paths) == (302, ["/redirect"])
    assert answer.headers["location"].endswith("/elsewhere")


def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert send("POST", f"{receiver.url}/hook").status == 200


# --- That it ends --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["drip", "silent"])
def test_whoever_answers_too_slowly_is_given_up(receiver: Receiver, path: str) -> None:
    with pytest.raises(NoAnswer):
        send("POST", f"{receiver.url}/{path}", deadline=0.5)


def test_who_drips_is_cut_off(receiver: Receiver) -> None:
    with pytest.raises(NoAnswer):
        send("POST", f"{receiver.url}/drip", deadline=0.3)

    assert receiver.was_cut.wait(10)


def test_a_lookup_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: over.wait() and [])

    with pytest.raises(NoAnswer):
        send("GET", "https://slow.example/", deadline=0.3)
    over.set()


def test_a_handshake_that_does_not_end_is_given_up(settings: Any) -> None:
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(NoAnswer):
        send("GET", f"https://127.0.0.1:{mute.getsockname()[1]}/", deadline=0.5)


def test_of_a_huge_answer_no_more_is_read_than_is_wanted(receiver: Receiver) -> None:
    answer = send("POST", f"{receiver.url}/huge", largest=100_000)

    assert (answer.status, len(answer.body)) == (200, 100_000)
    assert receiver.was_cut.wait(10)


def test_what_does_not_answer_at_all_is_no_answer(settings: Any) -> None:
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(NoAnswer, match="Nothing answers"):
            send("GET", f"http://127.0.0.1:{free.getsockname()[1]}/")


def test_what_speaks_no_http_is_no_answer(settings: Any) -> None:
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
    with socket.create_server(("127.0.0.1", 0)) as other:

        def speak() -> None:
            line, _address = other.accept()
            line.sendall(b"220 mail.example ESMTP\r\n")
            line.close()

        threading.Thread(target=speak, daemon=True).start()
        with pytest.raises(NoAnswer):
            send("GET", f"http://127.0.0.1:{other.getsockname()[1]}/")


# --- That it is who it says ----------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    """Makes a certificate for a host name, and the authority that vouches for it: two files."""

    def make(host: str) -> tuple[Path, Path]:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
        key = ec.generate_private_key(ec.SECP256R1())
        moment = datetime.now(UTC)

        def certify(subject: x509.Name, public: Any, *extensions: Any) -> x509.Certificate:
            builder = x509.CertificateBuilder(
                issuer_name=name,
                subject_name=subject,
                public_key=public,
                serial_number=x509.random_serial_number(),
                not_valid_before=moment - timedelta(hours=1),
                not_valid_after=moment + timedelta(hours=1),
            )
            for extension in extensions:
                builder = builder.add_extension(extension, critical=False)
            return builder.sign(key, hashes.SHA256())

        root = certify(name, key.public_key(), x509.BasicConstraints(True, None))
        own = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.7"))]
        leaf = certify(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]),
            own.public_key(),
            x509.SubjectAlternativeName(names),
        )
        private = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / "server.pem").write_bytes(private + leaf.public_bytes(Encoding.PEM))
        (tmp_path / "authority.pem").write_bytes(root.public_bytes(Encoding.PEM))
        return tmp_path / "server.pem", tmp_path / "authority.pem"

    return make


@pytest.fixture
def encrypted(
    settings: Any,
    authority: Callable[[str], tuple[Path, Path]],
    names: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Receiver]:
    """A receiver that is good.example by a trusted certificate; bad.example leads to it, too."""
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
    server, root = authority("good.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server)
    names({"good.example": [["127.0.0.1"]], "bad.example": [["127.0.0.1"]]})
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    made = Receiver()
    made.socket = context.wrap_socket(made.socket, server_side=True)
    with serving(made) as receiver:
        yield receiver


def test_a_certificate_is_checked_for_the_name_that_was_asked_for(encrypted: Receiver) -> None:
    assert send("POST", f"https://good.example:{encrypted.port}/").status == 200

    for other in ("bad.example", "127.0.0.1"):
        with pytest.raises(NoAnswer, match="cannot be verified"):
            send("POST", f"https://{other}:{encrypted.port}/secret", body=b"secret")
    assert encrypted.paths == ["/"]


def test_a_certificate_of_an_unknown_authority_is_not_taken(
    encrypted: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    with pytest.raises(NoAnswer, match="cannot be verified"):
        send("POST", f"https://good.example:{encrypted.port}/")
    assert encrypted.paths == []
