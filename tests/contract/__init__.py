"""What himbeerecouch relies on in its server: the same suite for CouchDB, the embedded server and any other.

``COUCHDB_URL=http://admin:password@host:5984`` names the server; without it the embedded one is started for each test.
"""
