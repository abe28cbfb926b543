"""A small XMPP client for tests on loopback: plain TCP, SASL PLAIN, one thread, standard library only."""

import base64
import hashlib
import itertools
import json
import pathlib
import socket
import subprocess
import time
import xml.etree.ElementTree as ET

HERE = pathlib.Path(__file__).resolve().parent
CLIENT = "{jabber:client}"
counter = itertools.count(1)


class Client:
    """One session. `send` takes text; `receive` gives the next stanza that satisfies a test."""

    def __init__(self, server, jid, password="secret", resource="test"):
        self.bare = jid
        user, self.host = jid.split("@")
        self.pending = []
        self.socket = socket.create_connection((server["address"], server["c2s"]), 10)
        self._open()
        self._read(lambda e: e.tag.endswith("features"))
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>")
        answer = self._read(lambda e: True)
        if not answer.tag.endswith("success"):
            raise AssertionError(f"{jid} cannot log in: {ET.tostring(answer)}")
        self._open()
        self._read(lambda e: e.tag.endswith("features"))
        self.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                  f"<resource>{resource}</resource></bind></iq>")
        bound = self.receive(lambda e: e.get("id") == "bind")
        self.jid = bound.find(".//{urn:ietf:params:xml:ns:xmpp-bind}jid").text

    def _open(self):
        self.parser = ET.XMLPullParser(["start", "end"])
        self.depth = 0
        self.root = None
        self.send("<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0'"
                  f" xmlns:stream='http://etherx.jabber.org/streams' to='{self.host}'>")

    def send(self, text):
        self.socket.sendall(text.encode())

    def _events(self):
        for kind, element in self.parser.read_events():
            if kind == "start":
                self.depth += 1
                if self.depth == 1:
                    self.root = element
            else:
                self.depth -= 1
                if self.depth == 1:
                    self.pending.append(element)
                    self.root.clear()

    def _read(self, wanted, timeout=10):
        deadline = time.monotonic() + timeout
        while True:
            for i, element in enumerate(self.pending):
                if wanted(element):
                    return self.pending.pop(i)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except socket.timeout:
                return None
            if not data:
                raise AssertionError(f"{self.bare}: the stream was closed")
            self.parser.feed(data)
            self._events()

    def receive(self, wanted=lambda e: True, timeout=10):
        """The next stanza, among those not taken yet, for which wanted(element) is true; None after the timeout."""
        return self._read(lambda e: e.tag.startswith(CLIENT) and wanted(e), timeout)

    def iq(self, kind, content, to=None, timeout=10):
        """Sends an IQ and gives the answer."""
        number = f"t{next(counter)}"
        address = f" to='{to}'" if to else ""
        self.send(f"<iq type='{kind}' id='{number}'{address}>{content}</iq>")
        answer = self.receive(lambda e: e.tag == CLIENT + "iq" and e.get("id") == number and e.get("type") in ("result", "error"),
                              timeout)
        if answer is None:
            raise AssertionError(f"{self.bare}: no answer to {content}")
        return answer

    def message(self, test=lambda e: True, timeout=5):
        return self.receive(lambda e: e.tag == CLIENT + "message" and test(e), timeout)

    def close(self):
        try:
            self.send("</stream:stream>")
            self.socket.close()
        except OSError:
            pass


def receive(stream):
    """What came on a socket."""
    data = stream.recv(1 << 22)
    assert data, "the stream was closed"
    return data


def component(server, name, secret="secret"):
    """The socket of an external component (XEP-0114) that is connected."""
    stream = socket.create_connection((server["address"], server["component"]), 10)
    stream.sendall(f"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='{name}'>"
                   .encode())
    data = b""
    while b"id='" not in data:
        data += receive(stream)
    key = hashlib.sha1((data.split(b"id='")[1].split(b"'")[0].decode() + secret).encode()).hexdigest()
    stream.sendall(f"<handshake>{key}</handshake>".encode())
    while b"<handshake" not in data:
        data += receive(stream)
    return stream


class Server:
    """A server of live.py: `with Server("--module", "bookmarks") as server: Client(server, ...)`."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __enter__(self):
        self.process = subprocess.Popen([str(HERE / "live.py"), *self.arguments], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the server did not start ({self.process.wait()})")
        self.about = json.loads(line)
        return self

    def __getitem__(self, name):
        return self.about[name]

    def log(self):
        return pathlib.Path(self.about["log"]).read_text(errors="replace")

    def __exit__(self, *_):
        self.process.terminate()
        self.status = self.process.wait(20)
