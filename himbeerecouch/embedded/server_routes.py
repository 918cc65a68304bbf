"""What is asked of the server as a whole, and the way to the databases."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

from himbeerecouch.embedded import database_routes, security
from himbeerecouch.embedded.accounts import SESSION_S, read_basic
from himbeerecouch.embedded.api import Api
from himbeerecouch.embedded.call import Answer, Call
from himbeerecouch.embedded.databases import USERS
from himbeerecouch.embedded.refused import Refused, bad_request, not_implemented
from himbeerecouch.embedded.security import User

VERSION = "3.5.2"
"""The CouchDB whose answers this server imitates."""
MOST_UUIDS = 1000


class Routes:
    """Answers every request to one server, which is known by its ``uuid``."""

    def __init__(self, api: Api, *, uuid: str) -> None:
        self._api = api
        self._uuid = uuid
        self._parts = {
            "/": self._welcome,
            "_all_dbs": self._all_dbs,
            "_session": self._session,
            "_up": self._up,
            "_uuids": self._uuids,
        }

    async def serve(self, call: Call) -> Answer | None:
        """Return the answer, or None where it has been written; raises ``Refused``."""
        if call.segments == ["_session"] and call.method == "POST":
            return await self._log_in(call)
        call.user = await self._who(call)
        name = call.segments[0] if call.segments else "/"
        if name == USERS or not name.startswith(("_", "/")):
            return await database_routes.serve(self._api, call)
        answer = self._parts.get(name)
        if answer is None:
            raise not_implemented(f"/{name}")
        return answer(call)

    def _up(self, _call: Call) -> Answer:
        return Answer(200, {"status": "ok", "seeds": {}})

    def _uuids(self, call: Call) -> Answer:
        count = min(call.count("count", 1) or 1, MOST_UUIDS)
        return Answer(200, {"uuids": [uuid4().hex for _ in range(count)]})

    def _all_dbs(self, call: Call) -> Answer:
        security.need_server_admin(call.user)
        only_reading(call)
        return Answer(200, self._api.databases.names())

    def _welcome(self, call: Call) -> Answer:
        only_reading(call)
        return Answer(
            200,
            {
                "couchdb": "Welcome",
                "version": VERSION,
                "git_sha": "none",
                "uuid": self._uuid,
                "features": ["himbeerecouch-embedded"],
                "vendor": {"name": "himbeerecouch-embedded"},
                "note": f"This is not CouchDB but a small part of it, which answers as CouchDB {VERSION} does.",
            },
        )

    # --- logins -------------------------------------------------------------------------------------------------------

    async def _who(self, call: Call) -> User:
        cookie = read_cookie(call.header("cookie") or "")
        if cookie:
            found = self._api.accounts.resume(cookie)
            if found is not None:
                user, age_s = found
                if age_s > SESSION_S / 10 and user.name is not None:
                    call.exchange.cookie = set_cookie(self._api.accounts.cookie(user.name))
                return user
        header = call.header("authorization")
        basic = None if header is None else read_basic(header)
        return User() if basic is None else await self._api.accounts.log_in(*basic, call.address)

    async def _log_in(self, call: Call) -> Answer:
        name, password = read_login(call)
        try:
            user = await self._api.accounts.log_in(name, password, call.address, "cookie")
        except Refused:
            call.exchange.cookie = set_cookie("")
            raise
        call.exchange.cookie = set_cookie(self._api.accounts.cookie(name))
        return Answer(200, {"ok": True, "name": user.name, "roles": [*user.roles]})

    def _session(self, call: Call) -> Answer:
        if call.method == "DELETE":
            call.exchange.cookie = set_cookie("")
            return Answer(200, {"ok": True})
        only_reading(call)
        info: dict[str, Any] = {"authentication_handlers": ["cookie", "default"]}
        if call.user.authenticated is not None:
            info["authenticated"] = call.user.authenticated
        return Answer(200, {"ok": True, "userCtx": call.user.context(), "info": info})


def only_reading(call: Call) -> None:
    """Raise ``Refused`` (405) for other methods than GET and HEAD."""
    if not call.is_reading:
        raise Refused(405, "method_not_allowed", "Only GET,HEAD allowed")


def read_cookie(header: str) -> str | None:
    """Find the session in a ``Cookie`` header."""
    try:
        morsel = SimpleCookie(header).get("AuthSession")
    except CookieError:
        return None
    return None if morsel is None else morsel.value


def set_cookie(value: str) -> str:
    """Render the ``Set-Cookie`` header of a session; scripts can't read it."""
    return f"AuthSession={value}; Version=1; Max-Age={SESSION_S if value else 0}; Path=/; HttpOnly; SameSite=Strict"


def read_login(call: Call) -> tuple[str, str]:
    """Read name and password of a ``POST /_session``: JSON or a form."""
    if call.exchange.content_type == "application/x-www-form-urlencoded":
        body: Any = dict(parse_qsl(call.exchange.body().decode("utf-8", "replace"), keep_blank_values=True))
    else:
        body = call.posted()
    name, password = body.get("name", body.get("username")), body.get("password")
    if not isinstance(name, str) or not isinstance(password, str):
        raise bad_request("request body must contain a username and a password")
    return name, password
