"""The signature in an RPM's header, put there without rpm: the builder's output is unsigned, and has no key.

What is signed is the header proper, which holds the digest of the payload. The result is byte for byte that of
`rpmsign --addsign` with the same key at the same time: the signature is one more field of the signature header, which
takes its room from the field that rpmbuild reserves for it.
"""

import base64
import concurrent.futures
import dataclasses
import os
import re
import shutil
from collections.abc import Sequence

from buildchain import digest, errors, lock, signing, store
from buildchain.rpm import header

# lib/rpmtag.h of rpm: the region of signature headers, and the fields that are signatures.
_REGION = 62
_RSA = 268
_SIGNATURES = (267, _RSA, 278, 1002, 1003, 1005)  # DSA, RSA, OpenPGP; PGP, PGP5 and GPG of header and payload
_RESERVED = 1008
_PAYLOAD_DIGEST = 5092

_ARMOUR = re.compile(
    rb"-----BEGIN PGP SIGNATURE-----\n(?:[^\n]+\n)*\n((?:[A-Za-z0-9+/]+=*\n)+)=[A-Za-z0-9+/]{4}\n-----END"
)


def sign_all(
    packages: Sequence[lock.Package], source: store.Store, *, signer: signing.Signer, epoch: int
) -> list[lock.Package]:
    """Sign packages that were built here, several at a time.

    Returns:
        The packages with the contents that `sign` gives them, in the same order.
    """
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda each: _signed(each, source, signer, epoch), packages))


def sign(content: digest.Descriptor, source: store.Store, *, signer: signing.Signer, epoch: int) -> digest.Descriptor:
    """Sign an RPM; signatures that it has are replaced.

    Arguments:
        content: an RPM in the store.
        epoch:   time of the signature, in seconds since 1970.

    Returns:
        The signed RPM, which is in the store too.

    Raises:
        BuildchainError: the content is no RPM, or one so old that its header does not vouch for its payload.
    """
    with source.open(content.digest) as stream:
        try:
            front = header.read_front(stream)
            if _PAYLOAD_DIGEST not in header.parse(front.header):
                raise header.DamagedError("has no digest of its payload in its header: built by rpm 4.13 or older")
            signatures = _with_signature(front.signatures, _binary(signer.detach(front.header, epoch)))
        except header.DamagedError as error:
            hint = "Build it with rpm 4.14 or later."
            raise errors.BuildchainError(f"package {content.digest}", str(error), hint) from error
        with source.writer() as writer:
            writer.stream.write(front.lead + signatures + bytes(-len(signatures) % 8) + front.header)
            shutil.copyfileobj(stream, writer.stream, digest.BLOCK_SIZE)
            size = writer.stream.tell()
            writer.stream.seek(0)
            signed = digest.Descriptor(digest.Digest.of_file(writer.stream), size)
            if not source.has(signed):
                writer.commit(signed)
    return signed


def _signed(package: lock.Package, source: store.Store, signer: signing.Signer, epoch: int) -> lock.Package:
    return dataclasses.replace(package, content=sign(package.content, source, signer=signer, epoch=epoch))


def _with_signature(signatures: bytes, signature: bytes) -> bytes:
    """A signature header with one signature; as long as before, if there is room for that."""
    before = header.parse(signatures)
    fields = header.without(before, _SIGNATURES)
    fields[_RSA] = header.Field(header.BINARY, len(signature), signature)
    reserved = before.get(_RESERVED)
    if reserved:
        left = reserved.count - len(header.dump(fields, _REGION)) + len(signatures)
        del fields[_RESERVED]
        if left > 0:
            fields[_RESERVED] = header.Field(header.BINARY, left, bytes(left))
    return header.dump(fields, _REGION)


def _binary(armoured: bytes) -> bytes:
    """The signature packet in gpg's armour (RFC 4880, section 6.2), which is what rpm keeps."""
    match = _ARMOUR.match(armoured)
    if match is None:
        raise ValueError("gpg made no armoured signature")
    return base64.b64decode(match[1])
