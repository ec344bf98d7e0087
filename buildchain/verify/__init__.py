"""The judge of a finished medium: an image, or a folder that is mounted or staged.

It shares no code with the makers, follows no link, uses no network, and takes everything on the medium for hostile:
whatever is wrong becomes a fault. `scripts/verify.sh`, which ships on the medium, gives the same verdicts with the
tools of any host, but looks only at the signature, the digests and the listing.
"""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import pathlib
import re

from buildchain import errors
from buildchain.verify import (
    beside,
    folder,
    hashing,
    image,
    images,
    listing,
    medium,
    packages,
    redhat,
    registry,
    report,
    signature,
    solution,
)
from buildchain.verify.report import Fault, Report, Verdict
from buildchain.verify.signature import Trust

__all__ = ["Fault", "Report", "Trust", "Verdict", "judge", "read"]

_KNOWN = {Verdict.GOOD, Verdict.DEVELOPMENT_KEY}
_HINT = "Name an ISO file, or the folder where a medium is mounted or staged."


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """A medium as it was read, before anything is compared. `whole` is all of an image."""

    nodes: dict[str, medium.Node]
    faults: list[Fault]
    sums: beside.Sums
    whole: medium.Content | None = None

    @property
    def read(self) -> medium.Reader:
        """Gives the bytes of its files by path."""
        return medium.reader(self.nodes)


def judge(
    path: pathlib.Path,
    trust: Trust,
    *,
    jobs: int | None = None,
    progress: hashing.Progress | None = None,
) -> Report:
    """Judge a medium; everything that is wrong with it is in the report.

    Arguments:
        path:     an ISO file, or the folder where a medium is mounted or staged.
        jobs:     threads that hash; one for each processor when not given.
        progress: called with (bytes done, bytes in all) while contents are hashed.

    Raises:
        BuildchainError: the path cannot be read, a trusted key is none, or gpg is missing.
    """
    try:
        found = _scan(path)
    except OSError as error:
        raise errors.BuildchainError(str(path), error.strerror or str(error), _HINT) from error
    with contextlib.ExitStack() as stack:
        with concurrent.futures.ThreadPoolExecutor(1) as other:  # gpg's time is spent while contents are hashed
            vouching = other.submit(_judge_signatures, found, trust, stack)
            contents, whole, faults = _digest(found, jobs, progress)
        authority, judgements, signature_faults = vouching.result()
        known = next((each.signer for each in judgements if each.verdict in _KNOWN), None)
        faults += packages.judge(contents, authority.read_clearsigned, known)
        faults += redhat.judge(contents, authority.judge, known)
    more, notes = _judge_contents(contents)
    if found.whole is not None:
        outer, outer_notes = beside.judge(found.sums, path.name, whole)
        more, notes = [*more, *outer], [*notes, *outer_notes]
    faults = [*found.faults, *faults, *more]
    verdicts = [each.verdict for each in judgements] + [Verdict.CORRUPT] * bool(faults)
    return Report(
        path,
        report.worst(verdicts),
        tuple(sorted({*faults, *signature_faults})),
        tuple(notes),
        _version(contents),
        next((each.signer for each in judgements), ""),
        bool(judgements) and all(each.is_trusted for each in judgements),
    )


def read(path: pathlib.Path) -> tuple[list[str], medium.Reader]:
    """The regular files of a medium and a reader of them; nothing is judged.

    Raises:
        BuildchainError: the path cannot be read, or is no medium.
    """
    try:
        found = _scan(path)
    except OSError as error:
        raise errors.BuildchainError(str(path), error.strerror or str(error), _HINT) from error
    paths = [name for name, node in found.nodes.items() if node.content is not None]
    if not paths:
        raise errors.BuildchainError(str(path), "has no files", _HINT)
    return paths, medium.reader(found.nodes)


def _scan(path: pathlib.Path) -> _Found:
    if path.is_dir():
        nodes, faults = folder.scan(path)
        return _Found(nodes, faults, beside.Sums())
    with contextlib.closing(image.Image(path)) as opened:
        nodes = image.scan(opened)
        faults = opened.faults
        whole = opened.content([image.Extent(0, opened.size)])
    if sum(content.size for content in _unique(nodes)) > whole.size:
        faults.append(Fault("/", "its files claim more bytes than the image has: their contents were not judged"))
        nodes = {name: dataclasses.replace(node, content=None) for name, node in nodes.items()}
    try:
        return _Found(nodes, faults, beside.read(path), whole)
    except medium.DamagedError as error:
        faults.append(Fault(f"{beside.LABEL}{medium.SUM_NAME} or {medium.SIGNATURE_NAME}", str(error)))
        return _Found(nodes, faults, beside.Sums(), whole)


def _unique(nodes: dict[str, medium.Node]) -> list[medium.Content]:
    """Each content of some entries once."""
    contents = (node.content for node in nodes.values() if node.content)
    return list({content.identity: content for content in contents}.values())


def _digest(
    found: _Found, jobs: int | None, progress: hashing.Progress | None
) -> tuple[medium.Contents, str, list[Fault]]:
    """Hash everything; also returns the digest of the whole image, and a fault for each file that cannot be read."""
    work = _unique(found.nodes)
    if found.whole is None:
        work.sort(key=lambda content: -content.size)
    else:
        # The image itself first, its files in the order of the disk: what one thread reads, the others find cached.
        work = [found.whole, *sorted(work, key=lambda content: content.parts)]
    if found.sums.text is None and found.whole is not None:
        work.remove(found.whole)
    digests = hashing.digests(work, jobs, progress)
    by_path = {path: digests[node.content.identity] for path, node in found.nodes.items() if node.content}
    good = {path: digest for path, digest in by_path.items() if isinstance(digest, str)}
    faults = [Fault(path, str(error)) for path, error in by_path.items() if not isinstance(error, str)]
    whole = digests.get(found.whole.identity, "") if found.whole else ""
    contents = medium.Contents.of(found.nodes, good, found.read)
    return contents, whole if isinstance(whole, str) else "", faults


def _judge_signatures(
    found: _Found, trust: Trust, stack: contextlib.ExitStack
) -> tuple[signature.Authority, list[signature.Judgement], list[Fault]]:
    """Judge the signature on the medium, first, and the one beside it; the authority lives as long as `stack`."""
    offered = _read(found.read, medium.KEY_NAME) or b""
    authority = stack.enter_context(signature.authority(trust, offered))
    judgements, faults = [], []
    inner = beside.Sums(_read(found.read, medium.SUM_NAME), _read(found.read, medium.SIGNATURE_NAME))
    for label, pair in (("", inner), (beside.LABEL, found.sums)):
        if pair.text is None:
            continue
        judgement = _judge_signature(authority, pair.text, pair.signature)
        judgements.append(judgement)
        if judgement.what:
            faults.append(Fault(label + medium.SIGNATURE_NAME, judgement.what))
        if signature.MISFIT in judgement.what:
            faults.append(Fault(label + medium.SUM_NAME, "is not what its signature signs, or that was changed"))
    _read_ahead(found, authority)
    return authority, judgements, faults


def _read_ahead(found: _Found, authority: signature.Authority) -> None:
    """Ask gpg about the first repositories while contents are hashed; the authority remembers what it said."""
    messages = (path for path in found.nodes if path.endswith("/InRelease"))
    small = (path for path in messages if found.nodes[path].size <= signature.MAX_REMEMBERED)
    for path in itertools.islice(small, signature.COUNT_REMEMBERED):
        with contextlib.suppress(medium.DamagedError):
            authority.read_clearsigned(found.read(path))


def _judge_signature(authority: signature.Authority, text: bytes, signed: bytes | None) -> signature.Judgement:
    if signed is None:
        return signature.Judgement(Verdict.UNSIGNED, "is missing: nobody vouches for this medium")
    return authority.judge(signed, text)


def _judge_contents(contents: medium.Contents) -> tuple[list[Fault], list[str]]:
    faults: list[Fault] = []
    text = _read(contents.read, medium.SUM_NAME)
    if text is None:
        faults.append(Fault(medium.SUM_NAME, "is missing"))
    else:
        faults += listing.judge(contents, text)
    found, image_faults, notes = images.judge(contents)
    faults += image_faults
    faults += registry.judge(contents, found)
    return faults, notes


def _read(read: medium.Reader, path: str) -> bytes | None:
    try:
        return read(path)
    except medium.DamagedError:
        return None


def _version(contents: medium.Contents) -> str:
    text = _read(contents.read, medium.PRODUCT_NAME)
    if text is None:
        return solution.of(contents).title
    values = dict(re.findall(r"^(NAME|VERSION)=(.+)$", text.decode("utf-8", "replace")[:4096], re.MULTILINE))
    return " ".join(values[key] for key in ("NAME", "VERSION") if key in values)
