"""Programs without a network but for one folder, which HTTP serves to them."""

import pathlib

URL = "http://127.0.0.1:8000"

_SPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

_SCRIPT = """\
ip link set lo up
python3 -m http.server --bind 127.0.0.1 --directory "$1" 8000 >/dev/null 2>&1 &
until python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8000))' 2>/dev/null; do sleep 0.05; done
shift
exec "$@"
"""


def argv(served: pathlib.Path, *, is_root: bool) -> list[str]:
    """The command line to which a program is added; what it leaves running ends with it."""
    spaces = _SPACES if is_root else ("--map-root-user", *_SPACES)
    return ["unshare", *spaces, "sh", "-euc", _SCRIPT, "sh", str(served)]
