"""Whose a thread is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from twisted.trial.unittest import SynchronousTestCase

from himbeerecouch.programs import threads
from himbeerecouch.programs.threads import Family


class Threads(SynchronousTestCase):
    """Real threads, each of which ends within its test."""

    def setUp(self) -> None:
        """A family that writes down what happens to it."""
        self.failures: list[tuple[str, str]] = []
        self.empty = threading.Event()
        self.family = self.make_family()
        threads.install()
        self.addCleanup(threads.uninstall)

    def make_family(self) -> Family:
        """A family of the test's own."""
        return Family(
            write=lambda text: None,
            failed=lambda name, error: self.failures.append((name, repr(error))),
            empty=self.empty.set,
        )

    def run_in(self, function: Callable[[], object]) -> None:
        """Run it in a thread of the family, and wait until the family is empty."""
        self.family.start("first", function)
        self.assertTrue(self.empty.wait(10))
        self.family.join()
        self.assertEqual(len(self.family), 0)

    def test_children_and_their_children(self) -> None:
        """What a thread starts belongs where the thread belongs, subclasses of Thread included."""
        seen: list[Family | None] = []

        class Child(threading.Thread):
            def run(self) -> None:
                seen.append(threads.current())
                grandchild = threading.Thread(target=lambda: seen.append(threads.current()))
                grandchild.start()
                grandchild.join()

        def first() -> None:
            child = Child()
            child.start()
            child.join()
            seen.append(threads.current())

        self.run_in(first)
        self.assertEqual(seen, [self.family] * 3)
        self.assertIsNone(threads.owner_name(threading.get_ident()))
        self.run_in(lambda: self.assertEqual(threads.owner_name(threading.get_ident()), self.family.name))
        self.assertEqual(self.failures, [])
        own = threading.Thread(target=lambda: seen.append(threads.current()))
        own.start()
        own.join()
        self.assertIsNone(seen[-1])

    def test_failures(self) -> None:
        """What a thread does not catch is told with its name; an exit ends it silently."""

        def first() -> None:
            for target in (lambda: 1 / 0, exit):
                child = threading.Thread(target=target, name="child")
                child.start()
                child.join()

        self.run_in(first)
        self.assertEqual(self.failures, [("child", "ZeroDivisionError('division by zero')")])

    def test_starting_twice(self) -> None:
        """A thread that is started twice is refused as ever, and runs once."""
        ran: list[int] = []

        def first() -> None:
            child = threading.Thread(target=lambda: ran.append(1))
            child.start()
            self.assertRaises(RuntimeError, child.start)
            child.join()

        self.run_in(first)
        self.assertEqual((ran, self.failures), ([1], []))

    def test_one_family_within_another(self) -> None:
        """A thread that works for another family for a while is its former family's again afterwards."""
        other = self.make_family()
        seen: list[Family | None] = []

        def first() -> None:
            other.run_here(lambda: seen.append(threads.current()))
            seen.append(threads.current())

        self.run_in(first)
        self.assertEqual(seen, [other, self.family])

    def test_exit_is_raised(self) -> None:
        """A loop that never ends is ended, and one that swallows the exit starts no more threads."""
        looping = threading.Event()
        caught: list[str] = []

        def first() -> None:
            try:
                while True:
                    looping.set()
            except SystemExit:
                caught.append("loop")
            try:
                threading.Thread(target=caught.append, args=("started",)).start()
            except SystemExit:
                caught.append("start")

        self.family.start("first", first)
        self.assertTrue(looping.wait(10))
        self.family.raise_exit()
        self.assertTrue(self.empty.wait(10))
        self.family.join()
        self.assertEqual(caught, ["loop", "start"])

    def test_exit_before_the_beginning(self) -> None:
        """A thread that is told to exit before its first line does not run."""
        start = threads._plain_start

        def slow_start(thread: threading.Thread) -> None:
            self.family.raise_exit()
            start(thread)

        self.patch(threads, "_plain_start", slow_start)
        ran: list[int] = []
        self.run_in(lambda: ran.append(1))
        self.assertEqual(ran, [])

    def test_exit_while_a_thread_is_started(self) -> None:
        """The exit waits until the new thread is known, and then ends both."""
        start = threads._plain_start
        log: list[str] = []

        def slow_start(thread: threading.Thread) -> None:
            if thread.name == "child":
                self.family.raise_exit()
            start(thread)

        self.patch(threads, "_plain_start", slow_start)

        def first() -> None:
            threading.Thread(target=log.append, args=("child",), name="child").start()
            log.append("first")

        self.run_in(first)
        self.assertEqual(log, [])

    def test_no_thread_to_be_had(self) -> None:
        """Where no thread can be started, the family is as empty as before, and says so."""

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threads, "_plain_start", refuse)
        self.assertRaises(RuntimeError, self.family.start, "first", print)
        self.assertEqual(len(self.family), 0)

    def test_executors_end_with_the_rest(self) -> None:
        """Workers of an executor do their work and end, once nothing else of the program is left."""
        results: list[int] = []
        pool = ThreadPoolExecutor(2)

        def first() -> None:
            for number in range(5):
                pool.submit(results.append, number)

        self.run_in(first)
        self.assertEqual(sorted(results), [0, 1, 2, 3, 4])
        self.assertRaises(RuntimeError, pool.submit, print)

    def test_an_executor_that_is_gone(self) -> None:
        """Workers whose executor nobody holds any more need no telling."""
        released = threading.Event()

        def first() -> None:
            ThreadPoolExecutor(1).submit(released.wait)

        self.family.start("first", first)
        while len(self.family) > 1:
            self.family.release()
        released.set()
        self.assertTrue(self.empty.wait(10))
        self.family.join()

    def test_timers_are_cancelled(self) -> None:
        """A timer that is not due yet ends without having fired."""
        ready = threading.Event()
        fired: list[int] = []

        def first() -> None:
            threading.Timer(3600, fired.append, (1,)).start()
            ready.set()

        self.family.start("first", first)
        self.assertTrue(ready.wait(10))
        self.family.release()
        self.assertTrue(self.empty.wait(10))
        self.family.join()
        self.assertEqual(fired, [])

    def test_installed_twice(self) -> None:
        """Thread.start is as it was only after the last one has gone."""
        threads.install()
        threads.uninstall()
        self.assertIs(threading.Thread.start, threads._start)
        threads.uninstall()
        self.assertIs(threading.Thread.start, threads._plain_start)
        threads.install()
