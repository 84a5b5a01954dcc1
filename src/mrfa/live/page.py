"""The browser as screen and keyboard: pictures as motion JPEG, and a page around them, on this machine alone."""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from types import TracebackType

import cv2
import numpy as np

from mrfa.errors import InputError

HOST = "127.0.0.1"
QUALITY = 85
# Seconds for which a browser waits for the next picture.
_PATIENCE = 10.0
_BOUNDARY = "picture"


class LivePage:
    """Shows pictures at `url` to any number of browsers of this machine. A context manager.

    Args:
        port: to listen on; 0: any that is free.
        on_command: called, on a thread of the page, with what a key or button asks for; raises ValueError for what is none.

    Raises:
        InputError: the port is in use.
    """

    def __init__(self, port: int, on_command: Callable[[str], None]) -> None:
        self._news = threading.Condition()
        self._number, self._jpeg, self._status = 0, b"", "{}"
        self._closed = False
        try:
            self._server = _Server((HOST, port), self, on_command)
        except OSError as error:
            raise InputError(f"cannot listen on port {port} ({error.strerror}): choose another by --port") from None
        self.url = f"http://{HOST}:{self._server.server_port}/"

    def __enter__(self) -> "LivePage":
        threading.Thread(target=self._server.serve_forever, name="page", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def show(self, image: np.ndarray, status: dict[str, str]) -> None:
        """The next picture, uint8 RGB `[H, W, 3]`, and what the page says of it."""
        _, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        with self._news:
            self._number += 1
            self._jpeg, self._status = jpeg.tobytes(), json.dumps(status)
            self._news.notify_all()

    @property
    def status(self) -> str:
        """What was said of the last picture, as JSON."""
        with self._news:
            return self._status

    def after(self, number: int) -> tuple[int, bytes] | None:
        """A picture newer than one, with its number, as soon as there is one; None: there will be none."""
        with self._news:
            self._news.wait_for(lambda: self._number > number or self._closed, _PATIENCE)
            return None if self._closed or self._number <= number else (self._number, self._jpeg)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], page: LivePage, on_command: Callable[[str], None]) -> None:
        self.page, self.on_command = page, on_command
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a browser that goes away is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if not self._from_here():
            return
        if self.path == "/":
            self._answer("text/html; charset=utf-8", (resources.files("mrfa") / "live" / "page.html").read_bytes())
        elif self.path == "/status":
            self._answer("application/json", self.server.page.status.encode())
        elif self.path == "/pictures":
            self._stream()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if not self._from_here():
            return
        try:
            self.server.on_command(self.path.removeprefix("/do/"))
        except ValueError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self._answer("text/plain", b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal shows the rate."""

    def _from_here(self) -> bool:
        """Whether the request is to this machine by its name, from its own page: no other site may see a camera's pictures."""
        here = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in here and (origin is None or origin.removeprefix("http://") in here):
            return True
        self.send_error(HTTPStatus.FORBIDDEN)
        return False

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        number = 0
        while (found := self.server.page.after(number)) is not None:
            number, jpeg = found
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")
