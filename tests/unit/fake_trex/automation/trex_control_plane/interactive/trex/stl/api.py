"""Stands in for TRex's Python client: what nvbench uses of it, turned into the published JSON-RPC methods.

Requests go over TCP, a line each, as there is no ZeroMQ to be had here.
"""

import base64
import json
import socket


class TRexError(Exception):
    """What the server refused, or that it has gone."""


class STLVM:
    """A field engine: instructions, in the order in which they were given."""

    def __init__(self):
        self.instructions = []

    def var(self, name, min_value, max_value, size, op, step=1):
        told = {"name": name, "min_value": min_value, "init_value": min_value, "max_value": max_value, "size": size}
        self.instructions.append({"type": "flow_var", **told, "op": op, "step": step, "split_to_cores": True})

    def write(self, fv_name, pkt_offset):
        told = {"name": fv_name, "pkt_offset": pkt_offset, "add_value": 0, "is_big_endian": True}
        self.instructions.append({"type": "write_flow_var", **told})

    def write_mask(self, fv_name, pkt_offset, pkt_cast_size, mask):
        told = {"name": fv_name, "pkt_offset": pkt_offset, "pkt_cast_size": pkt_cast_size, "mask": mask}
        self.instructions.append({"type": "write_mask_flow_var", **told, "shift": 0, "is_big_endian": True})

    def fix_chksum(self, offset):
        self.instructions.append({"type": "fix_checksum_ipv4", "pkt_offset": offset})


def STLPktBuilder(pkt_buffer, vm=None):  # noqa: N802
    binary = base64.b64encode(pkt_buffer).decode()
    return {"packet": {"binary": binary, "meta": ""}, "vm": {"instructions": vm.instructions if vm else []}}


def STLTXSingleBurst(total_pkts, pps):  # noqa: N802
    return {"type": "single_burst", "total_pkts": total_pkts, "rate": {"type": "pps", "value": pps}}


def STLTXCont(pps):  # noqa: N802
    return {"type": "continuous", "rate": {"type": "pps", "value": pps}}


def STLFlowLatencyStats(pg_id):  # noqa: N802
    return {"enabled": True, "stream_id": pg_id, "rule_type": "latency"}


def STLStream(name, packet, mode, flow_stats, mac_src_override_by_pkt, mac_dst_override_mode):  # noqa: N802
    flags = mac_src_override_by_pkt + (mac_dst_override_mode << 1)
    rest = {"enabled": True, "self_start": True, "flags": flags, "next_stream_id": -1}
    return {**packet, "mode": mode, "flow_stats": flow_stats or {"enabled": False}, **rest}


class STLClient:
    """A client of a server."""

    def __init__(self, server, sync_port, async_port, verbose_level, sync_timeout, async_timeout):
        self._address, self._timeout_s = (server, sync_port), sync_timeout
        self._requests = None
        self._handlers, self._base, self._next = {}, {}, 0

    def _ask(self, method, **params):
        try:
            self._requests.write(json.dumps({"jsonrpc": "2.0", "method": method, "id": 1, "params": params}) + "\n")
            self._requests.flush()
            line = self._requests.readline()
        except OSError as error:
            raise TRexError("*** [RPC] - Failed to get server response") from error
        if not line:
            raise TRexError("*** [RPC] - Failed to get server response")
        try:
            answer = json.loads(line)
        except ValueError:
            raise TRexError("*** [RPC] - Failed to decode response from server") from None
        if "error" in answer:
            raise TRexError(answer["error"].get("specific_err", answer["error"]["message"]))
        return answer["result"]

    def _own(self, method, port, **params):
        return self._ask(method, port_id=port, handler=self._handlers[port], **params)

    def connect(self):
        print("the client prints")  # as TRex's does
        connection = socket.create_connection(self._address, self._timeout_s)
        self._requests = connection.makefile("rw")
        self._ask("api_sync_v2", name="STL", major=5, minor=1)

    def disconnect(self, stop_traffic, release_ports):
        for port in list(self._handlers):
            self._own("stop_traffic", port)
            self._own("release", port)

    def get_server_version(self):
        return self._ask("get_version")

    def get_all_ports(self):
        return [port["index"] for port in self._ask("get_system_info")["ports"]]

    def acquire(self, ports, force):
        for port in ports:
            self._handlers[port] = self._ask("acquire", port_id=port, user="nvbench", session_id=1, force=force)

    def set_port_attr(self, ports, promiscuous):
        for port in ports:
            self._own("set_port_attr", port, attr={"promiscuous": {"enabled": promiscuous}})

    def get_port_attr(self, port):
        told = self._ask("get_port_status", port_id=port)
        status = "TRANSMITTING" if told["state"] == "TX" else "IDLE"
        return {"link": "UP" if told["attr"]["link"]["up"] else "DOWN", "status": status}

    def remove_all_streams(self, ports):
        for port in ports:
            self._own("remove_all_streams", port)

    def add_streams(self, streams, ports):
        for port in ports:
            for stream in streams:
                self._next += 1
                self._own("add_stream", port, stream_id=self._next, stream=stream)

    def clear_stats(self):
        self._base = {port: self._ask("get_port_stats", port_id=port) for port in self._handlers}

    def start(self, ports, force, duration):
        for port in ports:
            self._own("start_traffic", port, mul={"type": "raw", "value": 1.0}, duration=duration, force=force)

    def stop(self, ports, rx_delay_ms):
        for port in ports:
            self._own("stop_traffic", port)
            self._own("remove_rx_filters", port)

    def get_stats(self, ports):
        found = {"global": {"queue_full": self._ask("get_global_stats")["m_total_queue_full"]}, "latency": {}}
        for port in ports:
            told = self._ask("get_port_stats", port_id=port)
            found[port] = {
                name: told[name] - self._base[port][name] for name in ("opackets", "ipackets", "oerrors", "ierrors")
            }
        groups = self._ask("get_active_pgids")["ids"]["latency"]
        for group, one in self._ask("get_pgid_stats", pgids=groups)["latency"].items():
            found["latency"][int(group)] = {"latency": one["lat"]}
        return found
