"""A timestamp authority of this machine: ``openssl ts`` behind a small HTTP server on loopback, which can be slow, fail, or lie."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
ess_cert_id_alg = sha256
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
"""


class LocalAuthority:
    """The authority. ``behaviour``: ``honest``, ``down`` (status 503), ``slow`` (no answer in time), ``rubbish``, or ``replay`` (an old answer)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.behaviour = "honest"
        self.asked = 0
        self.url = ""
        self._last = b""
        _make_certificates(folder)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def answer(self, query: bytes) -> tuple[int, bytes]:
        self.asked += 1
        if self.behaviour == "slow":
            time.sleep(2)
        if self.behaviour == "down":
            return 503, b""
        if self.behaviour == "rubbish":
            return 200, b"not a timestamp"
        if self.behaviour == "replay":
            return 200, self._last
        (self.folder / "query.tsq").write_bytes(query)
        _openssl(
            self.folder,
            ["ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-out", "reply.tsr"],
        )
        self._last = (self.folder / "reply.tsr").read_bytes()
        return 200, self._last


@contextmanager
def serve_timestamps(folder: Path) -> Iterator[LocalAuthority]:
    """Serve an authority on a free port of loopback."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = LocalAuthority(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/timestamp-query"
            status, body = authority.answer(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except BrokenPipeError:
                return  # the hub gave up on a slow answer

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    authority.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield authority
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def _make_certificates(folder: Path) -> None:
    (folder / "tsa.cnf").write_text(_CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl(
        folder,
        ["req", "-x509", *new_key, *["-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=tsa-ca"]],
    )
    _openssl(folder, ["req", *new_key, *["-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=tsa"]])
    signing = "x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile tsa.cnf -extensions leaf -out tsa.pem"
    _openssl(folder, signing.split())


def _openssl(folder: Path, arguments: list[str]) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
