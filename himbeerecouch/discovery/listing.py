"""What the Pis answered, for other programs to read.  Pure."""

from __future__ import annotations

from himbeerecouch.model import Answer, Json


def listed(answer: Answer) -> Json:
    """Give what a Pi said, its address, and whether its password was sealed on its way."""
    said = {"enrolled": True} if answer.password is None else {"password": answer.password, "sealed": answer.sealed}
    return {"MacID": answer.mac_id, **said, "address": answer.address}
