"""Follows a database with the ChangesFollower of IBM's ibmcloudant; runs in that one's own environment.

``python changes_follower.py URL USER PASSWORD DATABASE SELECTOR`` prints one line of JSON when it has seen all that
the selector matches, or all there is where it is empty; with ``for-ever`` behind it, a line for each change.
"""

import json
import resource
import sys
import time

from ibm_cloud_sdk_core.authenticators import BasicAuthenticator
from ibmcloudant import ChangesFollower
from ibmcloudant.cloudant_v1 import CloudantV1


def main(url: str, user: str, password: str, database: str, selector: str, *for_ever: str) -> None:
    """Follow from the start, with the documents."""
    service = CloudantV1(authenticator=BasicAuthenticator(user, password))
    service.set_service_url(url)
    service.set_enable_gzip_compression(False)  # the embedded database takes no compressed requests
    chosen = {"filter": "_selector", "selector": json.loads(selector)} if selector else {}
    follower = ChangesFollower(service, db=database, include_docs=True, since="0", **chosen)
    if for_ever:
        for change in follower.start():
            print(change.id, flush=True)
    began = time.monotonic()
    rows = sum(1 for _ in follower.start_one_off())
    took_s = time.monotonic() - began
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"rows": rows, "took_s": took_s, "memory_mb": memory_mb}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
