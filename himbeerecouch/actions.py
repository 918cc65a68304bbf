"""What a command document may ask for in place of ``cmd``: blink, restart the daemon, make a new password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from twisted.logger import Logger

from himbeerecouch.account import Account
from himbeerecouch.couch.client import Couch, Login
from himbeerecouch.model import Action

log = Logger()


async def rotate(account: Account, couch: Couch, login: Login) -> str:
    """Give this Pi a new password: kept on disk, then set in its own user document, then used.

    Returns what the asker is told.  Raises HimbeerecouchError where one of these can't be done; which password the
    server then has, the next login finds out.
    """
    secret = account.new_secret()
    login.replace(account.passwords(), known=True)
    user = await couch.get("_users", f"org.couchdb.user:{account.username}")
    await couch.put("_users", user | {"password": secret})
    account.switch()
    login.replace(account.passwords(), known=True)
    log.info("this Pi has a new password")
    return "this Pi has a new password"


def actions(
    *, identify: Callable[[], Awaitable[str]], restart: Callable[[], None], rotate: Callable[[], Awaitable[str]]
) -> Mapping[Action, Callable[[], Awaitable[str]]]:
    """All actions by their name.  ``restart`` returns at once, and itself waits until the answer has been stored."""

    async def restarting() -> str:
        restart()
        return "restarting"

    return {Action.IDENTIFY: identify, Action.RESTART: restarting, Action.ROTATE: rotate}
