"""What the follower asks of CouchDB, what it is told, and how long that may take: values only."""

from __future__ import annotations

from attrs import field, frozen

from himbeerecouch.errors import CouchError
from himbeerecouch.model import Batch, DatabaseInfo, Json, Row


@frozen
class Timing:
    """How long things may take, in seconds."""

    poll_timeout_s: float = 20.0
    """What the server is asked to end an empty poll after."""
    grace_s: float = 10.0
    """What a poll may take beyond that, to the headers and between two bytes, before its connection counts as dead."""
    poll_total_s: float = 600.0
    request_s: float = 60.0
    """Any other request, in all."""
    resync_s: float = 900.0
    backoff_s: float = 60.0
    missing_s: float = 30.0
    """The least wait after the database was missing or forbidden; the most is twice that."""
    limit: int = 200
    """Rows or documents in one answer."""
    most_rows: int = 3200
    """Rows in one answer while there is much to catch up with."""


# --- what the follower asks for ---------------------------------------------------------------------------------------


@frozen
class Wait:
    """Ask nothing before ``until``, by the clock that is passed in."""

    until: float


@frozen
class GetInfo:
    """``GET /db``."""


@frozen
class GetServer:
    """``GET /``, for the server's uuid."""


@frozen
class Find:
    """One page of a ``_find``."""

    selector: Json = field(hash=False)
    use_index: tuple[str, str] | None
    limit: int
    bookmark: str | None
    ids_only: bool


@frozen
class Poll:
    """``_changes``: a long poll, or what there is now where ``timeout_s`` is None."""

    since: object
    limit: int
    timeout_s: float | None
    selector: Json = field(hash=False)
    include_docs: bool


@frozen
class GetDocument:
    """``GET /db/id``."""

    id: str


Ask = Wait | GetInfo | GetServer | Find | Poll | GetDocument

# --- what it is told --------------------------------------------------------------------------------------------------


@frozen
class Server:
    """The answer to ``GetServer``."""

    uuid: str


@frozen
class Page:
    """The answer to ``Find``."""

    documents: tuple[Json, ...]
    bookmark: str | None


@frozen
class Document:
    """The answer to ``GetDocument``."""

    document: Json


Outcome = DatabaseInfo | Server | Page | Batch | Document | CouchError


@frozen
class Delivery:
    """Rows for whoever follows."""

    rows: tuple[Row, ...]
    resync: str | None = None
    """Why all there is was read afresh: what is not in ``rows`` is gone.  None: ``rows`` is what changed."""
