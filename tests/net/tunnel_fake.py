# SPDX-License-Identifier: Apache-2.0
"""An edge made of Python (python3-h2), which does what no real one would: for tests of an origin alone.

    edge = FakeEdge(work, "edge-0", 7000, edges=["127.0.0.1:7001"])
    conn = edge.wait(1)[0]                 # its connections, greeted
    answer = conn.ask("GET", "app.edge.example", "/")
"""
import json
import pathlib
import queue
import socket
import ssl
import subprocess
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import hyperframe.frame

# python3-h2 takes the first GOAWAY, sent or received, for the end; streams that run go on (RFC 9113 section 6.8).
machine = h2.connection.H2ConnectionStateMachine
machine._transitions[(h2.connection.ConnectionState.CLIENT_OPEN, h2.connection.ConnectionInputs.RECV_GOAWAY)] = (
    None, h2.connection.ConnectionState.CLIENT_OPEN)


class Answer:
    """What came for one request; ended: an Event."""

    def __init__(self):
        self.status, self.fields, self.body, self.trailers, self.reset = 0, [], b"", [], None
        self.ended, self.headed = threading.Event(), threading.Event()

    def field(self, name):
        return dict(self.fields).get(name)


class Conn:
    def __init__(self, edge, sock, cert):
        self.edge, self.sock, self.cert = edge, sock, cert
        self.lock = threading.RLock()
        self.lines, self.answers, self.hello = [], {}, None
        self.goaway, self.closed, self.deaf = None, threading.Event(), False
        self.detached = False
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
                                                                      normalize_inbound_headers=False))
        self.h2.initiate_connection()
        self.control = self.h2.get_next_available_stream_id()
        self.h2.send_headers(self.control, [(":method", "POST"), (":scheme", "https"), (":authority", edge.tunnel),
                                            (":path", "/_/tunnel/attach")])
        self.flush()
        if edge.greets:
            self.say({"hello": {"version": "0", "edge": edge.name, "site": "test", "tunnel": edge.tunnel, "generation": 1,
                                "edges": edge.edges}})
        self.rest = b""
        threading.Thread(target=self.read, daemon=True).start()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            try:
                self.sock.sendall(data)
            except OSError:
                pass

    def say(self, line):
        with self.lock:
            self.h2.send_data(self.control, (json.dumps(line) + "\n").encode())
            self.flush()

    def finish(self):
        with self.lock:
            self.h2.end_stream(self.control)
            self.flush()

    def goodbye(self, text="", code=0):
        with self.lock:
            self.sock.sendall(hyperframe.frame.GoAwayFrame(0, 0, code, text.encode()).serialize())

    def cut(self):
        """shutdown, so that the reading thread wakes up too."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        self.closed.set()

    def read(self):
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            while self.deaf:
                time.sleep(0.05)
            if not data:
                break
            with self.lock:
                try:
                    events = self.h2.receive_data(data)
                except Exception as e:  # what it says of us is the test's to look at
                    self.goaway = repr(e)
                    break
                for event in events:
                    self.event(event)
                self.flush()
        self.closed.set()
        for a in list(self.answers.values()):
            if not a.ended.is_set():
                a.reset = a.reset or "closed"
                a.headed.set()
                a.ended.set()

    def event(self, e):
        if isinstance(e, h2.events.DataReceived):
            self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            if e.stream_id != self.control:
                self.answers[e.stream_id].body += e.data
                return
            *lines, self.rest = (self.rest + e.data).split(b"\n")
            for line in map(json.loads, lines):
                if "hello" in line:
                    self.hello = line["hello"]
                self.detached |= "detach" in line
                self.lines.append(line)
        elif isinstance(e, h2.events.ResponseReceived) and e.stream_id in self.answers:
            a = self.answers[e.stream_id]
            a.status, a.fields = int(dict(e.headers)[":status"]), e.headers
            a.headed.set()
        elif isinstance(e, h2.events.TrailersReceived):
            self.answers[e.stream_id].trailers = e.headers
        elif isinstance(e, h2.events.StreamEnded) and e.stream_id == self.control:
            threading.Timer(0.1, self.cut).start()
        elif isinstance(e, h2.events.StreamEnded) and e.stream_id in self.answers:
            self.answers[e.stream_id].ended.set()
        elif isinstance(e, h2.events.StreamReset) and e.stream_id in self.answers:
            a = self.answers[e.stream_id]
            a.reset = e.error_code
            a.headed.set()
            a.ended.set()
        elif isinstance(e, h2.events.ConnectionTerminated):
            self.goaway = (e.error_code, e.additional_data or b"")

    def begin(self, method, authority, path=None, fields=(), end=True, protocol=None):
        """Sends a head; (stream, answer)."""
        a = Answer()
        head = [(":method", method)]
        if path is not None:
            head += [(":scheme", "http")]
        head += [(":authority", authority)]
        if path is not None:
            head += [(":path", path)]
        if protocol:
            head += [(":protocol", protocol)]
        with self.lock:
            stream = self.h2.get_next_available_stream_id()
            self.answers[stream] = a
            self.h2.send_headers(stream, head + list(fields), end_stream=end)
            self.flush()
        return stream, a

    def send(self, stream, data, end=False, seconds=15):
        until = time.monotonic() + seconds
        while data and time.monotonic() < until:
            with self.lock:
                n = min(len(data), self.h2.max_outbound_frame_size, self.h2.local_flow_control_window(stream))
                if n:
                    self.h2.send_data(stream, data[:n])
                    data = data[n:]
                    self.flush()
                    continue
            time.sleep(0.01)  # the window is not ours to hurry
        with self.lock:
            if end:
                self.h2.end_stream(stream)
                self.flush()

    def ask(self, method, authority, path="/", fields=(), body=None, seconds=15):
        stream, a = self.begin(method, authority, path, fields, end=body is None)
        if body is not None:
            self.send(stream, body, end=True)
        a.ended.wait(seconds)
        return a


class FakeEdge:
    def __init__(self, name, port, cert, key, origins, tunnel="app", edges=(), greets=True, refuse=None, tls=None):
        self.name, self.port, self.tunnel, self.edges, self.greets, self.refuse = name, port, tunnel, list(edges), greets, refuse
        self.ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ctx.minimum_version = ssl.TLSVersion.TLSv1_3
        self.ctx.load_cert_chain(cert, key)
        self.ctx.load_verify_locations(origins)
        self.ctx.verify_mode = ssl.CERT_REQUIRED
        self.ctx.set_alpn_protocols(["weir-tunnel/1"] if tls is None else tls)
        self.conns, self.dialled, self.accepting = [], 0, threading.Event()
        self.accepting.set()
        self.listener = None
        self.listen()

    def listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        threading.Thread(target=self.loop, args=(self.listener,), daemon=True).start()

    def loop(self, listener):
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            self.dialled += 1
            threading.Thread(target=self.take, args=(s,), daemon=True).start()

    def take(self, s):
        self.accepting.wait()
        try:
            s = self.ctx.wrap_socket(s, server_side=True)
        except (OSError, ssl.SSLError):
            s.close()
            return
        if self.refuse:
            c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
            c.initiate_connection()
            c.close_connection(11, additional_data=self.refuse.encode())
            s.sendall(c.data_to_send())
            time.sleep(0.2)
            s.close()
            return
        self.conns.append(Conn(self, s, s.getpeercert()))

    def live(self):
        return [c for c in self.conns if not c.closed.is_set() and c.hello and not c.detached]

    def stop(self):
        """As a process that was killed."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for c in self.conns:
            c.cut()
