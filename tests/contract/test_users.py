"""Users, sessions and rights, on any server."""

from __future__ import annotations

from tests.contract.server import LOCK_OUT, REFUSALS_500, Client, ContractCase, later

GUARD = """function (doc, old, user) {
  if (user.roles.indexOf('_admin') < 0 && doc.code) throw({forbidden: 'operators only'});
}"""


class UserContract(ContractCase):
    """What enrolment and the daemon's logins expect."""

    async def test_no_user_yet(self) -> None:
        """A Pi whose user does not exist is told 401, as is a wrong password, and nothing is locked by the former."""
        path = await self.database()
        for _ in range(6):
            reply = await self.admin.ask("GET", path, login=("c12345", "secret"))
            self.assertEqual((reply.status, reply.json["error"]), (401, "unauthorized"))
        user = await self.user()
        self.assertEqual((await user.ask("GET", path, login=(self.name_of(user), "wrong"))).status, 401)

    async def test_members_only(self) -> None:
        """Strangers are kept out, members read and write, and only admins change the rights or the designs."""
        user = await self.user()
        path = await self.database()
        self.assertEqual((await user.ask("GET", path)).status, 403)
        self.assertEqual((await user.ask("GET", path, login=None)).status, 401)
        path = await self.database(self.name_of(user))
        self.assertEqual((await user.ask("GET", path)).status, 200)
        self.assertEqual((await user.ask("PUT", path + "/doc", {"a": 1})).status, 201)
        self.assertIn((await user.ask("PUT", path + "/_design/x", {"language": "query"})).status, (401, 403))
        refused = await user.ask("PUT", path + "/_security", {})
        self.assertEqual(refused.status if self.has(REFUSALS_500) else 500, 500)
        self.assertEqual((await user.ask("GET", path + "/_security")).json["members"]["names"], [self.name_of(user)])
        self.assertIn((await user.ask("PUT", "/contract-not-for-users")).status, (401, 403))

    async def test_password_of_its_own(self) -> None:
        """A user reads its own document, finds no password in it, and gives itself a new one."""
        user, other = await self.user(), await self.user()
        path = f"/_users/org.couchdb.user:{self.name_of(user)}"
        document = (await user.ask("GET", path)).json
        self.assertNotIn("password", document)
        self.assertNotIn("first", str(document))
        self.assertEqual((await other.ask("GET", path)).status, 404)
        changed = await user.ask("PUT", path, {**document, "password": "second"})
        self.assertEqual(changed.status, 201, changed.json)
        for _ in range(20):
            reply = await user.ask("GET", "/_session", login=(self.name_of(user), "second"))
            if reply.status == 200:
                break
            await later(0.25)
        self.assertEqual(reply.json["userCtx"]["name"], self.name_of(user))

    async def test_session(self) -> None:
        """A cookie logs in where a password did, and a logout takes it away."""
        user = await self.user()
        name, password = self.name_of(user), "first"
        reply = await user.ask("POST", "/_session", {"name": name, "password": password}, login=None)
        self.assertEqual((reply.status, reply.json["name"]), (200, name))
        cookie = (reply.header("set-cookie") or "").split(";")[0]
        session = await user.ask("GET", "/_session", login=None, headers={"Cookie": cookie})
        self.assertEqual(session.json["userCtx"]["name"], name)
        nobody = await user.ask("GET", "/_session", login=None)
        self.assertIsNone(nobody.json["userCtx"]["name"])
        wrong = await user.ask("POST", "/_session", {"name": name, "password": "wrong"}, login=None)
        self.assertEqual(wrong.status, 401)
        out = await user.ask("DELETE", "/_session", login=None, headers={"Cookie": cookie})
        self.assertTrue((out.header("set-cookie") or "").startswith("AuthSession=;"))

    async def test_lock_out(self) -> None:
        """Five wrong passwords lock the account, for the right one, too."""
        user = await self.user()
        if not self.has(LOCK_OUT):
            return
        wrong = Client(user.url, (self.name_of(user), "wrong"), user.agent)
        statuses = [(await wrong.ask("GET", "/_session")).status for _ in range(6)]
        self.assertEqual(statuses, [401] * 5 + [403])
        right = await user.ask("GET", "/_session")
        self.assertEqual((right.status, right.json["error"]), (403, "forbidden"))

    async def test_guard(self) -> None:
        """``validate_doc_update`` refuses single documents, also in bulk, and lets the admin write."""
        user = await self.user()
        path = await self.database(self.name_of(user))
        await self.put(path + "/_design/guard", {"validate_doc_update": GUARD})
        refused = await user.ask("PUT", path + "/evil", {"code": "x"})
        self.assertEqual((refused.status, refused.json["reason"]), (403, "operators only"))
        docs = [{"_id": "evil", "code": "x"}, {"_id": "fine", "n": 1}]
        rows = (await user.ask("POST", path + "/_bulk_docs", {"docs": docs})).json
        self.assertEqual([row.get("error") for row in rows], ["forbidden", None])
        await self.put(path + "/evil", {"code": "x"})
