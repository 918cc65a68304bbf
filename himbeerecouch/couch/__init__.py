"""Talking to CouchDB: a client over treq, and the follower of one database."""
