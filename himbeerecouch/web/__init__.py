"""The Python side of the page: its files, the way to CouchDB, and what only Python can do for it."""
