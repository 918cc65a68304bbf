"""Which database the status goes into."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.status.places import CLOSED_S, Place, Places


class PlacesTests(SynchronousTestCase):
    def test_places(self) -> None:
        """Its own database comes first, then that of the programs, then none, until they open again."""
        places = Places()
        self.assertEqual(places.pick(0.0), Place.OWN)
        places.refused(Place.OWN, 0.0, 0.0)
        self.assertEqual(places.pick(0.0), Place.CODE)
        places.refused(Place.CODE, 10.0, 0.5)
        self.assertIsNone(places.pick(10.0))
        self.assertEqual((places.opens_at(Place.OWN), places.opens_at(Place.CODE)), (CLOSED_S, CLOSED_S + 40.0))
        self.assertEqual(places.next_opening(), CLOSED_S)
        self.assertEqual(places.pick(CLOSED_S), Place.OWN)

    def test_open(self) -> None:
        """All are tried again at once where there is reason to."""
        places = Places()
        for place in Place:
            places.refused(place, 0.0, 0.0)
        places.open()
        self.assertEqual(places.pick(0.0), Place.OWN)
