"""A private Open vSwitch beside whatever the host runs: own folder, database, daemons and log, from any build."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

from nvbench.datapaths import ovs_control
from nvbench.datapaths.base import Place
from nvbench.errors import CommandError, DatapathError, LostConnectionError
from nvbench.fingerprint import threads
from nvbench.hosts import Completed
from nvbench.journal import Journal, Remove, StopDaemon, ended

_IN_SBIN = ("ovsdb-server", "ovs-vswitchd")
_PROGRAMS = ("ovs-vsctl", "ovs-appctl", "ovs-ofctl", "ovsdb-tool", *_IN_SBIN)
_FATAL = ("|EMER|", "died, killed", "SIGSEGV", "SIGABRT")
_PART = "\x1e"
"""Between what several commands print: no tool of Open vSwitch prints that."""

_TELLING = (*_FATAL, "|ERR|", "|WARN|")


class OvsInstance:
    """The daemons of one switch, and the tools that speak with them.

    Args:
        place: Where it lives; its programs, its tools and its schema are those under `place.prefix`.
        kind: The datapath's kind, which errors name.
        daemon: The switch's program, if another than the prefix's own.
        core: Where its main thread runs.
    """

    def __init__(self, place: Place, kind: str, *, daemon: str = "", core: int) -> None:
        self._place = place
        self._kind = kind
        self._daemon = daemon or self.program("ovs-vswitchd")
        self._core = core
        self._folder = place.folder
        self._database = f"unix:{place.folder}/db.sock"
        self._control = f"{place.folder}/ovs-vswitchd.ctl"
        self._pidfile = f"{place.folder}/ovs-vswitchd.pid"
        self._here = ovs_control.here(place.host)
        self._pid: int | None = None
        self._undo: tuple[Journal, int] | None = None

    def program(self, name: str) -> str:
        """Path of a program of this build."""
        return f"{self._place.prefix}/{'sbin' if name in _IN_SBIN else 'bin'}/{name}"

    def missing(self) -> str:
        """The first program that is not there; empty if all are."""
        wanted = [*(self.program(name) for name in _PROGRAMS), self._daemon, self._schema]
        return next((f"{path} is not there" for path in wanted if not self._place.host.exists(path)), "")

    # -- coming up and going down ------------------------------------------------------------------------------

    def prepare(self, journal: Journal) -> None:
        """Make the run folder; `down` takes back whatever is journalled from here on."""
        self._undo = (journal, journal.mark())
        journal.record(self._place.host, Remove(self._folder))
        self._place.host.make_folder(self._folder)

    def start(self, journal: Journal, settings: Mapping[str, str], words: Sequence[str]) -> None:
        """Start the database and, once it holds the configuration, the switch.

        A switch says that it has started once it has carried out what it finds in its database: bridges made here
        are there then, and also after a restart.

        Args:
            journal: Where the daemons' ends are written down.
            settings: The switch's other_config.
            words: What else goes into the database, in ovs-vsctl's words.

        Raises:
            CommandError: One does not start.
        """
        self._start_database(journal)
        columns = [f'other_config:{key}="{value}"' for key, value in settings.items()]
        config = ["--", "set", "Open_vSwitch", ".", *columns] if columns else []
        self.vsctl("init", *config, "--", *words)
        journal.record(self._place.host, StopDaemon(self._pidfile, self._folder))
        self._start_switch()

    def _start_database(self, journal: Journal) -> None:
        folder, host = self._folder, self._place.host
        host.run([self.program("ovsdb-tool"), "create", f"{folder}/conf.db", self._schema])
        journal.record(host, StopDaemon(f"{folder}/ovsdb-server.pid", folder))
        host.run(
            [
                *self._alone(self._place.housekeeping_core),
                self.program("ovsdb-server"),
                f"{folder}/conf.db",
                f"--remote=punix:{folder}/db.sock",
                *self._daemon_words("ovsdb-server"),
            ]
        )

    def _start_switch(self) -> None:
        words = [*self._alone(self._core), self._daemon, self._database, *self._daemon_words("ovs-vswitchd")]
        self._place.inside.run(words, timeout_s=60)
        self._pid = self.poller()

    def _daemon_words(self, name: str) -> list[str]:
        files = (("pidfile", "pid"), ("log-file", "log"), ("unixctl", "ctl"))
        return [*(f"--{key}={self._folder}/{name}.{end}" for key, end in files), "--detach", "--no-chdir"]

    def _alone(self, core: int) -> list[str]:
        # Whatever folders were compiled in, this instance's are its own.
        folders = [f"OVS_{name}DIR={self._folder}" for name in ("RUN", "DB", "LOG", "SYSCONF")]
        return ["env", *folders, "taskset", "-c", str(core)]

    @property
    def _schema(self) -> str:
        return f"{self._place.prefix}/share/openvswitch/vswitch.ovsschema"

    def restart(self, down_s: float) -> None:
        """Kill the switch, and start it again from its database `down_s` later; its flows are gone then.

        Raises:
            CommandError: It does not start.
            DatapathError: It has gone already, or does not end.
        """
        host, pid = self._place.host, self.poller()
        if pid is None or self.crashed():
            raise self.failure("the switch has gone")
        began = time.monotonic()
        host.run(["kill", "-KILL", str(pid)])
        self._wait_for_end(pid)
        time.sleep(max(0.0, began + down_s - time.monotonic()))
        self.start_again()

    def start_again(self) -> None:
        """Start the switch from its database, once the one before has ended; its flows are gone then.

        Raises:
            CommandError: It does not start.
            DatapathError: The one before does not end.
        """
        if self._pid is not None:
            self._wait_for_end(self._pid)
        self._start_switch()  # under the same pidfile: the undo that is written down stops whichever runs

    def _wait_for_end(self, pid: int, patience_s: float = 10.0) -> None:
        """A process that is being killed still holds its pidfile and the hugepages that its successor needs."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if ended(self._place.host, pid):
                return
            time.sleep(0.005)
        raise DatapathError(f"the switch, process {pid}, does not end", place=self._kind)

    def down(self) -> None:
        """Take back what was journalled since `prepare`."""
        self._pid = None
        if self._undo is not None:
            journal, mark = self._undo
            journal.undo_since(mark)

    # -- while it runs -----------------------------------------------------------------------------------------

    def poller(self) -> int | None:
        """The switch's process id."""
        pid = (self._place.host.read(self._pidfile) or "").strip()
        return int(pid) if pid else None

    def threads(self) -> dict[int, str]:
        """The switch's threads by name."""
        pid = self.poller()
        return {} if pid is None else threads(self._place.host, pid)

    def crashed(self) -> str:
        """See `Datapath.crashed`. A process id alone may belong to somebody else by now; its command line tells."""
        if self._pid is None or self._folder in (self._place.host.read(f"/proc/{self._pid}/cmdline") or ""):
            return ""
        gone = f"{PurePosixPath(self._daemon).name}, process {self._pid}, has gone"
        return self._with_log(gone, marks=_FATAL)

    def log(self) -> str:
        """The switch's log so far."""
        return self._place.host.read(f"{self._folder}/ovs-vswitchd.log") or ""

    def failure(self, what: str) -> DatapathError:
        """The error that tells `what` and how the switch's log ends, or that the switch has gone."""
        return DatapathError(self.crashed() or self._with_log(what), place=self._kind)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """A command that fails within is the switch's failure, and tells so.

        Raises:
            DatapathError: In place of a CommandError, with the log's end.
        """
        try:
            yield
        except LostConnectionError:
            raise  # no fault of the datapath
        except CommandError as error:
            raise self.failure(str(error)) from error

    def wait_out(self, faults: Callable[[], list[str]], patience_s: float) -> None:
        """Wait until there are no faults any more.

        Raises:
            DatapathError: Some stay, or the switch has gone meanwhile.
        """
        deadline = time.monotonic() + patience_s
        with self.telling():
            while found := faults():
                if time.monotonic() > deadline or self.crashed():
                    raise self.failure("; ".join(found))
                time.sleep(0.02)

    def _with_log(self, what: str, marks: Sequence[str] = _TELLING) -> str:
        log = self.log().splitlines()
        telling = [line for line in log if any(mark in line for mark in marks)]
        last = dict.fromkeys(line.split("|", 2)[-1] for line in telling[-6:] or log[-3:])
        return f"{what}; ovs-vswitchd.log ends: {' / '.join(last)}" if last else what

    # -- commands ----------------------------------------------------------------------------------------------

    def vsctl(self, *words: str) -> str:
        """Read or write the database. The switch carries it out when it comes to it: ask it whether it has.

        To wait in here would take the whole time limit where a switch crashes over what it reads.
        """
        return self._run("ovs-vsctl", f"--db={self._database}", "--timeout=30", "--no-wait", *words)

    def ofctl(self, command: str, bridge: str, *words: str, stdin: str = "") -> str:
        """Speak OpenFlow with a bridge."""
        return self._run("ovs-ofctl", command, f"unix:{self._folder}/{bridge}.mgmt", *words, stdin=stdin)

    def appctl(self, *words: str) -> str:
        """Ask the switch itself."""
        return self._run("ovs-appctl", "--timeout=10", "-t", self._control, *words)

    def ask(self, *words: str) -> str:
        """Ask a switch that is up.

        Raises:
            DatapathError: It has gone.
        """
        with self.telling():
            return self.appctl(*words)

    def ask_all(self, *questions: Sequence[str]) -> list[str]:
        """Ask a switch that is up several things at once: directly here, in one round trip elsewhere.

        Args:
            questions: Commands with their arguments, as `ask` takes them.

        Returns:
            What it answers to each; nothing to one that it does not know.

        Raises:
            DatapathError: It has gone.
        """
        with self.telling():
            if self._here:
                return ovs_control.ask(self._control, questions)
            # find(1) starts one program after the other, over there.
            ask = [self.program("ovs-appctl"), "--timeout=10", "-t", self._control]
            words = [word for each in questions for word in (",", "-printf", _PART, "-exec", *ask, *each, ";")]
            done = self._place.host.run(["find", self._control, "-maxdepth", "0", *words[1:]], timeout_s=40)
        _, *answers = done.stdout.split(_PART)
        if not any(answers):
            raise self.failure((done.stderr.strip() or "the switch does not answer").splitlines()[-1])
        return answers

    def _run(self, name: str, *words: str, stdin: str = "") -> str:
        done: Completed = self._place.host.run([self.program(name), *words], timeout_s=40, stdin=stdin)
        return done.stdout
