#!/usr/bin/env python3
"""Makes tables and plots of samples.json in a folder, which bench/run wrote there: bench/report.py FOLDER."""

import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

# Of each section: its heading, unit, whether more is better (None: neither), and what has to be known of it.
SECTIONS = {
    "connections": ("New connections", "/s", True, "A full handshake (P-256), 16 bytes to prog and back, and the end."),
    "first byte": ("Time to the first byte", "ms", False,
                   "From the call of connect to the first byte of prog's answer, over the same connections."),
    "CPU": ("CPU time", "ms", False,
            "Of all processes of the server, prog included where it starts one; the backend of the others is not."),
    "resumption": ("Resumed sessions", "/s, %", None, "The client offers the session of its last connection. "
                   "Ours offer none to take up, so all of theirs are full handshakes."),
    "bulk": ("Bulk", "MB/s", True, "One connection, from prog (down), to prog (up), and both at once (the sum). "
             "TLS 1.3, but 1.2 with BearSSL; the cipher is the client's choice."),
    "ping-pong": ("Ping-pong", "/s", True, "64 bytes to prog and back, on one connection, one after the other."),
    "cipher": ("The cipher alone", "MB/s", None, "`openssl speed -evp`, 16 KiB at a time, one core."),
    "memory in all": ("Memory in all", "MB", False,
                      "Proportional set size of all processes of the server without prog, while the connections idle."),
    "memory of a connection": ("Memory of an idle connection", "kB", False,
                               "What each connection adds, without prog: private to one process, or its share."),
    "start": ("A server for one connection", "ms, count", False,
              "The connection is there; the server is started on it. socat has to listen first. "
              "Time, CPU, faults and switches are of server and prog."),
    "counts": ("Counts", "", False, "System calls a MB (10^6 bytes) are those of the server without prog. Each byte "
               "comes in and goes out, so bytes a call are twice a MB over these. The rest is of all processes, prog "
               "included, for a connection as in the first table; but the context switches of a prog that root's "
               "s6-tlsserver starts are not seen."),
}

IN_SHORT = ("s6-tlsserver, or s6-tlsd where a server is for one connection. stunnel and socat start prog for each "
            "connection, as ours do. hitch, haproxy and nginx start nothing: what they serve runs already.")

# Metrics of which more is better in a section where it is not, and those that are no matter of better or worse.
MORE_IS_BETTER = ("bytes a call",)
OURS = ("openssl", "bearssl", "libtls")
NAMES = {"openssl": "OpenSSL", "bearssl": "BearSSL", "libtls": "libtls"}
CAT = "cat, no TLS"
LIMITS = (CAT, "openssl speed")


def label(server):
    """Its name for people."""
    return " ".join(NAMES.get(word, word) for word in server.split(" "))


def number(value):
    """Three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def more_is_better(section, metric):
    if metric.startswith(MORE_IS_BETTER):
        return True
    return SECTIONS[section][2]


def ours_in(servers, backend):
    """The name of our program with that backend, in a section: s6-tlsserver where there is one, else s6-tlsd."""
    return next((s for s in (f"s6-tlsserver {backend}", f"s6-tlsd {backend}") if s in servers), None)


def ahead(section, metric, servers, own, other):
    """By which factor `own` is better than `other`; None where there is no such thing."""
    better = more_is_better(section, metric)
    mine, theirs = (statistics.median(servers[s]) if s in servers else 0 for s in (own, other))
    if better is None or mine <= 0 or theirs <= 0:
        return None
    return mine / theirs if better else theirs / mine


def factor(value):
    return "" if value is None else f"{value:.2f}"


# -- tables ----------------------------------------------------------------------

def metric_table(section, metric, servers):
    backends = [b for b in OURS if ours_in(servers, b)] if more_is_better(section, metric) is not None else []
    head = ["", "median", "lowest to highest", *(f"{NAMES[b]} to it" for b in backends)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for server, values in servers.items():
        ratios = [factor(ahead(section, metric, servers, ours_in(servers, b), server)) for b in backends]
        spread = f"{number(min(values))} to {number(max(values))}"
        lines.append(f"| {' | '.join([label(server), number(statistics.median(values)), spread, *ratios])} |")
    return lines


def short_table(metrics):
    """A row for each server and a column for each metric: for counts and the like, which have no spread to speak of."""
    servers = list(dict.fromkeys(s for found in metrics.values() for s in found))
    lines = [f"| | {' | '.join(metrics)} |", "|---" * (len(metrics) + 1) + "|"]
    for server in servers:
        cells = [number(statistics.median(found[server])) if server in found else "" for found in metrics.values()]
        lines.append(f"| {label(server)} | {' | '.join(cells)} |")
    return lines


STARTERS = ("stunnel", "socat")
SKIPPED = ("memory in all",)


def best_of(section, metric, servers, own, names):
    """The cells that tell of the best of these servers: what it measured, which it is, and our factor."""
    factors = {s: f for s in servers if s in names and (f := ahead(section, metric, servers, own, s)) is not None}
    if not factors:
        return ["", ""]
    best = min(factors, key=factors.get)
    value = factor(factors[best])
    return [f"{number(statistics.median(servers[best]))} {best}", value if factors[best] >= 1 else f"**{value}**"]


def summary(results):
    """Of each metric, the OpenSSL build, the best of those that start a program and of those that do not, the limit."""
    head = ["", "OpenSSL build", "best that starts prog", "factor", "best terminator", "factor", "to cat, no TLS"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for section, metrics in results.items():
        for metric, servers in metrics.items():
            own = ours_in(servers, "openssl")
            if not own or section in SKIPPED or metric.startswith(MORE_IS_BETTER):
                continue
            others = [s for s in servers if not s.startswith("s6-") and s not in (*LIMITS, *STARTERS)]
            cells = [*best_of(section, metric, servers, own, STARTERS), *best_of(section, metric, servers, own, others),
                     factor(ahead(section, metric, servers, own, CAT))]
            if any(cells):
                lines.append(f"| {SECTIONS[section][0]}: {metric} | {number(statistics.median(servers[own]))} "
                             f"| {' | '.join(cells)} |")
    return lines


def about_lines(about):
    peers = ", ".join(f"{name} {version}" for name, version in about["peers"].items())
    ours = ", ".join(about["builds"].values())
    warning = ["", "**One short round: this shows that the bench works, and nothing else.**"] if about["quick"] else []
    return [f"{about['CPU']}, {about['cores']} cores, Linux {about['kernel']}; clients on the same machine, over "
            f"loopback. Load average {about['load before']:.2f} before, {about['load after']:.2f} after "
            f"{about['minutes']:.0f} minutes.", "", f"Builds: {ours}. Beside them: {peers}.", *warning]


def markdown(found):
    lines = ["# Measured by `make bench`", "", *about_lines(found["about"]), "",
             "Medians of rounds in which each server had its turn. A factor over 1 is in our favour, whatever is "
             "measured; below 1 it is **bold**.", "", "## In short", "", IN_SHORT, "", *summary(found["results"])]
    for section, metrics in found["results"].items():
        heading, unit, _, text = SECTIONS[section]
        lines += ["", f"## {heading}" + (f", {unit}" if unit else ""), "", text]
        if section in ("counts", "memory in all", "memory of a connection", "resumption", "cipher", "CPU"):
            lines += ["", *short_table(metrics)]
            continue
        for metric, servers in metrics.items():
            lines += ["", f"### {metric}", "", *metric_table(section, metric, servers)]
    lines += ["", "## What the builds weigh", "", "kB, without libc.", "", "| | program, stripped | its libraries | |",
              "|---|---|---|---|"]
    for backend, (program, libraries) in found["about"]["sizes"].items():
        lines.append(f"| s6-tlsd {NAMES[backend]} | {program // 1000} | {sum(libraries.values()) // 1000} "
                     f"| {', '.join(libraries)} |")
    if found["failures"]:
        lines += ["", "## What failed", "", *(f"- {text} ({count})" for text, count in found["failures"].items())]
    return "\n".join(lines) + "\n"


def write_csv(path, results):
    with open(path, "w", newline="") as f:
        table = csv.writer(f, lineterminator="\n")
        table.writerow(["section", "metric", "server", "median", "lowest", "highest", "rounds"])
        for section, metrics in results.items():
            for metric, servers in metrics.items():
                for server, values in servers.items():
                    figures = [f"{v:.6g}" for v in (statistics.median(values), min(values), max(values))]
                    table.writerow([section, metric, server, *figures, len(values)])


def sizes(program):
    """(bytes of the program without symbols, {library: bytes} of what it maps but for libc)."""
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "-o", stripped.name, program], check=True)
        size = os.path.getsize(stripped.name)
    text = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    paths = re.findall(r"=> (/\S+)", text)
    return size, {os.path.basename(p): os.stat(p).st_size for p in paths if not os.path.basename(p).startswith("libc.")}


# -- plots -----------------------------------------------------------------------

COLOURS = {"openssl": "#08519c", "bearssl": "#3182bd", "libtls": "#9ecae1"}
PEER_COLOURS = {"stunnel": "#d95f02", "socat": "#e6ab02", "hitch": "#7570b3", "haproxy": "#66a61e", "nginx": "#e7298a"}
GREY = "#777777"


def colour(server):
    words = server.split()
    return COLOURS[words[1]] if words[0].startswith("s6-") else PEER_COLOURS.get(server, GREY)


def plain_ticks(axis):
    """1, 2, 5, 10, and not powers, on a scale that is logarithmic."""
    from matplotlib import ticker
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def bars(axes, found, title, unit):
    """One bar for each server, in its order, first on top, with its median beside it, and its spread."""
    servers = list(found)
    middle = [statistics.median(found[s]) for s in servers]
    spread = [[m - min(found[s]) for s, m in zip(servers, middle)],
              [max(found[s]) - m for s, m in zip(servers, middle)]]
    axes.barh(range(len(servers)), middle, xerr=spread, color=[colour(s) for s in servers], height=0.72,
              hatch=["//" if s.startswith("s6-tlsd ") else "" for s in servers], edgecolor="white", linewidth=0,
              error_kw={"ecolor": "#222222", "elinewidth": 1, "capsize": 2})
    for y, (value, over) in enumerate(zip(middle, spread[1])):
        axes.annotate(number(value), (value + over, y), xytext=(4, 0), textcoords="offset points", va="center",
                      fontsize=8)
    axes.set_yticks(range(len(servers)), [label(s) for s in servers])
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(unit)
    axes.margins(x=0.18)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in "top", "right":
        axes.spines[side].set_visible(False)


def panels(plt, shown, heading, columns):
    """shown: [(found, title, unit)]."""
    rows = -(-len(shown) // columns)
    height = 0.5 + rows * (0.7 + 0.27 * max(len(found) for found, _, _ in shown))
    figure, axes = plt.subplots(rows, columns, figsize=(5.2 * columns, height), squeeze=False)
    flat = list(axes.flat)
    for place, panel in zip(flat, shown):
        bars(place, *panel)
    for place in flat[len(shown):]:
        place.set_visible(False)
    figure.suptitle(heading, fontsize=12, x=0.01, ha="left")
    figure.tight_layout()
    return figure


def growth(plt, results):
    """Memory of the server over the number of its connections."""
    totals = results["memory in all"]
    counts = [int(metric.split()[0]) for metric in totals]
    figure, axes = plt.subplots(figsize=(8.6, 4.6))
    for server in dict.fromkeys(s for found in totals.values() for s in found):
        at = [n for n in counts if server in totals[f"{n} connections"]]
        megabytes = [statistics.median(totals[f"{n} connections"][server]) for n in at]
        axes.plot(at, megabytes, label=label(server), marker="o", markersize=4, color=colour(server),
                  linestyle="--" if server.startswith("s6-tlsd ") else "-")
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_ticks(axes.xaxis)
    plain_ticks(axes.yaxis)
    axes.set_xlabel("idle connections")
    axes.set_ylabel("memory of the server in all, MB (proportional set size)")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_title("Memory, without prog", fontsize=12, loc="left")
    figure.tight_layout()
    return figure


def plots(results):
    """{name: figure} of what was measured."""
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "s6-tlsd", "font.size": 9,
                                "font.family": "sans-serif", "figure.facecolor": "white", "hatch.linewidth": 0.6})
    from matplotlib import pyplot as plt
    made = {}
    if "connections" in results:
        shown = [(found, metric, "connections a second") for metric, found in results["connections"].items()]
        made["rates"] = panels(plt, shown, "New connections, full handshakes: more is better", 3)
        shown = [(found, f"first byte, {metric}", "ms, less is better")
                 for metric, found in results["first byte"].items() if "2 at" not in metric]
        if "ping-pong" in results:
            shown.append((results["ping-pong"]["64 bytes"], "64 bytes there and back, over and over",
                          "turns a second, more is better"))
        if "start" in results:
            shown.append((results["start"]["to the first byte, ms"], "first byte, a server for one connection",
                          "ms, less is better"))
        made["latency"] = panels(plt, shown, "Latency", 2)
    if "bulk" in results:
        shown = [(found, metric, "MB/s") for metric, found in results["bulk"].items()]
        made["bulk"] = panels(plt, shown, "Bulk on one connection: more is better", 2)
    if "memory in all" in results:
        made["memory"] = growth(plt, results)
    return made


def write(folder):
    with open(os.path.join(folder, "samples.json")) as f:
        found = json.load(f)
    with open(os.path.join(folder, "results.md"), "w") as f:
        f.write(markdown(found))
    write_csv(os.path.join(folder, "results.csv"), found["results"])
    for name, figure in plots(found["results"]).items():
        figure.savefig(os.path.join(folder, name + ".svg"), metadata={"Date": None})
        figure.savefig(os.path.join(folder, name + ".png"), dpi=90)


if __name__ == "__main__":
    write(sys.argv[1])
