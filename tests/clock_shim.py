"""A wall clock that a test sets as it likes, for one process and its children; the machine's own stays as it is.

A library that is preloaded shifts what the C library says of the time of day, and nothing else: the monotonic clock,
timers and the kernel's own deadlines go on as they were.  ``ClockShim.make`` compiles it, and finds out whether it
works here::

    shim = ClockShim.make(test)  # the test is skipped where there is no compiler
    with shim.environment():
        daemon = world.start()
    shim.set_offset(3600)  # an hour ahead, from this moment on
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import SkipTest

OFFSET_FILE = "CLOCK_SHIM_OFFSET"

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Nanoseconds, in a file that the test rewrites. */
static volatile int64_t nothing = 0;
static volatile int64_t *offset = &nothing;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_SHIM_OFFSET");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) offset = page;
    close(fd);
}

static struct timespec shifted(struct timespec t, int64_t by) {
    int64_t ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec + by;
    int64_t sec = ns / 1000000000, rest = ns % 1000000000;
    if (rest < 0) { rest += 1000000000; sec -= 1; }
    t.tv_sec = sec;
    t.tv_nsec = rest;
    return t;
}

int clock_gettime(clockid_t id, struct timespec *t) {
    int failed = syscall(SYS_clock_gettime, id, t);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI)) *t = shifted(*t, *offset);
    return failed;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) { t->tv_sec = now.tv_sec; t->tv_usec = now.tv_nsec / 1000; }
    return 0;
}

time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *t, int base) {
    if (base != TIME_UTC) return 0;
    clock_gettime(CLOCK_REALTIME, t);
    return base;
}

/* Deadlines in wall-clock time were made from the shifted clock, and the kernel knows its own only.  A step that comes
   while one of these waits is not seen by it: the machine would end it early or late. */

int sem_timedwait(sem_t *restrict s, const struct timespec *restrict until) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec t = shifted(*until, -*offset);
    return real(s, &t);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict m, const struct timespec *restrict until) {
    static int (*real)(pthread_mutex_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
    struct timespec t = shifted(*until, -*offset);
    return real(m, &t);
}
"""
"""``pthread_cond_timedwait`` is left alone: whether its deadline is one of the wall clock hangs on the condition."""

PROBE = "import time; print(time.time(), time.monotonic())"


class ClockShim:
    """The wall clock of every process that is started in its ``environment``."""

    def __init__(self, library: Path, offset_file: Path) -> None:
        self._library = library
        self._offset_file = offset_file
        self.set_offset(0.0)

    @classmethod
    def make(cls, test: Any) -> ClockShim:
        """Compile one in a folder of the test's.  Raises SkipTest, with the reason, where it can't be made or used."""
        folder = Path(test.mktemp()).absolute()
        folder.mkdir(parents=True)
        return cls.build(folder)

    @classmethod
    def build(cls, folder: Path) -> ClockShim:
        """The same, in a folder that is there already."""
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        if compiler is None:
            raise SkipTest("needs a C compiler, to shift the clock under a process")
        source, library = folder / "clock_shim.c", folder / "clock_shim.so"
        source.write_text(SOURCE)
        made = subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl", "-lpthread"],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise SkipTest(f"{compiler} can't make a library that shifts the clock: {made.stderr.strip()[-300:]}")
        shim = cls(library, folder / "clock_offset")
        shim._prove()
        return shim

    def set_offset(self, seconds: float) -> None:
        """From now on the clock is so many seconds ahead of the machine's, or behind it."""
        # Rewritten in place, in one write: the processes have the file mapped.
        descriptor = os.open(self._offset_file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, struct.pack("=q", round(seconds * 1e9)), 0)
        finally:
            os.close(descriptor)

    def set_time(self, unix_s: float) -> None:
        """From now on the clock goes on from this time of day."""
        self.set_offset(unix_s - time.time())

    @property
    def variables(self) -> dict[str, str]:
        """What a process has to have in its environment."""
        preloaded = filter(None, [str(self._library), os.environ.get("LD_PRELOAD")])
        return {"LD_PRELOAD": ":".join(preloaded), OFFSET_FILE: str(self._offset_file)}

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """What is started inside has the shifted clock; this process keeps its own."""
        ours = self.variables
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def _prove(self) -> None:
        """Shift the clock of an interpreter by a day, and look."""
        self.set_offset(86400.0)
        try:
            told = subprocess.run(
                [sys.executable, "-c", PROBE],
                env={**os.environ, **self.variables},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            ).stdout.split()
        finally:
            self.set_offset(0.0)
        wall_off = abs(float(told[0]) - time.time() - 86400.0) if told else float("inf")
        if wall_off > 60.0 or abs(float(told[1]) - time.monotonic()) > 60.0:
            raise SkipTest("a preloaded library does not shift the clock of Python here")
