"""Real Redis servers and Clusters for tests, a client for them, and a proxy that breaks links.

    class Reads(redis_server.RedisCase):
        def test_get(self):
            redis = self.redis()
            redis.client().call("HSET", "rep:1", "name", "Ada")
            daemon = self.start_relatad(SCHEMA, homes={"main": redis})
            self.assertEqual(daemon.connect().call("get", "representative", 1)["name"], "Ada")

They listen on 127.0.0.1 and on a unix socket in a folder of their own, and nothing of
them is left when the test ends.
"""

import collections
import json
import os
import random
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse

import relata_test
from relata_test import PATIENCE_S, wait_until

REDIS_SERVER = os.environ.get("REDIS_SERVER") or "redis-server"
SLOTS = 16384
UNIX_PATH_MAX = 107


class RedisError(Exception):
    """An error that Redis answered. `code` is its first word: ERR, MOVED, WRONGTYPE."""

    def __init__(self, text):
        super().__init__(text)
        self.text = text
        self.code = text.split(" ")[0]


class LinkLost(ConnectionError):
    """The connection to Redis ended, or nothing came for too long."""


# ---- Keys and slots ----

def _crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xffff
    return crc


def slot_of(key):
    """The slot of a key: of its hash tag where it has one that is not empty."""
    key = _bytes_of(key)
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1) if begin >= 0 else -1
    return _crc16(key[begin + 1:end] if end > begin + 1 else key) % SLOTS


def key_in(slot, prefix="k"):
    """A key of this slot, always the same one."""
    number = 0
    while slot_of(f"{prefix}{number}") != slot:
        number += 1
    return f"{prefix}{number}"


# ---- The client ----

def _bytes_of(word):
    if isinstance(word, (bytes, bytearray)):
        return bytes(word)
    if isinstance(word, float):
        return repr(word).encode()
    return str(word).encode()


def encode(*words):
    """A command as RESP."""
    parts = [b"*%d\r\n" % len(words)]
    for word in map(_bytes_of, words):
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Redis:
    """One blocking connection. With protocol=3, pushes are gathered in `pushes`.

    It connects at once, and again only when it is told to: reconnect().
    """

    def __init__(self, url, protocol=2, timeout_s=PATIENCE_S):
        self.url = url
        self.protocol = protocol
        self.timeout_s = timeout_s
        self.pushes = []
        self.socket = None
        self.buffer = b""
        self.at = 0
        self.reconnect()

    def reconnect(self):
        self.close()
        self.buffer, self.at = b"", 0
        parts = urllib.parse.urlsplit(self.url)
        try:
            if parts.scheme == "unix":
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.settimeout(self.timeout_s)
                self.socket.connect(parts.path)
            else:
                self.socket = socket.create_connection((parts.hostname, parts.port),
                                                       self.timeout_s)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self.close()
            raise LinkLost(f"{self.url}: {error}") from None
        if parts.password:
            user = [urllib.parse.unquote(parts.username)] if parts.username else []
            self.call("AUTH", *user, urllib.parse.unquote(parts.password))
        if self.protocol == 3:
            self.call("HELLO", 3)
        if parts.scheme != "unix" and parts.path.strip("/"):
            self.call("SELECT", parts.path.strip("/"))

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def call(self, *words):
        """The answer: bytes, int, float, bool, None, list or dict; RedisError is raised."""
        answer = self.pipeline([words])[0]
        if isinstance(answer, RedisError):
            raise answer
        return answer

    def pipeline(self, commands):
        """The answers to all; those that are errors are RedisError in the list."""
        commands = list(commands)
        self.send(b"".join(encode(*words) for words in commands))
        return [self.receive() for _ in commands]

    def send(self, data):
        if self.socket is None:
            raise LinkLost(f"{self.url}: closed")
        try:
            self.socket.sendall(data)
        except OSError as error:
            self._lost(error)

    def receive(self):
        """The next answer. Pushes that come before it go to `pushes`."""
        while True:
            kind, value = self._element()
            if kind != b">":
                return value
            self.pushes.append(value)

    def wait_push(self, kind="invalidate"):
        """The next push of this kind, which is taken out of `pushes`."""
        while True:
            for push in self.pushes:
                if push[0] == kind.encode():
                    self.pushes.remove(push)
                    return push
            first, value = self._element()
            assert first == b">", (first, value)
            self.pushes.append(value)

    def _lost(self, error):
        self.close()
        raise LinkLost(f"{self.url}: {error}") from None

    def _more(self):
        try:
            data = self.socket.recv(1 << 16)
        except OSError as error:
            self._lost(error)
        if not data:
            self._lost("closed by the other side")
        self.buffer = self.buffer[self.at:] + data
        self.at = 0

    def _line(self):
        while (end := self.buffer.find(b"\r\n", self.at)) < 0:
            self._more()
        line = self.buffer[self.at:end]
        self.at = end + 2
        return line

    def _take(self, size):
        while len(self.buffer) - self.at < size + 2:
            self._more()
        data = self.buffer[self.at:self.at + size]
        self.at += size + 2
        return data

    def _element(self):
        """(type byte, value)"""
        if self.socket is None:
            raise LinkLost(f"{self.url}: closed")
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"|":  # an attribute: about what follows, which is what was asked for
            self._many(2 * int(rest))
            return self._element()
        return kind, self._value(kind, rest)

    def _many(self, count):
        return [self._element()[1] for _ in range(count)]

    def _value(self, kind, rest):
        if kind == b"_" or (kind in b"$*" and rest == b"-1"):
            return None
        if kind == b"+":
            return rest
        if kind == b"-":
            return RedisError(rest.decode(errors="replace"))
        if kind in b":(":
            return int(rest)
        if kind == b",":
            return float(rest)
        if kind == b"#":
            return rest == b"t"
        if kind == b"$":
            return self._take(int(rest))
        if kind == b"=":
            return self._take(int(rest))[4:]
        if kind == b"!":
            return RedisError(self._take(int(rest)).decode(errors="replace"))
        if kind in b"*~>":
            return self._many(int(rest))
        if kind == b"%":
            words = self._many(2 * int(rest))
            return dict(zip(words[::2], words[1::2]))
        raise AssertionError(f"no RESP: {kind + rest!r}")


# ---- A server ----

def hold_port():
    """A socket that holds a free port of 127.0.0.1 for a server that we start.

    It is bound, so that nobody else gets the port, neither now nor while the server is
    down; and it does not listen and lets addresses be used again, so that the server, which
    does too, can bind beside it. Ports that the kernel gives to outgoing connections are
    left out.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        top = int(file.read().split()[0])
    low, high = (10000, top) if top > 12000 else (20000, 65536)
    for _ in range(1000):
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            held.bind(("127.0.0.1", random.randrange(low, high)))
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return held
        except OSError:
            held.close()
    raise AssertionError("no free port")


class RedisServer:
    """A redis-server of its own. It answers once this is made.

    `config` are more lines for redis.conf. appendonly: what was answered is on the disk,
    so that it is there again after kill() and restart().
    """

    START_TRIES = 5

    def __init__(self, config="", appendonly=False, tcp=True, password=None, start=True):
        self.folder = tempfile.mkdtemp(prefix="relata-redis-",
                                       dir=os.environ.get("RELATA_BUILD_DIR") or "/tmp")
        self.config = config
        self.appendonly = appendonly
        self.password = password
        self.tcp = tcp
        self.held = []     # sockets of hold_port
        self.clients = []
        self.process = None
        self.paused = False
        # The path of a socket must be short, which the build's folder may not be.
        self.socket_folder = self.folder
        if len(self.folder) + len("/redis.sock") > UNIX_PATH_MAX:
            self.socket_folder = tempfile.mkdtemp(prefix="relata-redis-", dir="/tmp")
        self.unix_path = os.path.join(self.socket_folder, "redis.sock")
        self.port = self.bus_port = 0
        if start:
            self.start()

    # The password stands in the address as it does in a configuration.
    @property
    def _who(self):
        return f":{urllib.parse.quote(self.password, safe='')}@" if self.password else ""

    @property
    def url(self):
        return f"redis://{self._who}127.0.0.1:{self.port}" if self.tcp else self.unix_url

    @property
    def unix_url(self):
        return f"unix://{self._who}{self.unix_path}"

    @property
    def pid(self):
        return self.process.pid

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def is_up(self):
        return self.is_running and not self.paused

    def client(self, protocol=2, **options):
        """A connection that is closed with the server's removal."""
        client = Redis(self.url, protocol, **options)
        self.clients.append(client)
        return client

    def call(self, *words):
        """One command on a connection of its own."""
        client = Redis(self.url)
        try:
            return client.call(*words)
        finally:
            client.close()

    def info(self, section="everything"):
        lines = self.call("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def log(self):
        try:
            with open(os.path.join(self.folder, "redis.log"), encoding="utf-8",
                      errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def start(self):
        """On a free port for the first time, on the same one afterwards."""
        first = self.port == 0 and self.tcp
        for left in reversed(range(self.START_TRIES)):
            if first:
                self._choose_ports()
            if self._start_once():
                return self
            if not (first and left and "Address already in use" in self.log()):
                break
        raise AssertionError("redis-server did not start:\n" + self.log())

    def _choose_ports(self):
        for held in self.held:
            held.close()
        self.held = [hold_port(), hold_port()]
        self.port, self.bus_port = (held.getsockname()[1] for held in self.held)

    def _start_once(self):
        with open(os.path.join(self.folder, "redis.conf"), "w", encoding="utf-8") as file:
            file.write(self._config_text())
        with open(os.path.join(self.folder, "redis.log"), "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [REDIS_SERVER, os.path.join(self.folder, "redis.conf")], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self.paused = False
        wait_until(lambda: not self.is_running or self._answers(), "redis-server's answer")
        return self.is_running

    def _config_text(self):
        lines = [
            "bind 127.0.0.1", f"port {self.port}", "protected-mode no",
            f'unixsocket "{self.unix_path}"', "unixsocketperm 700", f'dir "{self.folder}"',
            "daemonize no", 'save ""', f"appendonly {'yes' if self.appendonly else 'no'}",
            "appendfsync always", "databases 4", "enable-debug-command yes",
        ]
        if self.bus_port:
            lines.append(f"cluster-port {self.bus_port}")
        if self.password:
            lines.append(f'requirepass "{self.password}"')
        return "\n".join(lines) + "\n" + self.config + "\n"

    def _answers(self):
        # On the unix socket nobody else answers; it is there once the port is.
        client = None
        try:
            client = Redis(self.unix_url, timeout_s=1)
            return client.call("PING") == b"PONG"
        except LinkLost:
            return False
        except RedisError as error:
            # A user of the test's own may be needed; but data must have been read.
            return error.code != "LOADING"
        finally:
            if client is not None:
                client.close()

    def stop(self):
        """Ends it in the orderly way; it answers nobody afterwards."""
        self._end(signal.SIGTERM)

    def kill(self):
        """Ends it as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, number):
        if self.is_running:
            self.resume()
            self.process.send_signal(number)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise

    def pause(self):
        """Stands still when this returns: connections stay, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: self._state() == "T", "redis-server to stand still")
        self.paused = True

    def resume(self):
        if self.paused:
            self.process.send_signal(signal.SIGCONT)
            self.paused = False

    def _state(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]

    def restart(self):
        """Ended in the orderly way if it runs, and started on the same port."""
        self.stop()
        return self.start()

    def remove(self):
        """Leaves nothing behind, whatever happened."""
        for client in self.clients:
            client.close()
        if self.is_running:
            self.process.kill()
            self.process.wait()
        for held in self.held:
            held.close()
        for folder in {self.folder, self.socket_folder}:
            shutil.rmtree(folder, ignore_errors=True)


# ---- A Cluster ----

class ClusterClient:
    """Follows MOVED and ASK over nodes that are RedisServer; for one thread at a time."""

    REDIRECTS_MAX = 16

    def __init__(self, nodes):
        self.nodes = nodes
        self.map = [None] * SLOTS      # what it believes of owners
        self.connections = {}

    def call_node(self, node, *words):
        """On a connection that is kept. Where it was lost the command is sent once more on a
        new one, and may then have been done twice."""
        for last in (False, True):
            if node not in self.connections:
                self.connections[node] = Redis(node.url)
            try:
                return self.connections[node].call(*words)
            except LinkLost:
                self.connections.pop(node).close()
                if last:
                    raise

    def owners(self, node):
        """As this node has it: the owner of each slot."""
        owners = [None] * SLOTS
        by_port = {other.port: other for other in self.nodes}
        for first, last, master, *_ in self.call_node(node, "CLUSTER", "SLOTS"):
            owners[first:last + 1] = [by_port.get(master[1])] * (last + 1 - first)
        return owners

    def call(self, key, *words):
        """Sends a command to where the key is, wherever that is sent on to."""
        slot = slot_of(key)
        node, asking = self.map[slot] or self._ask_anew(slot), False
        deadline = time.monotonic() + PATIENCE_S
        redirects = 0
        while True:
            try:
                if asking:
                    self.call_node(node, "ASKING")
                return self.call_node(node, *words)
            except LinkLost:
                if time.monotonic() > deadline:
                    raise
                node, asking = self._ask_anew(slot), False
            except RedisError as error:
                asking = error.code == "ASK"
                if error.code in ("MOVED", "ASK") and redirects < self.REDIRECTS_MAX:
                    redirects += 1
                    port = int(error.text.rpartition(":")[2])
                    node = next(other for other in self.nodes if other.port == port)
                    if not asking:
                        self.map[slot] = node
                elif (error.code not in ("TRYAGAIN", "CLUSTERDOWN", "LOADING")
                      or time.monotonic() > deadline):
                    raise
                else:
                    time.sleep(0.01)

    def _ask_anew(self, slot):
        for node in (node for node in self.nodes if node.is_up):
            try:
                owner = self.owners(node)[slot]
            except (LinkLost, RedisError):
                continue
            if owner is not None and owner.is_running:
                self.map[slot] = owner
                return owner
        time.sleep(0.01)
        return self.map[slot] or self.nodes[0]

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections = {}


class RedisCluster:
    """Masters that share the slots evenly, each with replicas of its own. It is whole once
    this is made. Nodes are RedisServer with `id`; they are named by it or by their position.
    """

    def __init__(self, masters=3, replicas=1, timeout_ms=1000, config="", appendonly=False,
                 password=None):
        self.nodes = []
        self.view = ClusterClient(self.nodes)
        self.clients = []
        self.appendonly = appendonly
        self.password = password
        self.config = "\n".join([
            "cluster-enabled yes", "cluster-config-file nodes.conf",
            f"cluster-node-timeout {timeout_ms}", "cluster-replica-validity-factor 0",
            "cluster-allow-replica-migration no", "repl-diskless-sync-delay 0",
            "repl-ping-replica-period 1", config])
        if password:
            self.config += f'\nmasterauth "{password}"'
        try:
            for _ in range(masters * (1 + replicas)):
                self._start_node()
            self._form(masters)
        except BaseException:
            self.remove()
            raise

    def _start_node(self):
        """One more, which meets all that are there: gossip alone takes seconds."""
        node = RedisServer(config=self.config, appendonly=self.appendonly,
                           password=self.password)
        self.nodes.append(node)
        node.id = self.call_node(node, "CLUSTER", "MYID").decode()
        self.call_node(node, "CLUSTER", "SET-CONFIG-EPOCH", len(self.nodes))
        for other in self.nodes[:-1]:
            self.call_node(node, "CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)
        return node

    def _form(self, masters):
        for number in range(masters):
            self.call_node(self.nodes[number], "CLUSTER", "ADDSLOTSRANGE",
                           number * SLOTS // masters, (number + 1) * SLOTS // masters - 1)
        wait_until(lambda: all(len(self._view(node)) == len(self.nodes) for node in self.nodes),
                   "all nodes to know all")
        for number, node in enumerate(self.nodes[masters:]):
            self.call_node(node, "CLUSTER", "REPLICATE", self.nodes[number % masters].id)
        self.wait_whole()

    # -- What the nodes say --

    @property
    def url(self):
        """Of one node that runs: where a client begins."""
        return self._running()[0].url

    def node(self, which):
        return which if isinstance(which, RedisServer) else self.nodes[which]

    def index_of(self, node):
        return self.nodes.index(node)

    def _running(self):
        return [node for node in self.nodes if node.is_up]

    def _info(self, node, command, *words):
        lines = self.call_node(node, command, *words).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _view(self, node):
        """What this node holds of all that have an id that is known: id -> (flags, master)."""
        known = {other.id for other in self.nodes}
        lines = [line.split() for line in
                 self.call_node(node, "CLUSTER", "NODES").decode().splitlines()]
        return {line[0]: (line[2].split(","), line[3]) for line in lines
                if line[0] in known and "handshake" not in line[2] and line[7] == "connected"}

    def masters(self):
        """The nodes that have slots and run."""
        owners = set(self.view.owners(self._running()[0]))
        return [node for node in self.nodes if node in owners and node.is_running]

    def replicas_of(self, which):
        """Running nodes that call this one their master."""
        master = self.node(which)
        return [node for node in self._running()
                if self._view(node).get(node.id, ([], ""))[1] == master.id]

    def _is_whole(self):
        running = self._running()
        first = self.view.owners(running[0])
        for node in running:
            if self._info(node, "CLUSTER", "INFO")["cluster_state"] != "ok":
                return False
            replication = self._info(node, "INFO", "replication")
            if (replication["role"] == "slave"
                    and replication["master_link_status"] != "up"):
                return False
            if self.view.owners(node) != first or self._roles(node) != self._roles(running[0]):
                return False
        return None not in first

    def _roles(self, node):
        return {other: master for other, (flags, master) in self._view(node).items()
                if "fail" not in flags and "fail?" not in flags}

    def wait_whole(self):
        """Until all nodes that run say ok and the same, and each replica follows its master."""
        def whole():
            try:
                return self._is_whole()
            except (LinkLost, RedisError):
                return False
        wait_until(whole, "the cluster to be whole")
        self.view.map = self.view.owners(self._running()[0])

    # -- Commands --

    def slot_of(self, key):
        return slot_of(key)

    def owner_of(self, key):
        return self.owner_of_slot(slot_of(key))

    def owner_of_slot(self, slot):
        """The node that has the slot, by what it says itself."""
        for node in self._running():
            if self.view.owners(node)[slot] is node:
                return node
        raise AssertionError(f"nobody has slot {slot}")

    def call(self, key, *words):
        """Sends a command to where the key is, wherever that is sent on to."""
        return self.view.call(key, *words)

    def client(self):
        """Another one, for another thread; it has to learn for itself where slots are."""
        self.clients.append(ClusterClient(self.nodes))
        return self.clients[-1]

    def call_node(self, which, *words):
        return self.view.call_node(self.node(which), *words)

    # -- Changes --

    def add_master(self):
        """A node that is a master, and has no slots."""
        node = self._start_node()
        self.wait_whole()
        return node

    def begin_move(self, slot, to):
        """From here on the owner answers ASK for keys that it does not have (any more)."""
        source, target = self.owner_of_slot(slot), self.node(to)
        assert source is not target, f"slot {slot} is there already"
        self.call_node(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        self.call_node(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, slot, to, count=None):
        """Moves at most so many keys of a slot whose move has begun; how many it were."""
        source, target = self.owner_of_slot(slot), self.node(to)
        auth = ["AUTH", target.password] if target.password else []
        moved = 0
        while count is None or moved < count:
            some = min(100, SLOTS if count is None else count - moved)
            keys = self.call_node(source, "CLUSTER", "GETKEYSINSLOT", slot, some)
            if not keys:
                break
            self.call_node(source, "MIGRATE", "127.0.0.1", target.port, "", 0,
                           PATIENCE_S * 1000, *auth, "KEYS", *keys)
            moved += len(keys)
        return moved

    def end_move(self, slot, to):
        """The slot is the target's, and all nodes know."""
        source, target = self.owner_of_slot(slot), self.node(to)
        masters = [target, source] + [node for node in self.masters()
                                      if node not in (source, target)]
        for node in masters:
            self.call_node(node, "CLUSTER", "SETSLOT", slot, "NODE", target.id)
        wait_until(lambda: all(self.view.owners(node)[slot] is target for node in self._running()),
                   f"all nodes to know who has slot {slot}")

    def move_slot(self, slot, to):
        self.begin_move(slot, to)
        self.move_keys(slot, to)
        self.end_move(slot, to)

    def kill_master(self, which):
        """Kills it, and waits until a replica has taken over: that one is answered."""
        master = self.node(which)
        slot = self.view.owners(master).index(master)
        assert self.replicas_of(master), "it has no replica"
        master.kill()
        wait_until(lambda: all(self.view.owners(node)[slot] not in (master, None)
                               for node in self._running()), "a replica to take over")
        self.wait_whole()
        return self.view.map[slot]

    def restart(self, which):
        """Starts a node that has ended, or one that runs anew, and waits until all is whole."""
        self.node(which).restart()
        self.wait_whole()

    def remove(self):
        for client in [self.view, *self.clients]:
            client.close()
        for node in self.nodes:
            node.remove()


# ---- A proxy ----

class _Pipe:
    """One direction of a connection through a proxy."""

    HELD_MAX = 1 << 20

    def __init__(self, source, target, name):
        self.source = source
        self.target = target
        self.name = name
        self.held = collections.deque()  # (when it may go on, bytes)
        self.size = 0
        self.clear_at = 0                # when a slow one has passed all that it holds
        self.ended = False               # nothing more comes,
        self.broken = False              # and that by a reset
        self.left = None                 # how many bytes may still pass before the cut

    def wants(self):
        return not self.ended and self.size < self.HELD_MAX


class Proxy:
    """A TCP proxy on 127.0.0.1 before a RedisServer, with faults to order.

    Directions are "up" (to Redis) and "down" (to the client); None means both.
    Counts: connections, bytes_up, bytes_down, chunks_up (how often something came from a
    client, which is how many writes it made unless they came faster than they were read).
    """

    def __init__(self, server):
        self.target = ("127.0.0.1", server.port)
        self._who = server._who
        self.connections = self.bytes_up = self.bytes_down = self.chunks_up = 0
        self.stalled = set()
        self.delay_s = 0
        self.bytes_per_s = None     # down
        self.change = None          # (bytes, other bytes) of the next answer that has them
        self.pairs = []             # [(up, down)]
        self.lock = threading.RLock()
        self.held = hold_port()     # so that refuse() and accept() keep the port
        self.port = self.held.getsockname()[1]
        self.listener = None
        self.poller = selectors.DefaultSelector()
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        self.poller.register(self.wake_read, selectors.EVENT_READ)
        self.ended = False
        self.accept()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"redis://{self._who}127.0.0.1:{self.port}"

    # -- Orders. What they say holds when they return. --

    def stall(self, direction=None):
        """Connections stay, and new ones are taken, but nothing passes."""
        with self.lock:
            self.stalled |= {direction} if direction else {"up", "down"}

    def go_on(self):
        """Ends stall, delay, slow and refuse; what was held passes now."""
        with self.lock:
            self.stalled = set()
            self.delay_s = 0
            self.bytes_per_s = None
            self.accept()
        self._wake()

    def delay(self, ms):
        """What comes from now on passes so much later, in each direction."""
        with self.lock:
            self.delay_s = ms / 1000

    def slow(self, bytes_per_s):
        """So much passes down on each connection, evenly."""
        with self.lock:
            self.bytes_per_s = bytes_per_s

    def change_answer(self, what, into):
        """Once, where this comes down next, the other comes instead."""
        with self.lock:
            self.change = what, into

    def cut(self, reset=True):
        """Ends all connections, by a reset or in the orderly way; how many there were."""
        with self.lock:
            self._take_all()
            pairs = list(self.pairs)
            for pair in pairs:
                self._drop(pair, reset)
        self._wake()
        return len(pairs)

    def cut_after(self, size, direction="down"):
        """Lets so many more bytes pass on each connection that is there, then resets it."""
        with self.lock:
            for pair in self.pairs:
                for pipe in pair:
                    if pipe.name == direction:
                        pipe.left = size

    def refuse(self):
        """New connections are refused; those that are there stay."""
        with self.lock:
            if self.listener is not None:
                self._take_all()
                self.poller.unregister(self.listener)
                self.listener.close()
                self.listener = None
        self._wake()

    def accept(self):
        """New connections are taken (again)."""
        with self.lock:
            if self.listener is None and not self.ended:
                self.listener = socket.socket()
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.listener.bind(("127.0.0.1", self.port))
                self.listener.listen(128)
                self.listener.setblocking(False)
                self.poller.register(self.listener, selectors.EVENT_READ)
        self._wake()

    def open_connections(self):
        with self.lock:
            self._take_all()
            return len(self.pairs)

    def remove(self):
        self.refuse()
        self.cut()
        self.ended = True
        self._wake()
        self.thread.join()
        self.held.close()
        self.poller.close()
        os.close(self.wake_read)
        os.close(self.wake_write)

    # -- The thread --

    def _wake(self):
        os.write(self.wake_write, b"x")

    def _run(self):
        while not self.ended:
            with self.lock:
                wait_s = self._pass_all()
                self._watch()
            ready = {key.fileobj for key, _ in self.poller.select(wait_s)}
            if self.wake_read in ready:
                os.read(self.wake_read, 4096)
            with self.lock:
                self._take_all()
                for pair in list(self.pairs):
                    for pipe in pair:
                        # What was cut meanwhile has a descriptor no more.
                        if pair in self.pairs and pipe.source in ready and pipe.wants():
                            self._read(pipe)

    def _watch(self):
        """Each socket is watched for what it can do for the two pipes that it is part of."""
        for pair in self.pairs:
            for pipe, other in (pair, pair[::-1]):
                events = selectors.EVENT_READ if pipe.wants() else 0
                if self._may_pass(other):
                    events |= selectors.EVENT_WRITE
                self._watch_one(pipe.source, events)

    def _watch_one(self, sock, events):
        key = self.poller.get_map().get(sock)
        if key is None and events:
            self.poller.register(sock, events)
        elif key is not None and not events:
            self.poller.unregister(sock)
        elif key is not None and key.events != events:
            self.poller.modify(sock, events)

    def _take_all(self):
        """Takes what has connected: for its client it is a connection already."""
        while self.listener is not None:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self._take(client)

    def _take(self, client):
        self.connections += 1
        try:
            server = socket.create_connection(self.target, PATIENCE_S)
        except OSError:
            client.close()
            return
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pairs.append((_Pipe(client, server, "up"), _Pipe(server, client, "down")))

    def _read(self, pipe):
        try:
            data = pipe.source.recv(1 << (14 if self.bytes_per_s else 20))
        except BlockingIOError:
            return
        except OSError:
            pipe.broken = True
            data = b""
        if not data:
            pipe.ended = True
            return
        if pipe.name == "up":
            self.bytes_up += len(data)
            self.chunks_up += 1
        else:
            self.bytes_down += len(data)
            if self.change and self.change[0] in data:
                data = data.replace(*self.change, 1)
                self.change = None
        due = time.monotonic() + self.delay_s
        if self.bytes_per_s and pipe.name == "down":
            pipe.clear_at = max(due, pipe.clear_at) + len(data) / self.bytes_per_s
            due = pipe.clear_at
        pipe.held.append((due, data))
        pipe.size += len(data)

    def _may_pass(self, pipe):
        return (pipe.held and pipe.name not in self.stalled
                and pipe.held[0][0] <= time.monotonic())

    def _pass_all(self):
        """Sends what may pass; how long until more may, None where nothing waits for time."""
        for pair in list(self.pairs):
            if not (self._pass(pair[0]) and self._pass(pair[1])):
                self._drop(pair, True)
                continue
            over = [pipe for pipe in pair
                    if pipe.ended and not pipe.held and pipe.name not in self.stalled]
            if over:
                self._drop(pair, any(pipe.broken for pipe in over))
        due = [pipe.held[0][0] for pair in self.pairs for pipe in pair
               if pipe.held and pipe.name not in self.stalled]
        later = [when - time.monotonic() for when in due if when > time.monotonic()]
        return max(0, min(later)) if later else None

    def _pass(self, pipe):
        """False where the connection is to be reset."""
        while self._may_pass(pipe):
            when, data = pipe.held[0]
            some = data if pipe.left is None else data[:pipe.left]
            try:
                sent = pipe.target.send(some) if some else 0
            except BlockingIOError:
                return True
            except OSError:
                return False
            pipe.held.popleft()
            pipe.size -= sent
            if sent < len(data):
                pipe.held.appendleft((when, data[sent:]))
            if pipe.left is not None:
                pipe.left -= sent
                if pipe.left == 0:
                    return False
        return True

    def _drop(self, pair, reset):
        if pair not in self.pairs:
            return
        self.pairs.remove(pair)
        for pipe in pair:
            if self.poller.get_map().get(pipe.source) is not None:
                self.poller.unregister(pipe.source)
            if reset:
                pipe.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                       struct.pack("ii", 1, 0))
            pipe.source.close()


# ---- Tests ----

class RedisCase(relata_test.Case):
    """What a test started is gone when it ends."""

    def redis(self, **options):
        server = RedisServer(**options)
        self.addCleanup(server.remove)
        return server

    def cluster(self, **options):
        cluster = RedisCluster(**options)
        self.addCleanup(cluster.remove)
        return cluster

    def proxy(self, server):
        proxy = Proxy(server)
        self.addCleanup(proxy.remove)
        return proxy

    def start_relatad(self, schema, homes, config="", **options):
        """A daemon whose homes are these: name -> URL, RedisServer, RedisCluster, Proxy, or
        the map that shall stand in the configuration."""
        redis = {name: self.home(what) for name, what in homes.items()}
        # JSON is YAML.
        return self.start(schema, config=f"redis: {json.dumps(redis)}\n{config}", **options)

    @staticmethod
    def home(what):
        if isinstance(what, dict):
            return what
        if isinstance(what, str):
            return {"url": what}
        return {"url": what.url, **({"cluster": True} if isinstance(what, RedisCluster) else {})}
