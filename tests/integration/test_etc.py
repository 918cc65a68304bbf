"""What etc/ ships, run for real: the init script, supervisord's snippet, the systemd unit, the server file."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SkipTest, TestCase

from himbeerecouch import server_file
from himbeerecouch.tap import Config
from himbeerecouch.web.http import MAX_CONNECTIONS
from tests.integration.netns import ROOT, Namespace

ETC = ROOT / "etc"
BIN = Path(sys.executable).parent
PATIENCE_S = 15.0
"""How long a daemon may take to do what it is told, on a busy machine."""

WITH_PATHS = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}"}


class EtcCase(TestCase):
    """Has a folder of its own with a server file, and waits for what a daemon does."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.server_file = self.folder / "server"
        # The discard port: nobody listens there, and a daemon without a server goes on.
        self.server_file.write_text("http://127.0.0.1:9\n")
        self.options = f"--mac-id=1 --state-dir={self.folder}/state --discovery=off"

    def wait_for(self, what: str, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                self.fail(f"waited in vain for: {what}")
            time.sleep(0.05)

    def wait_for_line(self, log: Path, text: str, times: int = 1) -> None:
        """Wait until ``text`` is ``times`` times in the log."""

        def there() -> bool:
            return log.exists() and log.read_text().count(text) >= times

        self.wait_for(f"{text!r} in {log}", there)


def is_alive(pid: int) -> bool:
    """Whether a process runs, and is not just waiting for its parent to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def takes_hangup(pid: int) -> bool:
    """Whether it has its handler for SIGHUP by now, which would end it before."""
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) & 1 << signal.SIGHUP - 1)


class InitScript(EtcCase):
    """The init script ``rspby``."""

    def setUp(self) -> None:
        super().setUp()
        self.run_folder = self.folder / "run"
        self.run_folder.mkdir()
        self.server_file.rename(self.run_folder / "server")
        self.server_file = self.run_folder / "server"
        self.pid_file = self.run_folder / "himbeerecouch.pid"
        self.log_file = self.run_folder / "himbeerecouch.log"
        self.settings = {
            "RSPBY_DEFAULTS": str(self.folder / "defaults"),
            "RSPBY_DIR": str(self.run_folder),
            "RSPBY_OPTIONS": self.options,
        }
        self.addCleanup(self.kill)

    def kill(self) -> None:
        if self.pid_file.exists() and is_alive(self.pid()):
            os.kill(self.pid(), signal.SIGKILL)

    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def rspby(self, *arguments: str, script: Path = ETC / "rspby", **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(script), *arguments],
            env={**WITH_PATHS, **self.settings, **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_whole_life(self) -> None:
        """start, reload, restart, status and stop do what they say, and doing one twice does no harm."""
        self.assertEqual(self.rspby("status").returncode, 3)
        self.assertEqual(self.rspby("stop").returncode, 0)
        self.assertEqual(self.rspby("reload").returncode, 1)

        started = self.rspby("start")
        self.assertEqual((started.returncode, started.stderr), (0, ""), started)
        first = self.pid()
        self.assertTrue(is_alive(first))
        self.assertEqual(self.rspby("status").returncode, 0)
        again = self.rspby("start")
        self.assertEqual((again.returncode, self.pid()), (0, first))
        self.assertIn(str(first), again.stdout)

        self.wait_for_line(self.log_file, "starting up")
        self.wait_for("the daemon's own signals", lambda: takes_hangup(first))
        self.assertEqual(self.rspby("reload").returncode, 0)
        self.wait_for_line(self.log_file, "reading the server file again")
        self.assertTrue(is_alive(first))

        self.assertEqual(self.rspby("restart").returncode, 0)
        second = self.pid()
        self.assertNotEqual(first, second)
        self.assertEqual((is_alive(first), is_alive(second)), (False, True))

        self.assertEqual(self.rspby("stop").returncode, 0)
        self.assertFalse(is_alive(second))
        self.assertFalse(self.pid_file.exists())
        self.assertEqual(self.rspby("status").returncode, 3)

    def test_a_left_over_pid_file(self) -> None:
        """A pid file whose number is another process's by now keeps nothing from starting, and nobody is killed."""
        with subprocess.Popen(["sleep", "60"]) as stranger:
            try:
                for content in (f"{stranger.pid}\n", "", "x", "1", "0", "-1", "99999999"):
                    self.pid_file.write_text(content)
                    self.assertEqual(self.rspby("status").returncode, 1, content)
                    self.assertEqual(self.rspby("stop").returncode, 0, content)
                self.pid_file.write_text(f"{stranger.pid}\n")
                self.assertEqual(self.rspby("start").returncode, 0)
                self.assertNotEqual(self.pid(), stranger.pid)
                self.assertEqual(self.rspby("stop").returncode, 0)
                self.assertIsNone(stranger.poll())
            finally:
                stranger.kill()

    def test_one_that_does_not_end(self) -> None:
        """What does not end within the time to stop is killed."""
        deaf = "trap '' TERM; echo deaf; while :; do sleep 1; done"
        with subprocess.Popen(["sh", "-c", deaf, "himbeerecouch"], stdout=subprocess.PIPE) as stuck:
            assert stuck.stdout is not None
            stuck.stdout.readline()
            self.pid_file.write_text(str(stuck.pid))
            try:
                stopped = self.rspby("stop", RSPBY_STOP_TIMEOUT="1")
            finally:
                stuck.kill()
        self.assertEqual(stopped.returncode, 0)
        self.assertIn("killed", stopped.stdout)
        self.assertFalse(self.pid_file.exists())

    def test_settings(self) -> None:
        """The environment wins over the defaults file, and that over what is built in."""
        (self.folder / "defaults").write_text("RSPBY_TWISTD=/nowhere/twistd\nRSPBY_DIR=/nowhere\n")
        refused = self.rspby("start")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("/nowhere/twistd", refused.stderr)
        self.assertEqual(self.rspby("start", RSPBY_TWISTD=str(BIN / "twistd")).returncode, 0)
        self.assertEqual(self.rspby("stop").returncode, 0)
        text = (ETC / "rspby").read_text()
        self.assertIn("dir=${dir:-${RSPBY_DIR:-/var/rspby}}", text)
        self.assertIn("defaults=${RSPBY_DEFAULTS:-/etc/default/rspby}", text)

    def test_no_server_file_yet(self) -> None:
        """Without a server file it starts, since the daemon waits for one, and says so."""
        self.server_file.unlink()
        started = self.rspby("start")
        self.assertEqual(started.returncode, 0)
        self.assertIn(str(self.server_file), started.stdout)
        self.wait_for_line(self.log_file, str(self.server_file))
        self.assertEqual(self.rspby("stop").returncode, 0)

    def test_does_not_start(self) -> None:
        """Where twistd refuses to start, the script says so and fails."""
        refused = self.rspby("start", RSPBY_OPTIONS="--no-such-option")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("did not start", refused.stderr)

    def test_install(self) -> None:
        """install copies it, makes it a command, has it started at boot, and can be done again from there."""
        tools = self.folder / "tools"
        tools.mkdir()
        (tools / "update-rc.d").write_text(f'#!/bin/sh\necho "$*" >> {tools}/asked\n')
        (tools / "update-rc.d").chmod(0o755)
        target = self.folder / "init.d" / "rspby"
        settings = {"PATH": f"{tools}:{WITH_PATHS['PATH']}", "RSPBY_INIT_DIR": str(target.parent)}
        for script in (ETC / "rspby", target):
            installed = self.rspby("install", script=script, **settings)
            self.assertEqual((installed.returncode, installed.stderr), (0, ""))
            self.assertEqual(target.read_bytes(), (ETC / "rspby").read_bytes())
            self.assertEqual(target.stat().st_mode & 0o777, 0o755)
        self.assertEqual((tools / "asked").read_text(), "rspby defaults\n" * 2)
        self.assertEqual(self.rspby("status", script=target).returncode, 3)

    def test_usage(self) -> None:
        """Anything else is answered with what there is."""
        for arguments in ((), ("jump",)):
            answered = self.rspby(*arguments)
            self.assertEqual((answered.returncode, answered.stdout), (2, ""))
            self.assertIn("start|stop|restart|reload|status|install", answered.stderr)

    def test_for_init_systems(self) -> None:
        """It is a command with an LSB header, and plain enough for every shell that is there."""
        script = ETC / "rspby"
        self.assertTrue(os.access(script, os.X_OK))
        text = script.read_text()
        for field in (
            "Provides",
            "Required-Start",
            "Required-Stop",
            "Default-Start",
            "Default-Stop",
            "Short-Description",
        ):
            self.assertRegex(text, rf"(?m)^# {field}: +\S")
        for shell in ("sh", "dash", "bash", "busybox"):
            if shutil.which(shell):
                command = [shell, "sh", "-n"] if shell == "busybox" else [shell, "-n"]
                subprocess.run([*command, str(script)], check=True)


SUPERVISORD = """
[unix_http_server]
file={socket}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
user=root
[supervisorctl]
serverurl=unix://{socket}
[include]
files={folder}/snippet.conf
"""


class Supervisor(EtcCase):
    """The snippet for supervisord.

    ``prog.run`` takes no options, so the daemon has the default state folder and port: it runs in namespaces, where
    neither is the machine's.
    """

    def setUp(self) -> None:
        super().setUp()
        if not (BIN / "supervisord").exists():
            raise SkipTest("needs supervisor in the virtual environment")
        self.namespace = Namespace(self)
        # A cable into nowhere, since the MacID comes from an interface.
        self.namespace.ip("link", "add", "eth0", "type", "veth", "peer", "nowhere")
        snippet = (ETC / "supervisor-himbeerecouch.conf").read_text()
        self.assertIn('p.run("/etc/rspby/server")', snippet)
        self.log_file = self.folder / "himbeerecouch.log"
        snippet = snippet.replace("/etc/rspby/server", str(self.server_file))
        snippet = snippet.replace("/var/log/supervisor/himbeerecouch.log", str(self.log_file))
        (self.folder / "snippet.conf").write_text(snippet)
        self.config = self.folder / "supervisord.conf"
        # Not in the test's folder: the address of a socket has at most 107 bytes, wherever the repository is.
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        self.socket = folder / "socket"
        self.config.write_text(SUPERVISORD.format(folder=self.folder, socket=self.socket))

    def supervisorctl(self, *arguments: str) -> str:
        return subprocess.run(
            [str(BIN / "supervisorctl"), "-c", str(self.config), *arguments],
            capture_output=True,
            text=True,
            timeout=70,
            check=False,
        ).stdout

    def test_whole_life(self) -> None:
        """It runs, logs to the file, is started again after a kill, and ends cleanly within the time it is given."""
        own_var_lib = 'mount -t tmpfs none /var/lib && exec supervisord -c "$0"'
        with subprocess.Popen(
            self.namespace.command("unshare", "--mount", "sh", "-c", own_var_lib, str(self.config)),
            env=WITH_PATHS,
            stdout=subprocess.DEVNULL,
        ) as supervisord:
            try:
                self.wait_for("supervisord", self.socket.exists)
                self.wait_for("RUNNING", lambda: "RUNNING" in self.supervisorctl("status"))
                self.wait_for_line(self.log_file, "starting up")
                first = int(self.supervisorctl("pid", "himbeerecouch"))
                os.kill(first, signal.SIGKILL)
                self.wait_for_line(self.log_file, "starting up", times=2)
                self.wait_for("RUNNING", lambda: "RUNNING" in self.supervisorctl("status"))
                second = int(self.supervisorctl("pid", "himbeerecouch"))
                self.assertNotEqual(first, second)
                self.assertIn("stopped", self.supervisorctl("stop", "himbeerecouch"))
                self.assertFalse(is_alive(second))
            finally:
                supervisord.terminate()
        log = (self.folder / "supervisord.log").read_text()
        self.assertIn("stopped: himbeerecouch (exit status 0)", log)
        self.assertNotIn("killing", log)

    def test_settings(self) -> None:
        """It gives the daemon longer than the quit timeout, never gives up, and its log is bounded."""
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(ETC / "supervisor-himbeerecouch.conf")
        program = parser["program:himbeerecouch"]
        self.assertGreater(int(program["stopwaitsecs"]), 2 * Config().quit_timeout)
        self.assertEqual((program["autorestart"], program["stopsignal"]), ("true", "TERM"))
        self.assertGreater(int(program["startretries"]), 10**6)
        self.assertEqual((program["stdout_logfile_maxbytes"], program["stdout_logfile_backups"]), ("1MB", "3"))


class SystemdUnit(EtcCase):
    """The systemd unit."""

    def unit(self, name: str = "himbeerecouch.service") -> configparser.ConfigParser:
        # Keys may be there twice, and their case matters.
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read(ETC / name)
        return parser

    def analyze(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Ask systemd; nothing of it is started."""
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("needs systemd-analyze")
        return subprocess.run(
            ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False
        )

    def with_root(self) -> Path:
        """A copy of the unit, with the drop-in for root."""
        drop_in = self.folder / "himbeerecouch.service.d"
        drop_in.mkdir()
        shutil.copy(ETC / "root.conf", drop_in)
        return Path(shutil.copy(ETC / "himbeerecouch.service", self.folder))

    def test_settings(self) -> None:
        """It gives the daemon longer than the quit timeout, restarts it always, and has a folder for its state."""
        unit = self.unit()
        service = unit["Service"]
        self.assertGreater(float(service["TimeoutStopSec"]), 2 * Config().quit_timeout)
        self.assertEqual((service["Restart"], unit["Unit"]["StartLimitIntervalSec"]), ("always", "0"))
        self.assertEqual(f"/var/lib/{service['StateDirectory']}", Config().state_dir)

    def test_verified(self) -> None:
        """systemd finds nothing wrong with it."""
        for unit in (ETC / "himbeerecouch.service", ETC / "himbeerecouch-web.service", self.with_root()):
            checked = self.analyze("verify", str(unit))
            self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def test_watched(self) -> None:
        """It is taken for blocked soon enough for a program that takes the daemon with it to be found out: the daemon
        counts what happens within a minute of its start."""
        service = self.unit()["Service"]
        self.assertEqual(service["Type"], "notify")
        for setting in ("TimeoutStartSec", "WatchdogSec"):
            self.assertLess(float(service[setting]), 60.0)

    def test_exposure(self) -> None:
        """systemd rates it "OK", and with the drop-in for root, which undoes each restriction, "UNSAFE"."""
        if "--offline" not in self.analyze("--help").stdout:
            raise SkipTest("needs systemd-analyze security --offline")
        table = (
            (ETC / "himbeerecouch.service", range(50)),
            (ETC / "himbeerecouch-web.service", range(20)),
            (self.with_root(), range(90, 101)),
        )
        for unit, exposures in table:
            rated = self.analyze("security", "--offline=true", str(unit)).stdout
            found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", rated)
            assert found is not None, rated
            self.assertIn(round(10 * float(found[1])), exposures)

    def test_root(self) -> None:
        """The drop-in for root says something else about the user and every restriction, and nothing more."""
        own, root = self.unit()["Service"], self.unit("root.conf")["Service"]
        restrictions = {
            name for name in own if name.startswith(("Protect", "Restrict", "Private", "Lock", "SystemCall"))
        }
        self.assertEqual(set(root), restrictions | {"User", "NoNewPrivileges", "CapabilityBoundingSet"})
        self.assertEqual([name for name in root if own[name] == root[name]], [])

    def test_hardware(self) -> None:
        """No setting keeps it from devices, /sys or the serial number."""
        hides = {"PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "ProtectKernelTunables", "ProcSubset"}
        self.assertEqual(hides & set(self.unit()["Service"]), set())

    def test_user(self) -> None:
        """systemd-sysusers makes the very user, with the groups of the hardware."""
        if shutil.which("systemd-sysusers") is None:
            raise SkipTest("needs systemd-sysusers")
        (self.folder / "etc").mkdir()
        command = ["systemd-sysusers", f"--root={self.folder}", str(ETC / "himbeerecouch.sysusers")]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(made.returncode, 0, made.stderr)
        service = self.unit()["Service"]
        users = {line.split(":")[0]: line.split(":") for line in (self.folder / "etc/passwd").read_text().splitlines()}
        self.assertEqual(users[service["User"]][5], f"/var/lib/{service['StateDirectory']}")
        groups = [line.split(":") for line in (self.folder / "etc/group").read_text().splitlines()]
        self.assertEqual(
            {name for name, *_, members in groups if service["User"] in members.split(",")},
            {"gpio", "i2c", "spi", "dialout", "video"},
        )

    def test_led(self) -> None:
        """Before it starts, the LED's files are the daemon's to write, by whichever name the kernel has it."""
        found = re.fullmatch(r"-\+/bin/sh -c '(.*)'", self.unit()["Service"]["ExecStartPre"])
        assert found is not None
        script = found[1].replace("$$", "$").replace("/sys/class/leds", str(self.folder))
        script = script.replace("himbeerecouch", str(os.getgid()))
        led = self.folder / "led0"
        led.mkdir()
        for name in ("brightness", "trigger", "max_brightness"):
            (led / name).touch(0o644)
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        modes = {path.name: path.stat().st_mode & 0o777 for path in led.iterdir()}
        self.assertEqual(modes, {"brightness": 0o664, "trigger": 0o664, "max_brightness": 0o644})

    def test_page(self) -> None:
        """That of the page starts the page's server, which has files for all its connections, and is started again."""
        unit = self.unit("himbeerecouch-web.service")
        service = unit["Service"]
        self.assertEqual((service["Restart"], unit["Unit"]["StartLimitIntervalSec"]), ("always", "0"))
        self.assertGreater(int(service["LimitNOFILE"]), 2 * MAX_CONNECTIONS)
        command = service["ExecStart"].replace("/etc/rspby/server", str(self.server_file))
        log = self.folder / "log"
        with (
            log.open("w") as output,
            subprocess.Popen(
                [*command.split(), "--listen=tcp:0:interface=127.0.0.1"], stdout=output, env=WITH_PATHS
            ) as server,
        ):
            try:
                self.wait_for_line(log, "starting on")
                server.terminate()
                server.wait(PATIENCE_S)
            finally:
                server.kill()
        self.assertIn("Server Shut Down", log.read_text())

    def test_its_command(self) -> None:
        """What it starts logs to stdout, takes the signal of a reload, and ends with status 0 when it is stopped."""
        service = self.unit()["Service"]
        command = service["ExecStart"].replace("/etc/rspby/server", str(self.server_file))
        self.assertEqual(service["ExecReload"], "/bin/kill -HUP $MAINPID")
        log = self.folder / "log"
        with (
            log.open("w") as output,
            subprocess.Popen([*command.split(), *self.options.split()], stdout=output, env=WITH_PATHS) as daemon,
        ):
            try:
                self.wait_for_line(log, "starting up")
                self.wait_for("the daemon's own signals", lambda: takes_hangup(daemon.pid))
                daemon.send_signal(signal.SIGHUP)
                self.wait_for_line(log, "reading the server file again")
                daemon.terminate()
                self.assertEqual(daemon.wait(PATIENCE_S), 0)
            finally:
                daemon.kill()


class ServerFile(EtcCase):
    """The sample server file."""

    def test_sample(self) -> None:
        """It is a server file as the daemon takes it."""
        self.assertEqual(server_file.ServerFile(str(ETC / "server")).read(), "http://server.name:5984")
