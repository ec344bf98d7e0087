"""What repositories of both families have in common: where they stand, who signs them, files that an index lists."""

from collections.abc import Iterator

from buildchain.verify import medium, report, signature

Fault = report.Fault


def names(contents: medium.Contents, directory: str) -> list[str]:
    """Of the repositories in a directory, sorted."""
    prefix = f"{directory}/"
    return sorted({path.removeprefix(prefix).split("/")[0] for path in contents.nodes if path.startswith(prefix)})


def judge_signer(path: str, judgement: signature.Judgement, signer: str | None) -> Iterator[Fault]:
    """Faults of a signature; `signer` is that of the medium, or None when nothing vouches for the medium."""
    if judgement.verdict is report.Verdict.CORRUPT:
        yield Fault(path, judgement.what)
    elif signer is not None and judgement.signer != signer:
        yield Fault(path, f"is signed by {judgement.signer or 'an unknown key'}, the medium by {signer}")


def judge_file(contents: medium.Contents, path: str, expected: str, size: int, index: str) -> Iterator[Fault]:
    """Faults of a file whose digest (hex) and size an index lists."""
    if not contents.has_file(path):
        yield Fault(path, f"is missing: {index} lists it")
    elif contents.nodes[path].size != size or contents.digests.get(path, expected) != expected:
        yield Fault(path, f"its content is not that of {index}")
