#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""bench.py - runs the benchmark programs and puts together what they found.

	bench.py run [--base FILE] [--only TEXT]
		natively, under callgrind and under strace; prints tables, leaves
		build/bench/results.json, and compares with another such file
	bench.py top NAME
		the functions in which a configuration's instructions are
	bench.py record
		puts the tables of build/bench/results.json into docs/benchmarks.md
	bench.py check
		counts only: what must be zero, is; a second count gives the same;
		nothing takes far more instructions than docs/benchmarks.md has

Instructions are told apart by the file that they come from, since a region
holds more than what is to be measured: the fake Xen (all that it does), the
null engine, the shim in place of the kernel, and libraries.
"""
import argparse
import datetime
import glob
import json
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, "build", "bench")
RESULTS = os.path.join(BUILD, "results.json")
DOCS = os.path.join(TOP, "docs", "benchmarks.md")
PROGRAMS = ("backend", "guest")

# System calls of what backend/xen/ does in place of the fake, in a worker that
# is confined and in its mapper.
XEN_SYSCALLS = {
    "exchanges": 4,	# a message each way: write and read of either
    "maps": 3,		# ioctl of the mapper's; mmap, ioctl
    "unmaps": 1,	# munmap
    "copies": 1,	# ioctl of the mapper's
    "notifies": 1,
    "reads": 1,		# of pending event channels
    "unmasks": 1,	# a write
}
# Of the recorded instructions: more are a change for the worse, or another
# compiler's; fewer mean that nothing was measured.
CHECK_MOST = 1.5
CHECK_LEAST = 0.2


def program(name):
    return os.path.join(BUILD, "bench-" + name)


def run(cmd, **kw):
    p = subprocess.run(cmd, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, **kw)
    if p.returncode:
        sys.exit(f"{' '.join(cmd)}: exit status {p.returncode}\n"
                 f"{p.stdout[-2000:]}{p.stderr[-4000:]}")
    return p.stdout


def lines_of(text):
    """What a program prints: one JSON object a line."""
    found = {}
    for line in text.splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            found[entry.pop("name")] = entry
    return found


# ---- callgrind ---------------------------------------------------------------

def group_of(path):
    path = path.removeprefix(TOP + "/").removeprefix("./")
    if path.startswith("tests/bench/kshim"):
        return "shim"
    if path.startswith("tests/fake/"):
        return "fake"
    if path.startswith(("backend/", "kernel/")):
        return "own"
    if path.startswith("tests/"):
        return "harness"
    return "libs"


def parse_callgrind(path, functions=None):
    """(name, instructions by group) of one dump; and by function, if asked.

    What the fake calls is the fake's; all else counts where it is.
    """
    files, names, function, name = {}, {}, None, None
    own = dict.fromkeys(("own", "shim", "harness", "libs", "fake"), 0)
    here, callee, total, is_call, from_fake = "libs", None, 0, False, 0
    spec = re.compile(r"^(fl|fi|fe|cfi|cfl)=\((\d+)\)(?: (.*))?$")

    with open(path, encoding="utf-8") as f:
        for line in f:
            line = line.rstrip("\n")
            m = spec.match(line)
            if m:
                if m[3] is not None:
                    files[m[2]] = group_of(m[3])
                group = files[m[2]]
                if m[1] in ("cfi", "cfl"):
                    callee = group
                else:
                    here = group
            elif line.startswith(("fn=", "cfn=")):
                key, _, text = line.partition("=")[2].partition(" ")
                if text:
                    names[key] = text
                if line[0] == "f":
                    function = names[key]
            elif line.startswith("calls="):
                is_call = True
            elif line[:1] in "+-*0123456789" and line:
                cost = int(line.split()[1])
                if not is_call:
                    own[here] += cost
                    if functions is not None:
                        key = (here, function)
                        functions[key] = functions.get(key, 0) + cost
                elif (callee or here) == "fake" and here != "fake":
                    from_fake += cost
                if is_call:
                    is_call, callee = False, None
            elif line.startswith("desc: Trigger: Client Request: "):
                name = line.split(": ", 3)[3]
            elif line.startswith("totals: "):
                total = int(line.split()[1])
    if sum(own.values()) != total:
        sys.exit(f"{path}: the parts are {sum(own.values())}, the whole is {total}")
    own["fake"] = from_fake
    own["libs"] = total - own["own"] - own["shim"] - own["harness"] - from_fake
    return name, own


def count(which, only=""):
    out = os.path.join(BUILD, f"callgrind.{which}")
    for old in glob.glob(out + "*"):
        if not only:
            os.unlink(old)
    text = run(["valgrind", "--tool=callgrind", "--collect-atstart=no",
                f"--callgrind-out-file={out}", program(which), "count"] +
               ([f"--only={only}"] if only else []))
    found = lines_of(text)
    for path in glob.glob(out + ".[0-9]*"):
        name, groups = parse_callgrind(path)
        if name in found:
            for group, instructions in groups.items():
                found[name]["instr_" + group] = instructions / found[name]["units"]
            os.rename(path, os.path.join(BUILD, "callgrind." + name.replace("/", ".")))
        else:
            os.unlink(path)
    for name, entry in found.items():
        if "instr_own" not in entry:
            sys.exit(f"{name}: callgrind has nothing of it")
    return found


# ---- strace -------------------------------------------------------------------

def syscalls(which, only=""):
    """System calls per unit, by name; None if there can be no tracing here."""
    out = os.path.join(BUILD, f"strace.{which}")
    p = subprocess.run(["strace", "-f", "-qq", "-o", out, program(which), "syscalls"] +
                       ([f"--only={only}"] if only else []),
                       cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.returncode:
        print(f"bench: no system calls: strace: {p.stderr.strip()[-200:]}")
        return {}
    result, seen, main, inside, begun = {}, {}, None, False, False
    with open(out, encoding="utf-8", errors="replace") as f:
        for line in f:
            m = re.match(r"(\d+) +(\w+)\((.*)", line)
            if not m:
                continue
            main = main or m[1]
            if m[2] == "access" and m[3].startswith('"bench:'):
                what = m[3].split('"')[1].split(" ")
                inside = what[0] == "bench:enter"
                if what[0] == "bench:begin":
                    seen = {}
                elif what[0] == "bench:end":
                    result[what[2]] = {k: v / int(what[1]) for k, v in sorted(seen.items())}
            elif inside and m[1] == main:
                seen[m[2]] = seen.get(m[2], 0) + 1
    os.unlink(out)
    return result


# ---- tables --------------------------------------------------------------------

def number(value, digits=0):
    return "-" if value is None else f"{value:.{digits}f}"


def few(value):
    """Of calls per unit: 0, 1, 0.031."""
    return "-" if value is None else f"{value:.3f}".rstrip("0").rstrip(".") or "0"


def table(rows):
    """Columns, the first one to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) if not i else cell.rjust(w)
                               for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
                     for row in rows)


def ns_of(entry):
    """Mapping is the fake's time alone, and a page table's: no figure of ours."""
    return None if entry.get("maps") else entry.get("ns_best")


def rate(entry):
    return number(1e6 / ns_of(entry)) if ns_of(entry) else "-"


def sys_calls(entry):
    """Those traced, but with Xen's libraries in place of the fake."""
    calls = entry.get("syscalls")
    if calls is None:
        return None
    own = sum(v for k, v in calls.items() if k not in ("mmap", "munmap", "read", "write"))
    own += max(0, calls.get("read", 0) - entry["fake_reads"])
    return own + sum(entry[k] * n for k, n in XEN_SYSCALLS.items())


def table_backend(results):
    rows = [["backend, per request", "instr", "libc", "1000/s", "maps", "unmaps", "copies",
             "asked", "events", "syscalls", "allocs"]]
    for name, e in results.items():
        if name.startswith("backend/"):
            rows.append([name.removeprefix("backend/"), number(e.get("instr_own")),
                         number(e.get("instr_libs")), rate(e), few(e["maps"]),
                         few(e["unmaps"]), few(e["copies"]), few(e["exchanges"]),
                         few(e["notifies"] + e["unmasks"]), few(sys_calls(e)),
                         few(e["allocations"])])
    return table(rows)


def table_guest(results):
    rows = [["guest, per pair or request", "instr", "shim", "copying", "1000/s", "grants",
             "allocs"]]
    for name, e in results.items():
        if name.startswith("guest/"):
            rows.append([name.removeprefix("guest/"), number(e.get("instr_own")),
                         number(e.get("instr_shim")), number(e.get("instr_libs")), rate(e),
                         few(e["grants"]), few(e["allocations"])])
    return table(rows)


def machine_text(machine):
    return "\n".join(f"{k}: {v}" for k, v in machine.items())


def change(new, old):
    if new is None or old is None:
        return "-"
    if not old:
        return "0.0%" if not new else "new"
    return f"{(new - old) / old * 100:+.1f}%"


def compare(new, old, base):
    rows = [["against " + os.path.basename(base), "instr", "was", "change", "libc, shim",
             "ns", "was", "change"]]
    same = 0
    for name, e in new["results"].items():
        o = old["results"].get(name)
        if not o:
            rows.append([name, number(e.get("instr_own")), "-", "new", "-",
                         number(ns_of(e)), "-", "new"])
            continue
        rest = [sum(x.get("instr_" + g, 0) for g in ("libs", "shim")) for x in (e, o)]
        differs = change(e.get("instr_own"), o.get("instr_own"))
        same += differs in ("+0.0%", "-0.0%", "0.0%")
        rows.append([name, number(e.get("instr_own")), number(o.get("instr_own")), differs,
                     change(*rest), number(ns_of(e)), number(ns_of(o)),
                     change(ns_of(e), ns_of(o))])
    rows += [[name, "-", "-", "gone", "-", "-", "-", "gone"]
             for name in old["results"] if name not in new["results"]]
    counted = sum("instr_own" in e for e in new["results"].values())
    return table(rows) + f"\n\n{same} of {counted} take the same number of instructions"


# ---- commands --------------------------------------------------------------------

def first_line(cmd):
    return run(cmd).splitlines()[0].strip()


def sources():
    """The last commit to what is measured."""
    def git(*args):
        return subprocess.run(("git",) + args + ("--", "backend", "kernel"), cwd=TOP,
                              text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL).stdout.strip()
    commit = git("log", "-1", "--format=%h, %cd", "--date=format:%Y-%m-%d %H:%M")
    return (commit or "unknown") + (", changed" if git("status", "--short") else "")


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpus = re.findall(r"^model name\s*: (.*)$", f.read(), re.M)
    fs = run(["stat", "-f", "-c", "%T", BUILD]).strip()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "sources": sources(),
        "machine": f"{len(cpus) or os.cpu_count()} x {cpus[0] if cpus else os.uname().machine}",
        "kernel": os.uname().release.split("-")[0],
        "compiler": first_line(["gcc", "--version"]),
        "counted by": first_line(["valgrind", "--version"]),
        "io_uring over": f"a file of {fs}, in the page cache",
    }


def command_run(args):
    results = {}
    for which in PROGRAMS:
        only = [f"--only={args.only}"] if args.only else []
        found = lines_of(run([program(which), "time"] + only))
        counted = count(which, args.only)
        traced = syscalls(which, args.only) if which == "backend" else {}
        for name, entry in found.items():
            entry.pop("units")
            entry.update({k: v for k, v in counted.get(name, {}).items()
                          if k.startswith("instr_")})
            if name in traced:
                entry["syscalls"] = traced[name]
        results.update(found)
    if not results:
        sys.exit(f"nothing is called '{args.only}'")
    new = {"machine": machine(), "results": results}
    base = None
    if args.base:		# which may be the file that is about to be written
        with open(args.base, encoding="utf-8") as f:
            base = json.load(f)
    with open(RESULTS, "w", encoding="utf-8") as f:
        json.dump(new, f, indent=1)
    print(machine_text(new["machine"]) + "\n")
    print(table_backend(results) + "\n")
    print(table_guest(results))
    if base:
        print("\n" + compare(new, base, args.base))
    print(f"\n{os.path.relpath(RESULTS, TOP)}; what it means: docs/benchmarks.md")


def command_top(args):
    functions = {}
    path = os.path.join(BUILD, "callgrind." + args.name.replace("/", "."))
    with open(RESULTS, encoding="utf-8") as f:
        entry = json.load(f)["results"].get(args.name, {})
    if "instr_own" not in entry or not os.path.exists(path):
        sys.exit(f"no instructions of '{args.name}' are there: make bench")
    groups = parse_callgrind(path, functions)[1]
    per_unit = entry["instr_own"] / groups["own"]
    rows = [["function", "per unit", "of"]]
    for (group, function), cost in sorted(functions.items(), key=lambda x: -x[1])[:40]:
        if group != "fake":
            rows.append([function, f"{cost * per_unit:.1f}", group])
    print(table(rows) + "\n\nlibs: what the fake calls is in there, too")


def command_record(_args):
    with open(RESULTS, encoding="utf-8") as f:
        new = json.load(f)
    with open(DOCS, encoding="utf-8") as f:
        text = f.read()
    for what, block in (("machine", machine_text(new["machine"])),
                        ("backend", table_backend(new["results"])),
                        ("guest", table_guest(new["results"]))):
        mark = re.compile(rf"(<!-- {what} -->\n).*?(<!-- end -->)", re.S)
        text, n = mark.subn(lambda m, b=block: f"{m[1]}```\n{b}\n```\n{m[2]}", text)
        if n != 1:
            sys.exit(f"{DOCS}: no place for '{what}'")
    with open(DOCS, "w", encoding="utf-8") as f:
        f.write(text)


def recorded():
    """Instructions by name, out of the tables of docs/benchmarks.md."""
    found = {}
    with open(DOCS, encoding="utf-8") as f:
        prefix = None
        for line in f:
            m = re.match(r"<!-- (backend|guest) -->", line)
            if m:
                prefix = m[1]
            elif line.startswith("<!-- end"):
                prefix = None
            m = re.match(r"(\S+/\S+) +(\d+) ", line)
            if prefix and m:
                found[f"{prefix}/{m[1]}"] = int(m[2])
    return found


def command_check(_args):
    wrong = []
    known = recorded()

    def want(name, what, value, most):
        if value > most:
            wrong.append(f"{name}: {value:g} {what} per request, {most:g} would be right")

    found = {}
    for which in PROGRAMS:
        found.update(count(which))
    again = {}
    for which, only in (("backend", "qd32"), ("guest", "request/")):
        again.update(count(which, only))

    for name, e in found.items():
        want(name, "allocations", e["allocations"], 0)
        if name.startswith("guest/"):
            if not name.endswith("-direct"):
                want(name, "grants made or ended", e["grants"], 0)
        else:
            maps = 1 if "/map/" in name else 0
            want(name, "maps", e["maps"], maps)
            want(name, "unmaps", e["unmaps"], maps)
            # An indirect table, of each; what goes in or out, of all of a turn,
            # which ends after 256 KiB.
            batch = min(int(re.search(r"/qd(\d+)", name)[1]), 4 if "-64k" in name else 32)
            asked = 0 if "/pool/" in name else (0 if "chains" in name else 1) + 2 / batch
            want(name, "copies", e["copies"], asked)
            want(name, "exchanges with the mapper", e["exchanges"], asked)
            want(name, "events", e["notifies"], 1)
        if name not in known:
            wrong.append(f"{name}: not in docs/benchmarks.md: tests/bench/bench.py record")
        elif not known[name] * CHECK_LEAST < e["instr_own"] < known[name] * CHECK_MOST:
            wrong.append(f"{name}: {e['instr_own']:.0f} instructions, docs/benchmarks.md "
                         f"has {known[name]}: find out why, or record it anew")
    for name, e in again.items():
        if abs(e["instr_own"] - found[name]["instr_own"]) > found[name]["instr_own"] / 1000:
            wrong.append(f"{name}: {found[name]['instr_own']:.1f} instructions, the second "
                         f"time {e['instr_own']:.1f}")
    if not again or not any(n.startswith("guest/") for n in again):
        wrong.append("nothing was counted twice")
    print("\n".join(wrong))
    print(f"{len(found)} configurations, {len(again)} of them twice, {len(wrong)} wrong")
    sys.exit(1 if wrong else 0)


def main():
    parser = argparse.ArgumentParser()
    sub = parser.add_subparsers(required=True)
    p = sub.add_parser("run")
    p.add_argument("--base")
    p.add_argument("--only", default="")
    p.set_defaults(do=command_run)
    p = sub.add_parser("top")
    p.add_argument("name")
    p.set_defaults(do=command_top)
    sub.add_parser("record").set_defaults(do=command_record)
    sub.add_parser("check").set_defaults(do=command_check)
    args = parser.parse_args()
    args.do(args)


main()
