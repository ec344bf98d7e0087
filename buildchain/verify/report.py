"""What the judge says: a verdict, every fault it found, and what it did not look at."""

import dataclasses
import enum
import pathlib
from collections.abc import Iterable


class Verdict(enum.Enum):
    """The judgement in one word, from best to worst; a medium with several gets the worst."""

    GOOD = "good"
    DEVELOPMENT_KEY = "development key"
    UNKNOWN_KEY = "unknown key"
    UNSIGNED = "unsigned"
    CORRUPT = "corrupt"


_MEANING = {
    Verdict.GOOD: "signed by the trusted key {signer}",
    Verdict.DEVELOPMENT_KEY: "intact, but signed by the published development key {signer}: anybody can do that",
    Verdict.UNKNOWN_KEY: "intact, but nothing that is trusted vouches for it (signed by {signer})",
    Verdict.UNSIGNED: "intact, but nobody vouches for it",
    Verdict.CORRUPT: "do not use this medium",
}


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong, and where: a path on the medium, or the part of the image it stands in."""

    path: str
    what: str

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.what}")


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The whole judgement of one medium.

    `version` is what product.txt says, `signer` the primary fingerprint; both are empty when not known. Believe
    `version` only where the exit code is 0. `is_trusted` tells whether the user named the signer's key.
    """

    path: pathlib.Path
    verdict: Verdict
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    version: str = ""
    signer: str = ""
    is_trusted: bool = False

    @property
    def exit_code(self) -> int:
        """0: intact and signed by a key that the user named, be it the development key; 1: anything else.

        Misuse (2) is an error that is raised, never a report.
        """
        return 0 if self.is_trusted and self.verdict in {Verdict.GOOD, Verdict.DEVELOPMENT_KEY} else 1

    def __str__(self) -> str:
        meaning = _MEANING[self.verdict].format(signer=self.signer or "a key that is not at hand")
        notes = [f"note: {printable(note)}" for note in self.notes]
        subject = f"{self.path} ({self.version})" if self.version else str(self.path)
        last = printable(f"{subject}: {self.verdict.value}: {meaning}")
        return "\n".join([*map(str, self.faults), *notes, last, ""])


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts; none at all is unsigned."""
    ranks = list(Verdict)
    return max(verdicts, key=ranks.index, default=Verdict.UNSIGNED)


def printable(text: str) -> str:
    """Text of a hostile medium for a terminal: no control characters, no broken encodings."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
