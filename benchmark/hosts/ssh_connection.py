"""One SSH connection, watched: it counts as lost as soon as its host does not answer, not when TCP gives up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from paramiko import Channel, ChannelException, SSHClient, SSHException

from nvbench.errors import CommandError, LostConnectionError
from nvbench.hosts.ssh_reach import ANSWER_S, open_way

CHUNK = 1 << 16

BUSY_S = 10.0
"""Where as many programs run as sshd allows, the next one waits so long for an end of one of them."""

BROKEN_S = 5.0
"""A connection that broke is known to be so after this, also on a busy machine."""


class Connection:
    """A connection over which commands run, many at a time.

    Args:
        client: It, logged in.
        place: What to call the host in errors.
        address: Where it leads to.
    """

    KEEPALIVE_S = 5.0
    PATIENCE_S = 15.0
    """A host whose cores all poll may answer late."""

    def __init__(self, client: SSHClient, place: str, address: str) -> None:
        transport = client.get_transport()
        if transport is None:
            raise CommandError("the SSH client is not connected", place=place)
        self._client = client
        self._transport = transport
        self._place = place
        self._address = address
        self._asking = threading.Lock()
        self._opening = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name=f"SSH to {address}", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it still stands, as far as is known."""
        return self._transport.is_active()

    def lost(self) -> LostConnectionError:
        """The error to raise where it does not."""
        return LostConnectionError(f"the SSH connection to {self._address} was lost", place=self._place)

    def _watch(self) -> None:
        while self.alive and not self._closed.wait(self.KEEPALIVE_S):
            self.answers(self.PATIENCE_S)

    def answers(self, within_s: float) -> bool:
        """Whether the host answers in time; where it does not, the connection is given up."""
        with self._asking:  # there is no telling which question an answer is to
            give_up = threading.Timer(within_s, self._transport.close)
            give_up.daemon = True
            give_up.start()
            with suppress(EOFError, OSError, SSHException):
                self._transport.global_request("keepalive@openssh.com")
            give_up.cancel()
        return self.alive

    def broke(self, channel: Channel) -> bool:
        """Whether a channel ended because the connection did, and not by its program's end."""
        if channel.eof_received and channel.exit_status != -1:
            return False
        # Where it broke, the channels learn of it first. Without the end of its output, or its status, none but a
        # break closes one.
        told = channel.eof_received or channel.exit_status != -1
        self._transport.join(0.1 if told else BROKEN_S)
        return not self.alive

    def start(self, line: str) -> Channel:
        """Run a command line.

        Raises:
            CommandError: The host refuses.
            LostConnectionError: The connection broke.
        """
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                with self._opening:  # paramiko keeps one refusal, whoever it was for
                    channel = self._transport.open_session(timeout=ANSWER_S)
                channel.exec_command(line)
                return channel
            except (EOFError, OSError, SSHException) as error:
                if not self.answers(ANSWER_S):
                    raise self.lost() from error
                if time.monotonic() > deadline:
                    raise self._refused(error) from error
            # As many run as sshd allows, and some end soon; or it was closed as soon as it was opened, which older
            # dropbears do when others end at that moment. Nothing was started.
            time.sleep(0.1)

    def _refused(self, error: Exception) -> CommandError:
        if isinstance(error, ChannelException):
            remedy = "raise MaxSessions in its sshd_config"
            return CommandError("allows no further SSH session", place=self._place, remedy=remedy)
        return CommandError(f"SSH: {error}", place=self._place)

    def ask(self, line: str, given: bytes, limit_s: float) -> tuple[int, bytes, bytes]:
        """Run a command line to its end.

        Args:
            line: What the remote shell gets.
            given: Its standard input.
            limit_s: How long it may take.

        Returns:
            Exit status, -1 where a signal ended it; standard output and error.

        Raises:
            TimeoutError: It takes longer, while the host answers.
            CommandError: The host refuses.
            LostConnectionError: The connection broke.
        """
        deadline = time.monotonic() + limit_s
        channel = self.start(line)
        out, err = bytearray(), bytearray()
        readers = [_thread(_collect, channel.recv, out), _thread(_collect, channel.recv_stderr, err)]
        _thread(_feed, channel, given)
        try:
            channel.status_event.wait(max(0.0, deadline - time.monotonic()))
            for reader in readers:
                reader.join(max(0.0, deadline - time.monotonic()))
            ended = channel.exit_status_ready() and not any(reader.is_alive() for reader in readers)
            if not ended and self.answers(ANSWER_S):
                raise TimeoutError
            if not ended or self.broke(channel):
                raise self.lost()
            return channel.exit_status, bytes(out), bytes(err)
        finally:
            channel.close()

    def way(self, address: str, port: int) -> Channel:
        """A byte stream through the host to a TCP port that it reaches.

        Raises:
            CommandError: Nothing answers there, or the host forwards nothing.
            LostConnectionError: The connection broke.
        """
        try:
            with self._opening:
                return open_way(self._client, address, port)
        except (EOFError, OSError, SSHException) as error:
            if not self.answers(ANSWER_S):
                raise self.lost() from error
            forbidden = isinstance(error, ChannelException) and error.code == 1
            remedy = "allow it: AllowTcpForwarding in its sshd_config" if forbidden else ""
            why = error.text if isinstance(error, ChannelException) else str(error)
            what = f"{address} port {port} does not answer through SSH: {why.lower()}"
            raise CommandError(what, place=self._place, remedy=remedy) from error

    def close(self) -> None:
        """End it."""
        self._closed.set()
        self._client.close()


def _thread(target: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


def _collect(read: Callable[[int], bytes], into: bytearray) -> None:
    while data := read(CHUNK):
        into += data


def _feed(channel: Channel, given: bytes) -> None:
    with suppress(OSError, EOFError, SSHException):  # it need not read all of it
        for start in range(0, len(given), CHUNK):
            channel.sendall(given[start : start + CHUNK])
        channel.shutdown_write()
