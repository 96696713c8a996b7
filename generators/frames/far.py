"""The far end of exact frames: puts frames on one of the host's devices, or takes them from some, byte by byte.

Uploaded, and run there as `python3 frames_far.py`. One line of JSON on its standard input says what to do, lines of
JSON on its standard output say what was done; where the input ends, so does it. It imports nothing of nvbench, and
runs on Python 3.6.
"""

import errno
import json
import math
import select
import socket
import struct
import sys
import time

ALL = 0x0003  # ETH_P_ALL
OUTGOING = 4
SOL_PACKET = 263
ADD_MEMBERSHIP, AUXDATA = 1, 8
PROMISCUOUS = 1
VLAN_VALID, TPID_VALID = 1 << 4, 1 << 6
SO_TIMESTAMPNS = 35
LONGEST = 1 << 16
REST_S = 1.0  # in this time all is read that has come, also where more and more comes

_auxdata = struct.Struct("=IIIHHHH")
_timespec = struct.Struct("@ll")


def say(**event: object) -> None:
    """An event, on a line of its own."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def opened(device: str, protocol: int) -> socket.socket:
    """A socket on a device."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    if protocol:
        made.setsockopt(SOL_PACKET, AUXDATA, 1)
        made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        wanted = struct.pack("=IHH8s", socket.if_nametoindex(device), PROMISCUOUS, 0, b"")
        made.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, wanted)
    made.bind((device, protocol))
    return made


def received(source: socket.socket) -> "tuple[float, bytes] | None":
    """Time and bytes of the next frame that came in, a tag that the kernel took off back in its place."""
    frame, beside, _, address = source.recvmsg(LONGEST, 256)
    if address[2] == OUTGOING:
        return None
    at_s = time.time()
    for level, kind, data in beside:
        if level == SOL_PACKET and kind == AUXDATA:
            status, _, _, _, _, tci, tpid = _auxdata.unpack_from(data)
            if status & VLAN_VALID:
                tag = struct.pack("!HH", tpid if status & TPID_VALID else 0x8100, tci)
                frame = frame[:12] + tag + frame[12:]
        elif level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _timespec.unpack_from(data)
            at_s = seconds + nanoseconds / 1e9
    return at_s, frame


def capture(devices: "list[str]", marker: str) -> None:
    """Take frames that carry a marker, until the next line comes, and then those that have come already."""
    sources = {opened(device, ALL): device for device in devices}
    wanted = bytes.fromhex(marker)
    say(event="ready")
    end = math.inf
    while time.monotonic() < end:
        ended = end < math.inf
        ready = select.select([*sources] if ended else [*sources, sys.stdin], [], [], 0 if ended else None)[0]
        if not ready:
            break
        if sys.stdin in ready:
            sys.stdin.readline()
            end = time.monotonic() + REST_S
        for source, device in sources.items():
            taken = received(source) if source in ready else None
            if taken and wanted in taken[1]:
                say(event="frame", device=device, at_s=taken[0], frame=taken[1].hex())
    say(event="done")


def send(device: str, frames: "list[str]") -> None:
    """Put frames on a device, one after another."""
    with opened(device, 0) as out:
        for number, frame in enumerate(frames):
            try:
                out.send(bytes.fromhex(frame))
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue  # lost on its way: the other end of a virtual cable does not take it
                say(event="error", what=f"frame {number} of {len(frame) // 2} bytes: {error.strerror}")
                return
    say(event="done")


def main() -> None:
    """Does what it is asked."""
    asked = json.loads(sys.stdin.readline())
    try:
        if asked.pop("do") == "send":
            send(**asked)
        else:
            capture(**asked)
    except OSError as error:
        say(event="error", what=str(error))
    sys.stdin.read()  # whoever asked may still have something to say


if __name__ == "__main__":
    main()
