"""The faults by their numbers."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from tests.faults import clock, commands, disk, feed, machine, network, programs
from tests.faults.stage import Stage


@frozen
class Fault:
    """One line of the list of faults."""

    title: str
    run: Callable[[Stage], str]
    """Returns what happened; raises AssertionError where the daemon did not survive it, SkipTest where a tool is
    missing."""
    limit_s: float = 120.0
    """It does not survive what takes longer."""
    busy: bool = False
    """It takes all of the machine, or measures it, and is done when nothing else runs."""
    fast: bool = False
    """It is a part of ``make test`` as well, with what takes long left out."""


FAULTS: dict[int, Fault] = {
    1: Fault("server down at boot", network.server_down_at_boot, 200),
    2: Fault("DNS failing at boot", network.dns_failing_at_boot, 200),
    3: Fault("server restarted", network.server_restarted, 200, fast=True),
    4: Fault("connection reset in a row", network.cut_in_a_row, fast=True),
    5: Fault("half-open connection", network.half_open, 200),
    6: Fault("one byte a second", network.one_byte_a_second, 300),
    7: Fault("edit before the first poll", feed.edit_before_the_first_poll, 200, fast=True),
    8: Fault("the feed rewinds to 0", feed.feed_rewinds, fast=True),
    9: Fault("database made again", feed.database_made_again, 200),
    10: Fault("wrong password", network.wrong_password, 500),
    11: Fault("ret meets a conflict", commands.conflict, fast=True),
    12: Fault("server lost under a command", commands.server_lost_under_a_command, fast=True),
    13: Fault("kill -9 at any system call", commands.killed_at_any_call, 800),
    14: Fault("reboot", commands.reboot_once, fast=True),
    15: Fault("daemon killed", commands.daemon_killed, fast=True),
    16: Fault("disk full, EIO", disk.full_or_broken, fast=True),
    17: Fault("read-only root", disk.read_only_root, fast=True),
    18: Fault("garbage in state files", disk.garbage, fast=True),
    19: Fault("the clock is at 1970", clock.boots_in_1970, 200),
    20: Fault("the clock is set", clock.clock_steps, 120),
    21: Fault("program crashes at once", programs.crashes_at_once, fast=True),
    22: Fault("program can't be ended", programs.cannot_be_ended),
    23: Fault("output flood", programs.floods, 240, busy=True),
    24: Fault("command never ends", commands.never_ends),
    25: Fault("10,000 documents of others", feed.many_documents, busy=True),
    26: Fault("1,000 edits in 10 s", feed.many_edits, busy=True),
    27: Fault("1,000 reloads", programs.reloads, 300, busy=True),
    28: Fault("50,000 datagrams a second", machine.datagrams, busy=True),
    29: Fault("second daemon", machine.second_daemon, fast=True),
    30: Fault("program segfaults", programs.segfault_at_start),
    31: Fault("typo in a global module", programs.typo_in_a_global_module, fast=True),
    32: Fault("SIGTERM", machine.terminated, fast=True),
}
