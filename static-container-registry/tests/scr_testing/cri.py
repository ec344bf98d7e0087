"""The container runtime interface as a kubelet speaks it: gRPC over a socket, here with curl.

Debian has no client for it. Of its messages (k8s.io/cri-api, runtime/v1/api.proto) few are needed, and these are few
bytes: a length-prefixed protobuf with one nested text.
"""

import pathlib
import tempfile

from scr_testing import programs


class Images:
    """The image service of a runtime that listens on a socket."""

    def __init__(self, socket: pathlib.Path) -> None:
        self._socket = socket

    def pull(self, reference: str) -> str:
        """PullImage; the image's id.

        Raises:
            AssertionError: with the runtime's words.
        """
        # PullImageRequest { ImageSpec image = 1 { string image = 1 } }; PullImageResponse { string image_ref = 1 }
        request = _field(1, _field(1, reference.encode()))
        return _text(self._call("PullImage", request))

    def _call(self, method: str, request: bytes) -> bytes:
        with tempfile.TemporaryDirectory(prefix="cri-") as name:
            folder = pathlib.Path(name)
            # A message on a gRPC stream: not compressed, four bytes of length.
            (folder / "request").write_bytes(b"\0" + len(request).to_bytes(4) + request)
            programs.run(*_curl(self._socket, folder), f"http://cri/runtime.v1.ImageService/{method}")
            lines = (folder / "headers").read_text().splitlines()
            headers = dict(line.split(": ", 1) for line in lines if ": " in line)
            assert headers.get("grpc-status") == "0", f"{method}: {headers.get('grpc-message', headers)}"
            return (folder / "answer").read_bytes()[5:]


def _curl(socket: pathlib.Path, folder: pathlib.Path) -> list[str]:
    options = ["--silent", "--show-error", "--http2-prior-knowledge", "--unix-socket", str(socket)]
    headers = ["--header", "content-type: application/grpc", "--header", "te: trailers"]
    files = [
        "--data-binary",
        f"@{folder}/request",
        "--dump-header",
        f"{folder}/headers",
        "--output",
        f"{folder}/answer",
    ]
    return ["curl", *options, *headers, *files]


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of less than 128 bytes."""
    assert len(content) < 128, "a longer length takes more bytes"
    return bytes([number << 3 | 2, len(content)]) + content


def _text(message: bytes) -> str:
    """The first field of a message, a text of less than 128 bytes."""
    assert message[0] == 1 << 3 | 2
    return message[2 : 2 + message[1]].decode()
