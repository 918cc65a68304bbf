"""The part of CouchDB that himbeerecouch uses, on sqlite3, for one Pi, a demo or a test: no CouchDB."""
