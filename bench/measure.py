"""What is measured. Each section starts its servers, has them do the same work in turn, round after round, and
adds what came of it to the results: {section: {metric: {server: [value a round]}}}.
"""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import time

from servers import EXECS, LIMIT, OURS, TERMINATORS, Failed, free_port, run_load, running, socat_command, stunnel_conf

SUPER = [f"s6-tlsserver {b}" for b in OURS]
SINGLE = [f"s6-tlsd {b}" for b in OURS]
COLD = f"{SUPER[0]} --spare=0"
PEERS = [*EXECS, *TERMINATORS]
CIPHERS = {"aes128": "AES-128-GCM", "chacha20": "ChaCha20-Poly1305"}


def share(values, part):
    """The value below which that part of them is."""
    return sorted(values)[int((len(values) - 1) * part)]


class Bench:
    """plan: what a run is made of, see bench/run. say: tells a person what happens."""

    def __init__(self, tools, plan, say):
        self.tools, self.plan, self.say = tools, plan, say
        self.results, self.failures = {}, {}

    def add(self, section, metric, server, value):
        self.results.setdefault(section, {}).setdefault(metric, {}).setdefault(server, []).append(value)

    def there(self, names):
        """Those of the names that are not of a backend that is not built."""
        return [n for n in names if not n.startswith("s6-") or n.split()[1] in self.tools.builds]

    def fail(self, error):
        if str(error) not in self.failures:
            self.say(str(error))
        self.failures[str(error)] = self.failures.get(str(error), 0) + 1

    @contextlib.contextmanager
    def forgiving(self):
        """One client that fails is told of, and the others go on."""
        try:
            yield
        except Failed as e:
            self.fail(e)

    def rounds(self, section, most=None):
        """As many rounds as the plan has time for, or the least that it asks for in half as much time again."""
        began, enough = time.monotonic(), self.plan.seconds[section]
        for n in range(most or self.plan.most):
            expected = (time.monotonic() - began) * (n + 1) / max(n, 1)
            if n and expected > (enough if n >= self.plan.least else 1.5 * enough):
                break
            self.say(f"{section}, round {n + 1}")
            yield

    def run(self, sections):
        for section in sections:
            began = time.monotonic()
            getattr(self, section)()
            self.say(f"{section}: {time.monotonic() - began:.0f} s")

    # -- connections -------------------------------------------------------------

    def connect_once(self, server, threads):
        used = server.cpu()
        found = json.loads(server.load("connect", str(self.plan.sample), f"-t{threads}"))
        used = server.cpu() - used
        where = f"{threads} at a time"
        if server.name != COLD:
            self.add("connections", where, server.name, found["connections"] / found["seconds"])
        self.add("first byte", f"p50, {where}", server.name, share(found["first_ms"], 0.5))
        self.add("first byte", f"p99, {where}", server.name, share(found["first_ms"], 0.99))
        if threads == 1 and server.name != COLD:
            self.add("CPU", "a connection, 1 at a time", server.name, used / found["connections"] * 1e3)

    def connections(self):
        """New connections, each with a full handshake, a line there and back, and an end."""
        names = self.there([*SUPER, COLD, *SINGLE, *PEERS])
        with running(self.tools, names, self.say) as servers:
            for _ in self.rounds("connections"):
                for threads in 1, 2, 16:
                    for server in servers:
                        if threads == 1 or server.name != COLD:
                            with self.forgiving():
                                self.connect_once(server, threads)

    def resumption(self):
        """The same where the server resumes sessions. Ours and some others do not, and are here for what that costs."""
        with running(self.tools, self.there([*SUPER, *PEERS]), self.say) as servers:
            for _ in self.rounds("resumption", 3):
                for server in servers:
                    with self.forgiving():
                        found = json.loads(server.load("connect", str(self.plan.sample), "-t2", "-r"))
                        self.add("resumption", "2 at a time", server.name, found["connections"] / found["seconds"])
                        self.add("resumption", "of these resumed", server.name,
                                 100 * found["resumed"] / found["connections"])

    # -- bytes -------------------------------------------------------------------

    def bulk_once(self, server, way, cipher, size):
        found = json.loads(server.load(way, str(size), f"-c{cipher}"))
        metric = f"{way}, {CIPHERS[cipher]}"
        self.add("bulk", metric, server.name, found["bytes"] * (2 if way == "both" else 1) / found["seconds"] / 1e6)

    def bulk(self):
        """So many bytes from prog, to prog, and both ways at once."""
        with running(self.tools, self.there([*SUPER, *PEERS, LIMIT]), self.say) as servers:
            for _ in self.rounds("bulk"):
                for cipher in CIPHERS:
                    for way in "down", "up":
                        for server in servers:
                            with self.forgiving():
                                self.bulk_once(server, way, cipher, self.plan.bytes)
                for server in servers:
                    if not server.plain:
                        with self.forgiving():
                            self.bulk_once(server, "both", "aes128", self.plan.bytes // 4)

    def pingpong(self):
        """64 bytes there and back, over and over, on one connection."""
        with running(self.tools, self.there([*SUPER, *PEERS, LIMIT]), self.say) as servers:
            for _ in self.rounds("pingpong"):
                for server in servers:
                    with self.forgiving():
                        found = json.loads(server.load("pingpong", str(self.plan.sample)))
                        self.add("ping-pong", "64 bytes", server.name, found["turns"] / found["seconds"])

    def cipher(self):
        """The limit that no program with this OpenSSL can pass: encryption alone, on one core, 16 KiB at a time."""
        for name, algorithm in ("AES-128-GCM", "aes-128-gcm"), ("ChaCha20-Poly1305", "chacha20-poly1305"):
            done = subprocess.run(["openssl", "speed", "-mr", "-seconds", "1", "-bytes", "16384", "-evp", algorithm],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            found = re.search(r"^\+F:.*:([\d.]+)$", done.stdout, flags=re.M)
            if found:
                self.add("cipher", name, "openssl speed", float(found[1]) / 1e6)

    # -- memory ------------------------------------------------------------------

    def memory_of(self, server):
        """{kind: kB}, of all processes but prog."""
        total = {"private": 0, "proportional": 0, "page tables": 0}
        for pid in server.processes():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    for kind, kb in re.findall(r"^(Private_\w+|Pss): +(\d+)", f.read(), flags=re.M):
                        total["proportional" if kind == "Pss" else "private"] += int(kb)
                with open(f"/proc/{pid}/status") as f:
                    total["page tables"] += int(re.search(r"^VmPTE:\s+(\d+)", f.read(), flags=re.M)[1])
        return total

    def hold(self, server, count):
        """What it has while so many connections idle; all of them must answer afterwards."""
        load = subprocess.Popen(server.load_command("idle", str(count)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        with load:
            try:
                if load.stdout.readline() != "ready\n":
                    raise Failed(f"{server.name}, {count} connections: {load.stderr.read().strip()}")
                found = self.memory_of(server)
                load.stdin.write("go\n")
                load.stdin.flush()
                if not load.stdout.readline():
                    raise Failed(f"{server.name}, {count} connections: {load.stderr.read().strip()}")
                return found
            finally:
                load.kill()

    def grow(self, server, counts):
        found = {}
        for count in counts:
            found[count] = self.hold(server, count)
            self.add("memory in all", f"{count} connections", server.name, found[count]["proportional"] / 1e3)
        few, many = min(found), max(n for n in found if n <= 100)
        for kind in found[few]:
            self.add("memory of a connection", kind, server.name,
                     (found[many][kind] - found[few][kind]) / (many - few))

    def memory(self):
        """Memory with 1 to 1,000 idle connections; those that are slow to begin stop at 100."""
        slow = [*SINGLE, "socat"]
        for name in self.there([*SUPER, *SINGLE, *PEERS]):
            with running(self.tools, [name], self.say) as servers:
                for server in servers:
                    self.say(f"memory of {name}")
                    with self.forgiving():
                        self.grow(server, [n for n in self.plan.idle if n <= 100 or name not in slow])

    # -- a server for one connection ---------------------------------------------

    def lone(self, name):
        """(the port, the command) of a server that is started for one connection."""
        if name == "stunnel":
            return 0, ["stunnel4", stunnel_conf(self.tools, 0)]
        if name == "socat":
            port = free_port()
            return port, socat_command(self.tools, port, fork="")
        backend = name.split()[1]
        return 0, [os.path.join(self.tools.builds[backend], "s6-tlsd"), self.tools.prog]

    def start(self):
        """From the start of a server to prog's first byte, and to its end; what both have used."""
        metrics = {"first_ms": "to the first byte, ms", "exit_ms": "to the end, ms", "cpu_ms": "CPU, ms",
                   "faults": "page faults", "switches": "context switches"}
        for _ in self.rounds("start"):
            for name in self.there([*SINGLE, "stunnel", "socat"]):
                port, command = self.lone(name)
                with self.forgiving():
                    text = run_load(self.tools, [str(port), "start", str(self.plan.starts), *command], name)
                    for one in json.loads(text)["starts"]:
                        for key, metric in metrics.items():
                            self.add("start", metric, name, one[key])

    # -- counts ------------------------------------------------------------------

    def counts(self):
        """What does not depend on the machine: of the server's processes for a MB, and of all for a connection."""
        names = self.there([*SUPER, *SINGLE, *PEERS])
        with running(self.tools, names, self.say) as servers:
            for server in servers:
                self.say(f"counts of {server.name}")
                for way in "down", "up":
                    with self.forgiving():
                        self.count_bulk(server, way)
                with self.forgiving():
                    self.count_connections(server)

    def count_bulk(self, server, way):
        megabytes = self.plan.counted
        load = subprocess.Popen(server.load_command(way, str(megabytes * 10**6), "-w"), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with load:
            try:
                if load.stdout.readline() != "ready\n":
                    raise Failed(f"{server.name}: {load.stderr.read().strip()}")
                time.sleep(0.1)  # prog and what belongs to the start have come
                with Counter(self.tools, server.processes(), ["raw_syscalls:sys_enter"]) as counter:
                    load.stdin.write("go\n")
                    load.stdin.flush()
                    if not load.stdout.readline():
                        raise Failed(f"{server.name}: {load.stderr.read().strip()}")
            finally:
                load.kill()
        calls = counter.found["raw_syscalls:sys_enter"] / megabytes
        self.add("counts", f"system calls a MB {way}", server.name, calls)
        self.add("counts", f"bytes a call {way}", server.name, 2e6 / calls)

    def count_connections(self, server):
        """Faults and switches undisturbed, then calls and processes under strace, which slows all down."""
        faults = server.faults()
        with Counter(self.tools, server.processes(), ["context-switches"]) as counter:
            found = json.loads(server.load("connect", str(self.plan.sample)))
        counted = {"page faults": (server.faults() - faults) / found["connections"],
                   "context switches": counter.found["context-switches"] / found["connections"]}
        with Trace(self.tools, server.processes()) as trace:
            found = json.loads(server.load("connect", str(self.plan.sample)))
        for metric, value in (counted | {k: n / found["connections"] for k, n in trace.found.items()}).items():
            self.add("counts", f"{metric} a connection", server.name, value)


class Trace:
    """strace, on processes and those that they begin, from here to the end of the block: found has the counts."""

    def __init__(self, tools, pids):
        self.tools, self.pids, self.found = tools, pids, {}
        self.output, self.messages = tools.path("trace"), tools.path("strace.log")

    def __enter__(self):
        with open(self.messages, "w") as log:
            try:
                self.strace = subprocess.Popen(["strace", "-f", "-o", self.output, "-e", "signal=none", "-p",
                                                ",".join(map(str, self.pids))], stderr=log)
            except OSError as e:
                raise Failed(f"strace cannot be run: {e.strerror}") from None
        deadline = time.monotonic() + 10
        while self.said().count(" attached") < len(self.pids):
            if self.strace.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise Failed(f"strace cannot trace here: {self.said().strip()[:300]}")
            time.sleep(0.01)
        return self

    def said(self):
        with open(self.messages) as f:
            return f.read()

    def end(self):
        self.strace.send_signal(signal.SIGINT)
        self.strace.wait()

    def __exit__(self, *exc):
        self.end()
        with open(self.output) as f:
            text = f.read()
        # A call that was interrupted has two lines, of which the first has the arguments and the second the result.
        begun = re.findall(r"^\d+ +(?:clone3?|v?fork)\(.*", text, flags=re.M)
        threads = sum("CLONE_THREAD" in line for line in begun)
        self.found = {"system calls": len(re.findall(r"^\d+ +\w+\(", text, flags=re.M)),
                      "processes": len(begun) - threads, "threads": threads,
                      "execs": len(re.findall(r"^\d+ +(?:execve\(.*|<\.\.\. execve resumed.*)= 0$", text, flags=re.M))}


class Counter:
    """perf, counting events of processes, and of those that they begin, from here to the end of the block: found."""

    def __init__(self, tools, pids, events):
        self.tools, self.pids, self.events, self.found = tools, pids, events, {}

    def __enter__(self):
        output = self.tools.path("perf.csv")
        control, answer = os.pipe(), os.pipe()
        command = ["perf", "stat", "-x,", "-o", output, "-D", "-1", "--control", f"fd:{control[0]},{answer[1]}", "-e",
                   ",".join(self.events), "-p", ",".join(map(str, self.pids))]
        try:
            self.perf = subprocess.Popen(command, pass_fds=[control[0], answer[1]], stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True)
        except OSError as e:
            raise Failed(f"perf cannot be run: {e.strerror}") from None
        finally:
            os.close(control[0])
            os.close(answer[1])
        self.ends = control[1], answer[0]
        try:
            os.write(control[1], b"enable\n")
            told = select.select([answer[0]], [], [], 10)[0] and os.read(answer[0], 16)
        except BrokenPipeError:
            told = b""
        if not told:
            text = self.perf.stdout.read(300) if self.perf.poll() is not None else "no answer"
            self.end()
            raise Failed(f"perf cannot count here: {text.strip()}")
        return self

    def end(self):
        if self.perf.poll() is None:
            self.perf.send_signal(signal.SIGINT)
        self.perf.wait()
        self.perf.stdout.close()
        for fd in self.ends:
            os.close(fd)

    def __exit__(self, *exc):
        self.end()
        with open(self.tools.path("perf.csv")) as f:
            for line in f:
                fields = line.split(",")
                if len(fields) > 2 and fields[0].isdigit():
                    self.found[fields[2]] = int(fields[0])
        missing = [e for e in self.events if e not in self.found]
        if missing and not exc[0]:
            raise Failed(f"perf cannot count {', '.join(missing)} here")
