"""`SHA256SUM` and `SHA256SUM.asc` beside an image: the only thing that vouches for the bytes outside of its files."""

import dataclasses
import pathlib
import stat

from buildchain.verify import listing, medium, report

Fault = report.Fault
LABEL = "beside the image: "

_LIMIT = 1 << 20
_MISSING = f"no {medium.SUM_NAME} beside the image speaks of it: bytes outside of its files and trees were not judged"


@dataclasses.dataclass(frozen=True, slots=True)
class Sums:
    """The two files' bytes; each is None where it is not there."""

    text: bytes | None = None
    signature: bytes | None = None


def read(image_path: pathlib.Path) -> Sums:
    """Read what stands beside an image.

    Raises:
        DamagedError: a file is there and cannot be read.
    """
    text = _read(image_path.parent / medium.SUM_NAME)
    signature = _read(image_path.parent / medium.SIGNATURE_NAME)
    return Sums(text, None if text is None else signature)


def judge(sums: Sums, name: str, digest: str) -> tuple[list[Fault], list[str]]:
    """Faults and notes on an image of this file name and digest (hex).

    A renamed image is judged by its digest alone.
    """
    if sums.text is None:
        return [], [_MISSING]
    listed, faults = listing.parse_sums(sums.text)
    faults = [Fault(LABEL + fault.path, fault.what) for fault in faults]
    if name in listed and listed[name] != digest:
        faults.append(Fault(name, f"its bytes are not those of {medium.SUM_NAME} beside it"))
    is_judged = name in listed or digest in listed.values()
    return faults, [] if is_judged else [_MISSING]


def _read(path: pathlib.Path) -> bytes | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise medium.DamagedError(f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise medium.DamagedError("is not a regular file")
    return medium.read_bytes(medium.Content.of_file(path.resolve(), status), _LIMIT)
