"""himbeerecouch runs Python programs on Raspberry Pis by way of documents in a CouchDB database."""
