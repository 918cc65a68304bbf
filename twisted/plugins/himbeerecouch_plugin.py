"""What himbeerecouch adds to twistd.  No code of ours is imported before its command is called."""

from twisted.application.service import ServiceMaker

daemon = ServiceMaker(
    "himbeerecouch",
    "himbeerecouch.tap",
    "Runs the programs that a CouchDB database has for this machine",
    "himbeerecouch",
)
probe = ServiceMaker(
    "himbeerecouch-probe",
    "himbeerecouch.probe_tap",
    "Asks which Raspberry Pis are on this network",
    "himbeerecouch-probe",
)
embedded = ServiceMaker(
    "himbeerecouch-embedded",
    "himbeerecouch.embedded.tap",
    "Serves the part of CouchDB that himbeerecouch uses",
    "himbeerecouch-embedded",
)
web = ServiceMaker(
    "himbeerecouch-web",
    "himbeerecouch.web.tap",
    "Serves the page on which programs are edited and Pis are looked after",
    "himbeerecouch-web",
)
