"""A client that provides relationships: raw MessagePack-RPC, a thread for each
request, so that it can read through the same connection while it answers."""

import queue
import threading

import msgpack

from relata_test import PATIENCE_S, Closed, Refused


class Provider:
    """`answer(request)` gives the result, or raises Refused; or, with `manual`,
    requests wait in `requests` until the test answers them."""

    def __init__(self, daemon, name, answer=None, **options):
        self.client = daemon.connect()
        self.client.socket.settimeout(None)
        self.answer = answer
        self.requests = queue.Queue()
        self.sizes = []
        self.busy = 0
        self.busiest = 0
        self.out = set()
        self.twice = False
        self.lock = threading.Lock()
        self.primary_keys = {}
        self.waiting = {}
        self.last_id = 0
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        self.provide(name, **options)

    def provide(self, name, **options):
        resource = name.partition(".")[0]
        self.primary_keys[resource] = self.call("schema")["resources"][resource]["primary_key"]
        assert self.call("provide", name, options) is True

    def _send(self, message):
        with self.lock:
            self.client.send(msgpack.packb(message))

    def call(self, method, *params):
        with self.lock:
            self.last_id += 1
            msgid = self.last_id
            box = self.waiting[msgid] = queue.Queue()
            self.client.send(msgpack.packb([0, msgid, method, list(params)]))
        error, result = box.get(timeout=PATIENCE_S)
        if error is not None:
            raise Refused(error)
        return result

    def _read(self):
        try:
            while True:
                message = self.client.receive()
                if message[0] == 1:
                    self.waiting.pop(message[1]).put((message[2], message[3]))
                else:
                    self._take(Request(self, *message[1:]))
        except (Closed, OSError):
            pass
        for box in list(self.waiting.values()):
            box.put(("unavailable: the connection is closed", None))
        self.closed.set()

    def _take(self, request):
        assert request.method == "load_relationship", request.method
        keys = {(request.name, key) for key in request.keys}
        with self.lock:
            self.sizes.append(len(request.records))
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            self.twice = self.twice or bool(keys & self.out)
            self.out |= keys
        if self.answer is None:
            self.requests.put(request)
        else:
            threading.Thread(target=self._answer, args=(request,), daemon=True).start()

    def _answer(self, request):
        try:
            result = self.answer(request)
        except Refused as refused:
            request.fail(refused.error)
        else:
            request.respond(result)

    def next(self):
        return self.requests.get(timeout=PATIENCE_S)

    def close(self):
        """At once, as when its process is killed."""
        try:
            self.client.socket.shutdown(2)
        except OSError:
            pass
        self.thread.join()
        self.client.close()


class Request:
    """`keys` are those of the records; composite ones are tuples."""

    def __init__(self, provider, msgid, method, params):
        self.provider = provider
        self.msgid = msgid
        self.method = method
        self.resource, self.relationship, self.records, self.options, self.context = params
        self.name = f"{self.resource}.{self.relationship}"
        field = provider.primary_keys[self.resource]
        self.keys = [record[field] if isinstance(field, str)
                     else tuple(record[name] for name in field) for record in self.records]

    def read(self, method, *params):
        """Through the same connection, for this batch."""
        *params, options = params
        return self.provider.call(method, *params, dict(options, batch=self.context["batch"]))

    def _end(self, error, result):
        with self.provider.lock:
            self.provider.busy -= 1
            self.provider.out -= {(self.name, key) for key in self.keys}
        self.send(error, result)

    def send(self, error, result):
        try:
            self.provider._send([1, self.msgid, error, result])
        except OSError:
            pass

    def respond(self, result):
        self._end(None, result)

    def fail(self, error):
        self._end(error, None)
