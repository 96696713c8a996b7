"""Stands in for a TRex server: its published JSON-RPC methods, over two ports that are cabled to each other.

It counts as a TRex would that sends by the clock; nothing is sent. A request is a line on a TCP socket here, as there
is no ZeroMQ to be had. What goes wrong is said by the environment variable FAKE_TREX, as JSON:

    capacity_pps    what it can send out of a port; asked for more, it stretches its schedule
    pass_pps        what the device between its ports forwards
    loss            share of the frames that the device between its ports loses
    ierrors         frames a second that its ports get and cannot take in
    owner           who holds the ports already
    api             what it answers to a client's version; empty: it fits
    ports           how many it has
    dies_after_s    how long traffic runs before it ends
    garbage         a method that it answers with something that is no JSON
    hangs           a method that it does not answer
    refuses         it ends at once, having said so
    link            false: no link
"""

import json
import os
import re
import socketserver
import sys
import threading
import time
from pathlib import Path

LATENCY = "HISTFAAAACd4nJNpmSzMwMDAyQABzFCaEUzOmNZg/wEq0cHHvoVxs7IIAHzBBnA="
"""An HDR histogram: 900 frames at 2 us, 90 at 7 and 10 at 2500."""

LINE_BPS = 10e9
METHODS_WITHOUT_PORT = {"api_sync_v2", "get_version", "get_system_info", "get_supported_cmds", "get_global_stats"}


class Refused(Exception):  # noqa: N818
    """An error answer, with the published code -32000."""


class Port:
    """What a port was told, and what it therefore has sent by now."""

    def __init__(self, owner):
        self.owner, self.handler = owner, ""
        self.streams = {}
        self.began = self.ended = None
        self.until_s = 0.0
        self.sent_before = 0
        self.attributes = {}

    def rate(self, capacity_pps):
        """Frames a second, of all streams; and by how much the schedule is stretched."""
        asked = sum(stream["mode"]["rate"]["value"] for stream in self.streams.values())
        return asked, max(1.0, asked / capacity_pps) if capacity_pps else 1.0

    def sent(self, capacity_pps, now):
        """Frames out of it since it was started."""
        if self.began is None:
            return self.sent_before
        _, stretch = self.rate(capacity_pps)
        seconds = min(self.until_s, ((self.ended or now) - self.began) / stretch)
        total = 0
        for stream in self.streams.values():
            frames = int(stream["mode"]["rate"]["value"] * seconds)
            total += min(frames, stream["mode"].get("total_pkts", frames))
        return self.sent_before + total

    def transmitting(self, capacity_pps, now):
        """Whether it still sends."""
        if self.began is None or self.ended is not None:
            return False
        counts = [stream["mode"].get("total_pkts") for stream in self.streams.values()]
        bounded = None not in counts and self.sent(capacity_pps, now) - self.sent_before >= sum(counts)
        _, stretch = self.rate(capacity_pps)
        return not bounded and (now - self.began) / stretch < self.until_s


class FakeTrex:
    """All ports, and their answers."""

    def __init__(self, quirks, log=None):
        self.quirks = quirks
        self.ports = [Port(quirks.get("owner", "")) for _ in range(quirks.get("ports", 2))]
        self.log = log
        self.lock = threading.Lock()
        self.first_start = None
        self.groups = {}

    @property
    def capacity_pps(self):
        return self.quirks.get("capacity_pps", 0)

    def handle(self, text):
        """The answer to a request, or to a batch of them."""
        asked = json.loads(text)
        with self.lock:
            if isinstance(asked, list):
                return json.dumps([self.one(each) for each in asked])
            if self.quirks.get("garbage") == asked["method"]:
                return "<html>"
            if self.quirks.get("hangs") == asked["method"]:
                time.sleep(3600)
            return json.dumps(self.one(asked))

    def one(self, asked):
        method, params = asked["method"], asked.get("params") or {}
        if self.log:
            with open(self.log, "a") as log:  # noqa: PTH123
                log.write(json.dumps({"method": method, "params": params}) + "\n")
        told = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            found = getattr(self, "do_" + method, None)
            if found is None:
                return {**told, "error": {"code": -32601, "message": "Method not registered"}}
            if "port_id" in params and params["port_id"] >= len(self.ports):
                raise Refused(f"invalid port id - should be between 0 and {len(self.ports) - 1}")
            if "handler" in params and params["handler"] != self.ports[params["port_id"]].handler:
                raise Refused("invalid handler provided")
            return {**told, "result": found(**{key: value for key, value in params.items() if key != "api_h"})}
        except Refused as error:
            return {
                **told,
                "error": {"code": -32000, "message": "Failed To Execute Method", "specific_err": str(error)},
            }

    # -- the server --------------------------------------------------------------------------------------------

    def do_api_sync_v2(self, name, major, minor):
        if self.quirks.get("api"):
            raise Refused(self.quirks["api"])
        return {"api_h": "fake"}

    def do_get_version(self):
        return {"version": "v3.06", "build_date": "Nov 5 2025", "build_time": "1", "built_by": "t", "mode": "STL"}

    def do_get_system_info(self):
        ports = [
            {
                "index": index,
                "driver": "net_af_packet",
                "description": "",
                "pci_addr": "",
                "numa": -1,
                "speed": 10,
                "supp_speeds": [],
                "hw_mac": f"02:00:00:00:00:0{index}",
                "is_virtual": True,
                "is_prom_supported": True,
                "is_fc_supported": False,
                "is_led_supported": False,
                "is_link_supported": False,
                "rx": {"caps": ["flow_stats", "latency", "rx_bytes"], "counters": 127},
            }
            for index in range(len(self.ports))
        ]
        return {"port_count": len(ports), "ports": ports, "dp_core_count": 1, "dp_core_count_per_port": 1}

    def do_get_supported_cmds(self):
        return [*sorted(name[3:] for name in dir(self) if name.startswith("do_")), "get_profile_list"]

    def do_get_global_stats(self):
        late = sum(port.rate(self.capacity_pps)[1] > 1 for port in self.ports)
        return {"m_total_queue_full": 17 * late, "m_cpu_util": 1.0, "m_tx_bps": 0.0, "m_tx_pps": 0.0}

    # -- ports -------------------------------------------------------------------------------------------------

    def do_acquire(self, port_id, user, force, session_id=0):
        port = self.ports[port_id]
        if port.owner and port.owner != user and not force:
            raise Refused(f"port is already taken by '{port.owner}'")
        port.owner, port.handler = user, f"handler{port_id}"
        return port.handler

    def do_release(self, port_id, handler):
        self.ports[port_id].owner = self.ports[port_id].handler = ""
        return {}

    def do_set_port_attr(self, port_id, handler, attr):
        self.ports[port_id].attributes.update(attr)
        return {}

    def do_get_port_status(self, port_id, profile_id="_", block=True):
        port = self.ports[port_id]
        moving = port.transmitting(self.capacity_pps, time.monotonic())
        state = "TX" if moving else "STREAMS" if port.streams else "IDLE"
        return {
            "owner": port.owner,
            "state": state,
            "state_profile": {"_": state} if port.streams else {},
            "attr": {
                "link": {"up": self.quirks.get("link", True)},
                "speed": 10,
                "promiscuous": port.attributes.get("promiscuous", {"enabled": False}),
                "fc": {"mode": 0},
                "layer_cfg": {"ether": {"src": "a", "dst": "b", "state": "configured"}, "ipv4": {"state": "none"}},
                "vlan": {"tags": []},
                "rx_filter_mode": "hw",
            },
            "rx_info": {"queue": {"is_active": False}, "grat_arp": {"is_active": False}},
            "service": False,
            "service_filtered": False,
            "max_stream_id": len(port.streams),
        }

    def do_get_port_stats(self, port_id):
        now = time.monotonic()
        self._live(now)
        other = self.ports[port_id ^ 1] if len(self.ports) > 1 else self.ports[port_id]
        came = other.sent(self.capacity_pps, now)
        if other.began is not None and self.quirks.get("pass_pps"):
            seconds = (other.ended or now) - other.began
            came = other.sent_before + min(came - other.sent_before, int(self.quirks["pass_pps"] * seconds))
        missed = int(self.quirks.get("ierrors", 0) * (came > 0))
        sent = self.ports[port_id].sent(self.capacity_pps, now)
        rates = {f"m_total_{way}_{what}": 0.0 for way in ("tx", "rx") for what in ("bps", "pps")}
        received = max(0, came - int(came * self.quirks.get("loss", 0.0)) - missed)
        return {
            "opackets": sent,
            "ipackets": received,
            "obytes": 64 * sent,
            "ibytes": 64 * received,
            "oerrors": 0,
            "ierrors": missed,
            "m_cpu_util": 0.0,
            **rates,
        }

    def _live(self, now):
        dies = self.quirks.get("dies_after_s")
        if dies is not None and self.first_start is not None and now - self.first_start > dies:
            print("*** a TRex that dies ***\n\n DP core 0 is stuck\n", flush=True)
            os._exit(6)

    # -- streams -----------------------------------------------------------------------------------------------

    def do_remove_all_streams(self, port_id, handler, profile_id="_"):
        port = self.ports[port_id]
        port.sent_before = port.sent(self.capacity_pps, time.monotonic())
        port.began, port.streams = None, {}
        return {}

    def do_add_stream(self, port_id, handler, stream_id, stream, profile_id="_"):
        self.ports[port_id].streams[stream_id] = stream
        if stream["flow_stats"]["enabled"]:
            self.groups[stream["flow_stats"]["stream_id"]] = stream_id
        return {}

    def do_start_traffic(self, port_id, handler, mul, duration, force, **rest):
        port = self.ports[port_id]
        asked, _ = port.rate(0)
        if asked * 84 * 8 > LINE_BPS and not force:
            raise Refused(f"Expected L1 B/W: '{asked * 84 * 8 / 1e9:g} Gbps' exceeds port line rate: '10 Gbps'")
        port.began, port.ended, port.until_s = time.monotonic(), None, duration
        self.first_start = self.first_start or port.began
        return {"multiplier": 1.0}

    def do_stop_traffic(self, port_id, handler, profile_id="_"):
        port = self.ports[port_id]
        port.ended = port.ended or time.monotonic()
        return {}

    def do_remove_rx_filters(self, port_id, handler, profile_id="_"):
        return {}

    def do_get_active_pgids(self):
        return {"ids": {"flow_stats": [], "latency": sorted(self.groups)}}

    def do_get_pgid_stats(self, pgids):
        one = {
            "er": {"drp": 0, "ooo": 0, "dup": 0, "sth": 0, "stl": 0},
            "lat": {"jit": 0, "average": 3, "total_max": 2500, "total_min": 2, "last_max": 2500, "hdrh": LATENCY},
        }
        return {"ver_id": {str(group): 1 for group in pgids}, "latency": {str(group): one for group in pgids}}


class Lines(socketserver.StreamRequestHandler):
    """Requests, a line each."""

    def handle(self):
        for line in self.rfile:
            self.wfile.write(self.server.trex.handle(line.decode()).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True


def main(argv):
    """Serves on the port that the configuration names, until it is ended."""
    quirks = json.loads(os.environ.get("FAKE_TREX", "{}"))
    config = Path(argv[argv.index("--cfg") + 1])
    (config.parent / "argv.json").write_text(json.dumps(argv))
    if quirks.get("refuses"):
        print("Starting Scapy server\n\nERROR: could not find requested interface gen0\n")
        sys.exit(1)
    port = int(re.search(r"^  zmq_rpc_port: (\d+)$", config.read_text(), re.MULTILINE)[1])
    server = Server(("127.0.0.1", port), Lines)
    server.trex = FakeTrex(quirks, config.parent / "requests.jsonl")
    server.serve_forever()
