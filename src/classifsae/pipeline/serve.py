"""``classifsae serve``: a run's page on this machine, with a box that explains a sentence of one's own.

Only this machine can reach it. Other pages in its browser can try to, so a request must name this server as
its host (else a name that was pointed here could read the answers) and, where it names one, as its origin.
"""

import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from classifsae.errors import ClassifSAEError, ConfigError, StorageError
from classifsae.explaining.explainer import Explanation
from classifsae.pipeline.explain import explainer_of
from classifsae.pipeline.run_folder import RunFolder
from classifsae.reporting.page.page import served
from classifsae.reporting.save import PAGE
from classifsae.storage import Json

HERE, PORT = "127.0.0.1", 8765
MOST_BYTES = 1 << 16
"""Of a question."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".tex": "text/plain; charset=utf-8",
}
_SECONDS = 30.0
"""A request that takes longer to arrive is dropped."""


class Server(ThreadingHTTPServer):
    """Serves one run until it is closed.

    Args:
        port: on this machine; 0: any that is free.
        files: by the path that they are asked for by.
        explain: one text; asked by one request at a time.
    Raises:
        ConfigError: the port is in use, or is none.
    """

    daemon_threads = True

    def __init__(self, port: int, files: dict[str, Path], explain: Callable[[str], Explanation]) -> None:
        self.files, self._explain, self._turn = files, explain, Lock()
        try:
            super().__init__((HERE, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"cannot serve at port {port} ({why}); choose another with --port.") from error

    @property
    def address(self) -> str:
        """To open in a browser."""
        return f"http://{HERE}:{self.server_port}/"

    @property
    def names(self) -> set[str]:
        """By which a request may call this server."""
        return {f"{host}:{self.server_port}" for host in (HERE, "localhost")}

    def answer(self, text: str) -> dict[str, Json]:
        """An explanation as JSON values, and as HTML in which every text is escaped."""
        with self._turn:
            explanation = self._explain(text)
        return explanation.as_json() | {"html": explanation.sheet().html()}


def server_of(
    folder: Path, *, port: int = PORT, method: str | None = None, seed: int | None = None
) -> Server:
    """A server of a run's page and tables, not yet started.

    Args:
        folder: of the run.
        port: on this machine; 0: any that is free.
        method, seed: of the concepts that explain, as for ``explainer_of``.
    Raises:
        StorageError: the run is not finished.
        ConfigError: no such concepts, or the port is in use.
    """
    run = RunFolder(folder)
    page = run.report / PAGE
    if not page.is_file():
        raise StorageError(f"{run.path} holds no report; run its experiment to the end: classifsae run.")
    tables = {f"/table.{end}": run.report / f"table.{end}" for end in ("csv", "json", "tex")}
    files = {"/": page, f"/{PAGE}": page, "/scores.json": run.all_scores, **tables}
    return Server(port, files, explainer_of(folder, method=method, seed=seed).explain)


class _Refused(Exception):  # noqa: N818
    """A request that gets no answer but this."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _SECONDS
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A file of the run."""
        self._reply(self._file)

    def do_POST(self) -> None:
        """An explanation."""
        self._reply(self._explanation)

    def log_message(self, *_: object) -> None:
        """Requests are not logged: they hold texts."""

    def _reply(self, found: Callable[[], tuple[str, bytes]]) -> None:
        status = HTTPStatus.OK
        try:
            self._check_sender()
            kind, body = found()
        except _Refused as refused:
            status, kind, body = refused.status, *_as_json({"error": refused.why})
        except ClassifSAEError as error:
            status, kind, body = HTTPStatus.BAD_REQUEST, *_as_json({"error": str(error)})
        self.close_connection = True  # what a refused request still sends is not read
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Connection": "close",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _check_sender(self) -> None:
        origin = self.headers.get("Origin")
        if self.headers.get("Host", "") not in self.server.names:
            raise _Refused(HTTPStatus.FORBIDDEN, f"This server is at {self.server.address}.")
        if origin is not None and origin.removeprefix("http://") not in self.server.names:
            raise _Refused(HTTPStatus.FORBIDDEN, "Another page may not ask this server.")

    def _file(self) -> tuple[str, bytes]:
        file = self.server.files.get(self.path.partition("?")[0])
        if file is None or not file.is_file():
            raise _Refused(HTTPStatus.NOT_FOUND, "There is no such page.")
        body = file.read_bytes()
        return _TYPES[file.suffix], served(body.decode()).encode() if file.suffix == ".html" else body

    def _explanation(self) -> tuple[str, bytes]:
        if self.path != "/explain":
            raise _Refused(HTTPStatus.NOT_FOUND, "There is no such page.")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, 'Send JSON, such as {"text": "a sentence"}.')
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "Say how long the request is.")
        if int(length) > MOST_BYTES:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A text may have {MOST_BYTES:,} bytes at most."
            )
        return _as_json(self.server.answer(_text(self.rfile.read(int(length)))))


def _text(body: bytes) -> str:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    text = asked.get("text") if isinstance(asked, dict) else None
    if not isinstance(text, str):
        raise _Refused(HTTPStatus.BAD_REQUEST, 'Send JSON with a sentence as "text": {"text": "a sentence"}.')
    return text


def _as_json(values: dict[str, Json]) -> tuple[str, bytes]:
    return _TYPES[".json"], json.dumps(values).encode()
