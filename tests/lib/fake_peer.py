"""A daemon that does what a test tells it to, for faults that a real one has not.

    fake = FakeDaemon(folder, {"get": lambda params: None})
    peer = fake.peer()                     # the first connection that said hello
    peer.request("load_relationship", ...) # what the client answers: (error, result)
"""

import os
import queue
import socket
import threading

import msgpack

from relata_test import PATIENCE_S, wait_until

LATER = object()  # as an answer: none now


class Peer:
    """One connection, from the daemon's side."""

    def __init__(self, sock, answers):
        self.socket = sock
        self.answers = answers
        self.seen = []        # (msgid, method, params) in their order
        self.responses = queue.Queue()
        self.received = []    # how many bytes each read gave
        self.closed = threading.Event()
        self.lock = threading.Lock()
        self.last_id = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        unpacker = msgpack.Unpacker(strict_map_key=False)
        try:
            while True:
                data = self.socket.recv(1 << 16)
                if not data:
                    break
                self.received.append(len(data))
                unpacker.feed(data)
                for message in unpacker:
                    self._take(message)
        except OSError:
            pass
        self.socket.close()
        self.closed.set()

    def _take(self, message):
        if message[0] == 1:
            self.responses.put(message[1:])
            return
        _, msgid, method, params = message
        self.seen.append((msgid, method, params))
        answer = self.answers.get(method, lambda params: True)(params)
        if answer is not LATER:
            error = answer if isinstance(answer, BaseException) else None
            self.answer(msgid, str(error) if error else None, None if error else answer)

    def answer(self, msgid, error, result):
        self.send(msgpack.packb([1, msgid, error, result]))

    def send(self, data):
        with self.lock:
            self.socket.sendall(data)

    def ask(self, method, params):
        """Sends a request; its id. The response comes to `responses`."""
        self.last_id += 1
        self.send(msgpack.packb([0, self.last_id, method, params], datetime=True))
        return self.last_id

    def request(self, method, params):
        msgid = self.ask(method, params)
        answered, error, result = self.responses.get(timeout=PATIENCE_S)
        assert answered == msgid, (answered, msgid)
        return error, result

    def methods(self):
        return [method for _, method, _ in list(self.seen)]

    def wait_for(self, method, count=1):
        """The params of the count-th request of this method."""
        wait_until(lambda: self.methods().count(method) >= count, method)
        return [params for _, name, params in list(self.seen) if name == method][count - 1]

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class FakeDaemon:
    def __init__(self, folder, answers=None):
        self.path = os.path.join(folder, "fake.sock")
        self.address = "unix:" + self.path
        self.answers = {"hello": lambda params: {"server": "relata"},
                        "ping": lambda params: "pong", **(answers or {})}
        self.peers = []
        self.listener = None
        self.listen()

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self._accept, args=[self.listener], daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self.peers.append(Peer(sock, self.answers))

    def peer(self, count=1):
        """The count-th connection, once it said hello."""
        wait_until(lambda: len(self.peers) >= count, f"connection {count}")
        self.peers[count - 1].wait_for("hello")
        return self.peers[count - 1]

    def stop(self):
        """As if it had ended: nobody listens, and the connections are gone."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        if os.path.exists(self.path):
            os.unlink(self.path)
        for peer in self.peers:
            peer.close()
            peer.closed.wait(PATIENCE_S)
