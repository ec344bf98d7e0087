"""Rules about the ISO itself: its format, its names, its owner, its signature."""

import contextlib

from buildchain.lint import declared, findings, subject
from buildchain.verify import image, listing, medium, records, rock_ridge

MAX_IDENTIFIER = 31
_VOLUME_ID = slice(40, 72)  # ECMA-119 section 8.4.7
_MANIFEST = b"MANIFEST.YAML;1"


def check_format(of: subject.Subject, found: findings.Findings) -> bool:
    """Check which of the three trees are there; False if nothing else can be looked at."""
    name = of.path.name
    with contextlib.closing(image.Image(of.path)) as opened:
        volumes = list(_volumes(opened))
        primary = next((volume for volume in volumes if not volume.is_joliet), None)
        if primary is None:
            found.add("iso-format", name, "is not an ISO-9660 image")
            return False
        if not any(volume.is_joliet for volume in volumes):
            found.add("iso-joliet", name, "has no Joliet records")
        rows = _directory(opened, primary.root.extent)
        has_names = bool(rows) and rows[0].system_use.startswith(rock_ridge.START)
        if not has_names:
            found.add("iso-rock-ridge", name, "has no Rock Ridge records")
        if _MANIFEST not in {row.identifier for row in rows}:
            found.add("iso-short-manifest", name, "has no /MANIFEST.YAML;1")
        _check_identifiers(opened, primary.root.extent, name, found)
    return has_names


def _volumes(opened: image.Image) -> list[records.Volume]:
    found = []
    for number in range(16, 16 + image.MAX_DESCRIPTORS):
        try:
            volume = records.parse_volume(opened.read(records.Extent(number * records.SECTOR, records.SECTOR)))
        except medium.DamagedError:
            break
        if volume is None:
            break
        found.append(volume)
    return found


def _directory(opened: image.Image, extent: records.Extent) -> list[records.Record]:
    try:
        return [records.parse_record(data) for data in records.split_records(opened.read(extent))]
    except medium.DamagedError:
        return []


def _check_identifiers(opened: image.Image, root: records.Extent, name: str, found: findings.Findings) -> None:
    waiting, seen = [root], set()
    while waiting:
        extent = waiting.pop()
        if extent.start in seen:
            continue
        seen.add(extent.start)
        for row in _directory(opened, extent)[2:]:
            if row.is_directory:
                waiting.append(row.extent)
            identifier = row.identifier.partition(b";")[0]
            if len(identifier) > MAX_IDENTIFIER:
                found.add("iso-identifiers", name, f"{identifier.decode('ascii', 'replace')} is too long")


def check(of: subject.Subject, said: declared.Declared | None, found: findings.Findings) -> None:
    """Check what the manifest foretells: file name and volume id; and that everything belongs to root."""
    name = of.path.name
    others = sorted(path for path, node in of.contents.nodes.items() if node.owner not in (None, (0, 0)))
    if others:
        owner = of.contents.nodes[others[0]].owner
        found.add("iso-owner", others[0], f"belongs to {owner}, as do {len(others) - 1} others")
    if said is None:
        return
    if name != f"{said.id}.iso":
        found.add("iso-file-name", name, f"is not {said.id}.iso")
    with of.path.open("rb") as stream:
        stream.seek(16 * records.SECTOR)
        volume_id = stream.read(records.SECTOR)[_VOLUME_ID].decode("utf-8", "replace").rstrip()
    wanted = f"{said.display_name.value or said.name.value} {said.version.value}"
    if volume_id != wanted:
        found.add("iso-volume-id", name, f"is {volume_id!r}, not {wanted!r}")


def check_seal(of: subject.Subject, found: findings.Findings) -> None:
    """Check that it is signed, and what it says of its own files; whether the signature is good, `verify` tells."""
    missing = [path for path in (medium.SUM_NAME, medium.SIGNATURE_NAME) if not of.contents.has_file(path)]
    if missing:
        found.add("unsigned", missing[0], "is not there")
    if medium.SUM_NAME not in missing:
        with contextlib.suppress(medium.DamagedError):
            for fault in listing.judge(of.contents, of.contents.read(medium.SUM_NAME)):
                found.add("contents-differ", fault.path, fault.what)
