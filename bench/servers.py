"""The servers that are measured beside each other: how each is started, which processes it is, how it ends.

All do the same work (work.h). Those that start a program start prog for each connection; those that
only terminate TLS have backend behind them, which does the same over TCP. All are as their packages
make them: nothing is tuned but what a comparison needs, as many workers as there are cores.
"""

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

OURS = ("openssl", "bearssl", "libtls")
EXECS = ("stunnel", "socat")
TERMINATORS = ("hitch", "haproxy", "nginx")
LIMIT = "cat, no TLS"
PATIENCE = 10  # seconds for a server to begin or end
TOO_LONG = 60  # seconds for a client
MANY = 1100  # connections at a time, where a server has a bound

STUNNEL = """{foreground}pid =
debug = 3
{service}cert = {cert}
key = {key}
exec = {prog}
"""

HITCH = """frontend = "[127.0.0.1]:{port}"
backend = "[127.0.0.1]:{backend}"
pem-file = "{pem}"
workers = {cores}
quiet = on
{user}"""

HAPROXY = """global
	maxconn 4096
defaults
	mode tcp
	timeout connect 10s
	timeout client 10m
	timeout server 10m
frontend tls
	bind 127.0.0.1:{port} ssl crt {pem}
	default_backend work
backend work
	server work 127.0.0.1:{backend}
"""

NGINX = """{module}daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
worker_processes auto;
events {{ worker_connections 4096; }}
stream {{
	server {{
		listen 127.0.0.1:{port} ssl;
		ssl_certificate {cert};
		ssl_certificate_key {key};
		ssl_protocols TLSv1.2 TLSv1.3;
		proxy_pass 127.0.0.1:{backend};
	}}
}}
"""

VERSIONS = {"stunnel": ["stunnel4", "-version"], "socat": ["socat", "-V"], "hitch": ["hitch", "--version"],
            "haproxy": ["haproxy", "-v"], "nginx": ["nginx", "-v"]}


class Missing(Exception):
    """A server that cannot be had here, and why."""


class Failed(Exception):
    """A client that did not get what it asked for."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def children(pid):
    found = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as f:
                found += map(int, f.read().split())
    return found


def tree(pid):
    """The process and all below it."""
    return [pid] + [p for child in children(pid) for p in tree(child)]


def raise_limit():
    """As many descriptors as may be had: a thousand connections take some in each server."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Tools:
    """The scratch folder: our programs for measuring, a key and its certificate, and a backend that runs."""

    def __init__(self, source, folder, builds):
        self.folder, self.builds = folder, builds
        self.load = self.build(source, "load", ["load.c"], "-lssl", "-lcrypto")
        self.prog = self.build(source, "prog", ["prog.c", "work.c"], "-static")
        self.backend = self.build(source, "backend", ["backend.c", "work.c"])
        self.cert, self.key, self.pem = map(self.path, ("cert.pem", "key.pem", "both.pem"))
        subprocess.run(["openssl", "req", "-x509", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-noenc", "-subj", "/CN=localhost", "-keyout", self.key, "-out", self.cert],
                       check=True, stderr=subprocess.DEVNULL)
        with open(self.pem, "w") as both:
            for part in self.key, self.cert:
                with open(part) as f:
                    both.write(f.read())
        self.environment = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "KEYFILE": self.key, "CERTFILE": self.cert}
        self.behind = subprocess.Popen([self.backend], stdout=subprocess.PIPE, text=True)
        self.behind_port = int(self.behind.stdout.readline())

    def build(self, source, name, files, *more):
        files = [os.path.join(source, f) for f in files]
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-D_GNU_SOURCE", "-pthread", "-o", self.path(name), *files, *more], check=True)
        return self.path(name)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def close(self):
        self.behind.kill()
        self.behind.wait()


# -- commands ------------------------------------------------------------------

def nginx_module():
    path = "/usr/lib/nginx/modules/ngx_stream_module.so"
    return f"load_module {path};\n" if os.path.exists(path) else ""


def stunnel_conf(tools, port):
    """Without a port: for a connection on 0 and 1, as from tcpserver."""
    service = f"[work]\naccept = 127.0.0.1:{port}\n" if port else ""
    foreground = "foreground = yes\n" if port else ""
    text = STUNNEL.format(foreground=foreground, service=service, cert=tools.cert, key=tools.key, prog=tools.prog)
    return tools.write(f"stunnel.{port}.conf", text)


def socat_command(tools, port, fork=",fork"):
    return ["socat", f"OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,backlog=128{fork},verify=0,cert={tools.cert},"
            f"key={tools.key}", f"EXEC:{tools.prog}"]


def peer_command(tools, name, port):
    known = dict(port=port, backend=tools.behind_port, cert=tools.cert, key=tools.key, pem=tools.pem,
                 folder=tools.folder, cores=len(os.sched_getaffinity(0)), module=nginx_module(),
                 user='user = "nobody"\ngroup = "nogroup"\n' if os.geteuid() == 0 else "")
    if name == "stunnel":
        return ["stunnel4", stunnel_conf(tools, port)]
    if name == "socat":
        return socat_command(tools, port)
    if name == "hitch":
        return ["hitch", "--config=" + tools.write("hitch.conf", HITCH.format(**known))]
    if name == "haproxy":
        return ["haproxy", "-q", "-db", "-f", tools.write("haproxy.conf", HAPROXY.format(**known))]
    if name == "nginx":
        return ["nginx", "-p", tools.folder, "-c", tools.write("nginx.conf", NGINX.format(**known))]
    raise Missing(name)


def tcpserver(*command):
    return ["tcpserver", "-1RHl0", "-b1024", f"-c{MANY}", "127.0.0.1", "0", *command]


def own_command(tools, program, backend, options):
    """The command of a program of ours; it says by itself on which port it is."""
    path = os.path.join(tools.builds[backend], program)
    if program == "s6-tlsserver":
        bounds = [f"-c{MANY}", f"-C{MANY}"]
        return [path, "-1", *bounds, *options, "127.0.0.1", "0", tools.prog]
    return tcpserver(path, tools.prog)


def run_load(tools, words, name):
    """What the client prints; name is that of the server in what is said of a failure."""
    try:
        done = subprocess.run([tools.load, *words], env=tools.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=TOO_LONG)
    except subprocess.TimeoutExpired:
        raise Failed(f"{name}: not done after {TOO_LONG} s") from None
    if done.returncode != 0:
        raise Failed(f"{name}: {done.stderr.strip()}")
    return done.stdout


# -- a server that runs ----------------------------------------------------------

class Server:
    """name: "s6-tlsserver openssl" and the like, a peer's name, or LIMIT. Runs until close()."""

    def __init__(self, tools, name):
        self.tools, self.name = tools, name
        self.plain = name == LIMIT
        self.terminator = name in TERMINATORS
        self.log = open(tools.path(re.sub(r"\W+", "-", name) + ".log"), "w+")
        for _ in range(3):
            if self.start():
                return
        self.log.seek(0)
        raise Missing(f"{name} does not serve: {self.log.read().strip()[-300:] or 'no word why'}")

    def command(self):
        """(the command, the port it was told to use)."""
        if self.name.startswith("s6-"):
            program, backend, *options = self.name.split()
            return own_command(self.tools, program, backend, options), None
        if self.plain:
            return tcpserver("sh", "-c", f"cat | {self.tools.prog} | cat"), None
        port = free_port()
        return peer_command(self.tools, self.name, port), port

    def start(self):
        command, self.port = self.command()
        if not shutil.which(command[0], path=self.tools.environment["PATH"]):
            raise Missing(f"{self.name}: there is no {command[0]}")
        self.proc = subprocess.Popen(command, env=self.tools.environment, stdin=subprocess.DEVNULL, stderr=self.log,
                                     stdout=subprocess.PIPE if self.port is None else self.log, text=True,
                                     preexec_fn=raise_limit, start_new_session=True)
        answers = False
        try:
            answers = self.answers()
        finally:
            if not answers:
                self.close()
        return answers

    def answers(self):
        """Waits until it does its work, or has ended."""
        if self.port is None:
            self.port = int(self.proc.stdout.readline() or 0)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.proc.poll() is None:
            with contextlib.suppress(Failed):
                # Not a connection to its end, which is told by nobody where there is a cat on either side.
                self.load("pingpong", "0.01")
                return True
            time.sleep(0.05)
        return False

    def load_command(self, *words):
        """The client with these words; options come before them."""
        options = [w for w in words if w.startswith("-")]
        return [self.tools.load, *options, *(["-p"] if self.plain else []), str(self.port),
                *(w for w in words if not w.startswith("-"))]

    def load(self, *words):
        """Runs the client; returns the line it prints."""
        return run_load(self.tools, self.load_command(*words)[1:], self.name)

    def processes(self):
        """All that belong to it, but for prog."""
        found = []
        for pid in tree(self.proc.pid):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe") != self.tools.prog:
                    found.append(pid)
        return found

    def used(self, first, last):
        """The sum of some fields of proc_pid_stat(5), by their places there, over all its processes."""
        total = 0
        for pid in tree(self.proc.pid):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as f:
                total += sum(map(int, f.read().rsplit(")", 1)[1].split()[first - 3:last - 2]))
        return total

    def cpu(self):
        """Seconds of CPU, those included that were used by processes that it has reaped."""
        return self.used(14, 17) / os.sysconf("SC_CLK_TCK")

    def faults(self):
        """Page faults, counted likewise."""
        return self.used(10, 13)

    def close(self):
        """Ends it and all that it has started, and nothing else: they are a session of their own."""
        self.proc.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.proc.wait(PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.proc.pid, signal.SIGKILL)
        self.proc.wait()
        if self.proc.stdout:
            self.proc.stdout.close()


@contextlib.contextmanager
def running(tools, names, say):
    """Those of the servers that can be had, all at once."""
    servers = []
    try:
        for name in names:
            try:
                servers.append(Server(tools, name))
            except Missing as e:
                say(str(e))
        yield servers
    finally:
        for server in servers:
            server.close()


def versions(tools):
    """{peer: what it says of its version}."""
    found = {}
    for name, command in VERSIONS.items():
        with contextlib.suppress(OSError):
            text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  env=tools.environment).stdout
            number = re.search(r"\d+\.\d+(\.\d+)*", text)
            found[name] = number[0] if number else "?"
    return found
