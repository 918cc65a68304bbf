"""The fault suite: what networks, disks, clocks, programs and people do to a daemon, done to a real one.

``python -m tests.faults [numbers]`` runs it; the table is ``tests.faults.table``.
"""
