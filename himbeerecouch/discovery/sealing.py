"""Sealed answers, by PyNaCl: what only the one who asked can read.

PyNaCl is not required, and is imported when it is needed: most Pis are never asked for a password, and need not pay for
it.  The box is libsodium's ``crypto_box_seal``: anonymous, so it proves nothing about who sealed it.
"""

from __future__ import annotations

from himbeerecouch.discovery.wire import Asked, Request, render_answer, render_request, render_sealed_answer
from himbeerecouch.errors import DatagramError
from himbeerecouch.model import Answer


def ask(server: str) -> tuple[bytes, Asked | None]:
    """Give the request to send, and what reads the sealed answers to it: it has a key of its own.

    Without PyNaCl it has no key, and is answered in the open.  A ``server`` that no Pi would take is a ``ValueError``.
    """
    try:
        from nacl.bindings import crypto_box_keypair, crypto_box_seal_open
        from nacl.exceptions import CryptoError
    except ImportError:
        return render_request(Request(server)), None
    public, secret = crypto_box_keypair()

    def unseal(sealed: bytes) -> bytes:
        try:
            return crypto_box_seal_open(sealed, public, secret)
        except CryptoError:
            raise DatagramError("what is sealed in it can't be opened") from None

    datagram = render_request(Request(server, public))
    return datagram, Asked(datagram, unseal)


def reply(answer: Answer, request: Request, asked: bytes) -> tuple[bytes, bool]:
    """Give the answer to the datagram ``asked``, which holds ``request``, and whether its password is sealed.

    It is sealed where there is a password, a key to seal it to, and PyNaCl to do it.  Raises ``DatagramError`` for a
    key that can't be used: one of low order would make a box that anybody opens.
    """
    if answer.password is None or request.key is None:
        return render_answer(answer), False
    try:
        from nacl.bindings import crypto_box_seal
        from nacl.exceptions import CryptoError
    except ImportError:
        return render_answer(answer), False
    key = request.key

    try:
        return render_sealed_answer(answer, asked, lambda text: crypto_box_seal(text, key)), True
    except CryptoError:
        raise DatagramError("nothing can be sealed to its key") from None
