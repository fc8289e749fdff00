"""A receiver of webhooks on loopback: it keeps what arrives and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Post:
    """One request, its body as the bytes that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told


class Receiver(ThreadingHTTPServer):
    """Answers 200, unless ``status`` or ``answer`` says otherwise; hangs where it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posts: list[Post] = []
        self.status = 200
        self.says = b"taken"
        self.on_post: Callable[[Post], None] = lambda post: None
        self.hangs = False
        self.released = threading.Event()

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    @property
    def event_ids(self) -> list[str]:
        return [post.told["eventId"] for post in self.posts]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Senders break off here on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        post = Post(self.path, dict(self.headers), self.rfile.read(length))
        self.server.posts.append(post)
        self.server.on_post(post)
        if self.server.hangs:
            self.server.released.wait()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.says)))
        self.end_headers()
        self.wfile.write(self.server.says)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that is up for as long as the block lasts."""
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.released.set()
            receiver.shutdown()
            thread.join()
