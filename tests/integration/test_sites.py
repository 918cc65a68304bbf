"""Two servers: one at a site, which its Pi follows, and a central one, replicated both ways as CouchDB does it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.demo import Couch
from himbeerecouch.fleet.guard import DESIGN_DOCUMENT, Place, design_document
from tests import embedded_server
from tests.integration.world import MAC_ID, PATH, World, until

STATUS = f"{PATH}_status"
CODE = "def main():\n    log('{}')\n    while not should_quit():\n        import time; time.sleep(60)\n"


def replicate(source: Couch, target: Couch, path: str, since: str) -> str:
    """Bring what changed after ``since`` from one server to the other; give where to go on.

    The steps of CouchDB's replication protocol: changes with all leaves, what the other one lacks, those revisions with
    their history, and stored as they are.  Design documents stay at home: each server has its own guard.
    """
    query = f"style=all_docs&since={quote(since)}"
    changes = source.ask("GET", f"{path}/_changes?{query}")
    leaves = {
        row["id"]: [change["rev"] for change in row["changes"]]
        for row in changes["results"]
        if not row["id"].startswith("_design/")
    }
    lacking = target.ask("POST", f"{path}/_revs_diff", leaves)
    wanted = [{"id": id, "rev": rev} for id, found in lacking.items() for rev in found["missing"]]
    if wanted:
        answer = source.ask("POST", f"{path}/_bulk_get?revs=true", {"docs": wanted})
        documents = [each["ok"] for result in answer["results"] for each in result["docs"]]
        refused = target.ask("POST", f"{path}/_bulk_docs", {"docs": documents, "new_edits": False})
        if refused:
            raise AssertionError(f"the target refuses {refused}")
    last_seq: str = changes["last_seq"]
    return last_seq


class Sites:
    """A site's world, and a central server that it is replicated with whenever something is waited for."""

    def __init__(self, test: Any) -> None:
        self.site = World(test)
        self.site.guard()
        server = embedded_server.spawn(test, self.site.folder / "central")
        self.central = Couch(server.url, *server.admin)
        guards = {PATH: design_document(Place.PROGRAMS), STATUS: design_document(Place.STATUS)}
        for path in (PATH, STATUS):
            self.central.ask("PUT", path)
            self.central.ask("PUT", f"{path}/{DESIGN_DOCUMENT}", guards[path])
        self._ways = [
            (here, there, path)
            for here, there in ((self.site.couch, self.central), (self.central, self.site.couch))
            for path in (PATH, STATUS)
        ]
        self._since = ["0"] * len(self._ways)

    def replicate(self) -> None:
        """Once, in both directions."""
        for number, (source, target, path) in enumerate(self._ways):
            self._since[number] = replicate(source, target, path, self._since[number])

    def save(self, id: str, **members: Any) -> None:
        """Save a document at the central server, over what it has."""
        found = self.find(PATH, id)
        self.central.ask("PUT", f"{PATH}/{id}", {**({"_rev": found["_rev"]} if found else {}), **members})

    def find(self, path: str, id: str) -> dict[str, Any] | None:
        """What the central server has of a document, by way of its list of all documents."""
        rows = self.central.ask("POST", f"{path}/_all_docs?include_docs=true", {"keys": [id]})["rows"]
        document: dict[str, Any] | None = rows[0].get("doc")
        return document

    def until(self, ask: Any, what: str) -> Any:
        """Replicate and ask, until there is something."""

        def step() -> Any:
            self.replicate()
            return ask()

        return until(step, what)


class SitesTests(SynchronousTestCase):
    def test_a_site(self) -> None:
        """What is saved centrally reaches the Pi, be it a program or a command; what it answers comes back."""
        sites = Sites(self)
        sites.site.start(wait="read afresh")
        sites.save("clock", type=MAC_ID, name="clock", code=CODE.format("one"))

        def running() -> Any:
            heartbeat = sites.find(STATUS, f"{MAC_ID}_heartbeat") or {}
            clock = heartbeat.get("programs", {}).get("clock", {})
            saved = (sites.find(PATH, "clock") or {}).get("_rev")
            return clock.get("state") == "running" and clock.get("rev") == saved

        sites.until(running, "the program runs, as the central server knows")
        sites.save("clock", type=MAC_ID, name="clock", code=CODE.format("two"))
        sites.until(running, "its new revision runs, as the central server knows")
        sites.save("look", type=f"{MAC_ID}_cmd", cmd=["echo", "hello"])
        answered = sites.until(
            lambda: document if "ret" in (document := sites.find(PATH, "look") or {}) else None,
            "the command's answer at the central server",
        )
        self.assertEqual((answered["ret"], answered["execution"]["state"]), (["hello\n", ""], "done"))

    def test_saved_at_both(self) -> None:
        """Of two versions saved at two servers at once, both servers choose the same one, and that one runs."""
        sites = Sites(self)
        sites.save("clock", type=MAC_ID, name="clock", code=CODE.format("first"))
        sites.replicate()
        daemon = sites.site.start(wait="first")
        sites.save("clock", type=MAC_ID, name="clock", code=CODE.format("by the central one"))
        sites.site.program("clock", CODE.format("by the site"))
        sites.replicate()
        sites.replicate()
        chosen = sites.find(PATH, "clock")
        assert chosen is not None
        self.assertEqual(chosen, sites.site.get("clock"))
        daemon.wait_for(f"program clock: by the {'central one' if 'central' in chosen['code'] else 'site'}")
