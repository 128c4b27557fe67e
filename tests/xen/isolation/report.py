#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Judges what the attacker reached (dom0/isolation.sh, attack.c) against the
# allowlist in docs/threat-model.md.
#
#	report.py RUN_DIR OUT_DIR
#
# RUN_DIR is build/xen/NAME.  Writes OUT_DIR/result.json, report.txt and
# report.html.  Exit status: 0 if nothing outside the allowlist was allowed, no
# secret was found where it must not be, and the same attacker did find the
# secrets in the conventional set-up (unless RUN_DIR/out/settings says "flask 1":
# there is none then); 1 otherwise, with the problems on stdout.

import fnmatch
import html
import json
import os
import re
import sys

# Secrets that the backend's domain is given on purpose, and in whose pool.
IN_FLIGHT = {
    "inflight": ("guest", "0"),
    "inflight_b": ("guest", "1"),
    "inflight_c": ("guest", "2"),
    "n_inflight": ("neighbour", "0"),
}
# What the attacker must find in the conventional set-up, or it is no good.
MUST_BE_FOUND = ("process", "pagecache", "unread", "kernel")
# Kinds of attempts that must have been made, or the test tested nothing.
MUST_BE_MADE = (
    "privcmd-shipped.mmapbatch_v2", "privcmd-shipped.mmapbatch",
    "privcmd-unrestricted.mmapbatch_v2", "privcmd-unrestricted.mmapbatch",
    "privcmd-unrestricted.mmap_resource", "privcmd-unrestricted.dm_op",
    "frame.add_to_physmap", "frame.add_to_physmap_batch", "frame.multicall",
    "resource.acquire", "grant.map_ro", "grant.map_rw", "grant.copy_from",
    "grant.copy_to", "grant.copy_frame", "grant.transfer", "grant.swap",
    "grant.cache_flush", "grant.cache_flush_ref", "gntdev.map", "event.bind_interdomain",
    "event.alloc_unbound", "event.status", "event.storm", "store.read",
    "store.write", "store.watch_event", "store.flood_nodes", "domctl",
    "sysctl", "dm_op", "hvm.get_param", "hvm.altp2m", "argo", "console_io",
    "sched.remote_shutdown", "hypercall.every_number", "sample",
    "relay.garbage", "relay.replay", "relay.unasked", "relay.lies",
    "relay.console", "relay.unsettled", "relay.ones", "relay.mute",
    "bus.front", "bus.garbage", "bus.replay", "bus.sequence", "bus.lies",
    "bus.flood", "bus.console", "bus.short", "bus.greedy", "bus.unsettled",
    "bus.ones", "bus.mute",
)
# The same, of what only x86 has.
MUST_BE_MADE_X86 = (
    "mmu_update", "mmuext_op", "update_va_mapping", "physdev.map_pirq",
    "physdev.unmap_pirq", "domctl.paging_continued", "xenpmu_op", "mca",
    "frame.machphys",
)
# Keys of a front that the attacker must have tried to change as any other node.
FRONT_KEYS = ("device-id", "backend", "backend-id", "state", "msg-ref")


def numbers(text):
    """'1-3,7' -> {1, 2, 3, 7}; more than was printed -> None."""
    out = set()
    for part in text.split(","):
        if part == "...":
            return None
        if not part:
            continue
        first, _, last = part.partition("-")
        out.update(range(int(first), int(last or first) + 1))
    return out


class Setup:
    """One of the two: what was tried, and what was true."""

    def __init__(self, path):
        self.attempts, self.truth, self.nodes = [], [], []
        for name in sorted(os.listdir(path)) if os.path.isdir(path) else []:
            full = os.path.join(path, name)
            if name.endswith(".json"):
                with open(full) as f:
                    self.attempts += [json.loads(line) for line in f
                                      if line.startswith("{")]
            elif name == "truth":
                with open(full) as f:
                    self.truth = [line.split() for line in f]
            elif name == "nodes":
                with open(full) as f:
                    self.nodes = [line.rstrip("\n") for line in f]

    def domid(self, role):
        for words in self.truth:
            if words[0] == role:
                return words[1]
        return "0" if role == "dom0" else None

    def pool(self, role, disk=None):
        out = set()
        for words in self.truth:
            if words[0] == "pool" and words[1] == role and \
                    disk in (None, words[2]):
                first, count = int(words[3]), int(words[4])
                out.update(range(first, first + count))
        return out

    def relays(self):
        return {int(w[2]) for w in self.truth if w[0] == "relay"}

    def pages(self, role=None):
        """Message pages of the bus."""
        return {int(w[2]) for w in self.truth
                if w[0] == "page" and role in (None, w[1])}

    def frames_of_driver(self):
        """How many frames the driver domain has or was granted."""
        for words in self.truth:
            if words[0] == "frames":
                return int(words[1]) + len(self.relays()) + \
                    sum(w[0] == "page" for w in self.truth) + sum(
                        int(w[4]) for w in self.truth if w[0] == "pool")
        return 0

    def node_names(self, lines):
        return {self.nodes[i - 1] if 0 < i <= len(self.nodes) else "?%d" % i
                for i in lines}


class Allowlist:
    """The table below '## Allowlist' in docs/threat-model.md."""

    def __init__(self, path, is_x86=False):
        self.rows = []
        self.is_x86 = is_x86
        with open(path) as f:
            text = f.read()
        table = text.split("## Allowlist", 1)[1].split("\n## ", 1)[0]
        for line in table.splitlines():
            cells = [c.strip() for c in line.strip().strip("|").split("|")]
            whats = re.findall(r"`([^`]+)`", cells[0]) if len(cells) == 4 else []
            if whats:
                self.rows.append({
                    "what": whats,
                    "targets": self.targets(cells[1]),
                    "objects": re.findall(r"`([^`]+)`", cells[2]),
                    "reason": cells[3], "used": 0,
                })

    def targets(self, cell):
        """A target "(x86)" is one there only."""
        out = []
        for target in cell.split(","):
            name, _, arch = target.strip().partition(" ")
            if not arch or (arch == "(x86)" and self.is_x86):
                out.append(name)
        return out

    def covers(self, kind, setup, attempt):
        """What of the attempt's allowed objects one word of a row covers:
        True for all, or a set."""
        objects = numbers(attempt["objects"])
        if kind == "any":
            return True
        if kind == "pool":
            return setup.pool(attempt["target"])
        if kind == "relay":
            return setup.relays()
        if kind == "page":
            return setup.pages(attempt["target"])
        if kind == "own-frames":
            return True if attempt["allowed"] <= setup.frames_of_driver() \
                else set()
        if kind.startswith("/"):
            def expand(m):
                return setup.domid(m.group(1)) or "none"
            pattern = re.sub(r"\{(\w+)\}", expand, kind)
            return {i for i in objects or ()
                    if i <= len(setup.nodes) and
                    fnmatch.fnmatchcase(setup.nodes[i - 1], pattern)}
        return numbers(kind)

    def judge(self, setup, attempt):
        """The objects that no row allows, and the reasons of those that do."""
        left, reasons = numbers(attempt["objects"]), []
        if left is None:
            left = {-1}		# too many to be listed: only "any" will do
        if attempt["allowed"] and not left:
            left = {-1}
        for row in self.rows:
            if not any(fnmatch.fnmatchcase(attempt["what"], w)
                       for w in row["what"]):
                continue
            if row["targets"] != ["any"] and \
                    attempt["target"] not in row["targets"]:
                continue
            for kind in row["objects"]:
                covered = self.covers(kind, setup, attempt)
                if covered is True:
                    covered = set(left)
                if covered & left:
                    row["used"] += 1
                    if row["reason"] not in reasons:
                        reasons.append(row["reason"])
                left = left - covered
        return left, reasons


def some(objects, setup=None):
    items = sorted(setup.node_names(objects)) if setup else sorted(objects)
    return ", ".join(str(i) for i in items[:8]) + \
        (", ... (%d)" % len(items) if len(items) > 8 else "")


def must_be_made(settings):
    return MUST_BE_MADE + (MUST_BE_MADE_X86 if settings.get("x86", 0) else ())


def judge_ours(ours, allowlist, settings, problems):
    for a in ours.attempts:
        a["why"] = []
        if a["allowed"]:
            left, a["why"] = allowlist.judge(ours, a)
            if left:
                is_store = a["what"].startswith("store.") and ours.nodes
                problems.append("%s at %s: allowed, and not in the allowlist: %s"
                                % (a["what"], a["target"],
                                   some(left, ours if is_store else None)))
        for name, found in a["found"].items():
            where = numbers(found["objects"]) or {-1}
            role, disk = IN_FLIGHT.get(name, (None, None))
            good = ours.pool(role, disk) if role == a["target"] else set()
            if where - good:
                problems.append(
                    "%s at %s: %d bytes of the secret '%s' in %s" %
                    (a["what"], a["target"], found["bytes"], name,
                     some(where - good)))
    for what in must_be_made(settings):
        if settings.get("without_" + what.split(".")[0], 0):
            continue
        if not any(a["what"] == what and a["made"] for a in ours.attempts):
            problems.append("%s: was not tried" % what)
    for words in ours.truth if ours.nodes else ():
        if words[0] == "front":
            problems += ["%s/%s: was not among the nodes that were tried" %
                         (words[1], key) for key in FRONT_KEYS
                         if "%s/%s" % (words[1], key) not in ours.nodes]
    # If not even what is in flight is found, the search is no good.
    for name in IN_FLIGHT:
        if name == "inflight_c" and settings.get("without_bus", 0):
            continue
        if not any(name in a["found"] for a in ours.attempts
                   if a["what"] == "sample"):
            problems.append("what is in flight ('%s') was not found in the pool"
                            % name)


def judge_counts(ours, step, mib, problems):
    """At full size: every frame and every reference."""
    if step != 1:
        return
    for a in ours.attempts:
        least = 0
        if a["target"] == "guest":
            if re.match(r"frame\.(add_to_physmap|dev_mmio)|privcmd-.*mmap", a["what"]) \
                    and "resource" not in a["what"]:
                least = mib * 256
            elif re.match(r"grant\.(map_|copy_from|transfer)|gntdev", a["what"]):
                least = 32768
        if a["made"] < least:
            problems.append("%s: only %d attempts of %d" %
                            (a["what"], a["made"], least))


def judge_conventional(conventional, problems):
    found = {}
    for a in conventional.attempts:
        for name, f in a["found"].items():
            found.setdefault(name, 0)
            found[name] += f["bytes"]
    for name in MUST_BE_FOUND:
        if not found.get(name):
            problems.append("the attacker is broken: it did not find '%s' in"
                            " the conventional set-up" % name)


def table(ours, conventional):
    """A row per kind of attempt and target, both set-ups side by side."""
    rows, index = [], {}
    for which, setup in (("ours", ours), ("conventional", conventional)):
        for a in setup.attempts:
            key = (a["what"], a["target"])
            if key not in index:
                index[key] = {"what": key[0], "target": key[1]}
                rows.append(index[key])
            cell = index[key].setdefault(which, {
                "made": 0, "allowed": 0, "refused": {}, "pages_searched": 0,
                "found": {}, "why": [], "objects": ""})
            cell["made"] += a["made"]
            cell["allowed"] += a["allowed"]
            cell["pages_searched"] += a["pages_searched"]
            cell["objects"] = a["objects"]
            for name, nr in a["refused"].items():
                cell["refused"][name] = cell["refused"].get(name, 0) + nr
            for name, f in a["found"].items():
                cell["found"][name] = cell["found"].get(name, 0) + f["bytes"]
            cell["why"] += [w for w in a.get("why", []) if w not in cell["why"]]
    return rows


def secrets_table(ours, conventional):
    out = {}
    for which, setup in (("ours", ours), ("conventional", conventional)):
        for a in setup.attempts:
            for name, f in a["found"].items():
                entry = out.setdefault(name, {"ours": 0, "conventional": 0,
                                              "by": {}})
                entry[which] += f["bytes"]
                by = entry["by"].setdefault(which, [])
                if a["what"] not in by:
                    by.append(a["what"])
    for name in ("process", "pagecache", "unread", "kernel", "canary", "freed",
                 "inflight", "inflight_b", "inflight_c", "n_process", "n_inflight"):
        out.setdefault(name, {"ours": 0, "conventional": 0, "by": {}})
    return out


WHAT_IS_IT = {
    "process": "memory of a process",
    "pagecache": "page cache of a file system",
    "unread": "file in memory, never read",
    "kernel": "kmalloc objects between the request structures",
    "canary": "around and, before a read, in I/O buffers",
    "freed": "free memory the pool was made from",
    "inflight": "in flight, first disk",
    "inflight_b": "in flight, second disk",
    "inflight_c": "in flight, third disk (on the bus)",
    "n_process": "memory of a neighbour's process",
    "n_inflight": "in flight, the neighbour's disk",
}


def refusals(cell):
    return ", ".join("%s %d" % (n, c) for n, c in sorted(
        cell["refused"].items(), key=lambda x: -x[1]))


def text_report(doc):
    out = ["What a hostile root in the driver domain reached", ""]
    out.append("secret, and where it was planted".ljust(62) +
               "found: ours".rjust(14) + "conventional".rjust(16))
    for name, s in doc["secrets"].items():
        out.append(("%-11s %s" % (name, WHAT_IS_IT.get(name, ""))).ljust(62) +
                   ("%d B" % s["ours"]).rjust(14) +
                   ("-" if name.startswith("n_") or name in ("inflight_b", "inflight_c") else
                    "%d B" % s["conventional"]).rjust(16))
    out += ["", "(inflight*: what the guest wrote to or read from its disk; it"
            " lay in the pool of that", " very disk, which the backend is"
            " given; anywhere else it would be a problem)", ""]
    out.append("attempt".ljust(36) + "at".ljust(11) + "ours: made".rjust(11) +
               "allowed".rjust(9) + "pages read".rjust(12) +
               "conventional: made".rjust(20) + "allowed".rjust(9) +
               "secret bytes".rjust(14))
    for row in doc["attempts"]:
        line = row["what"].ljust(36) + row["target"].ljust(11)
        for which in ("ours", "conventional"):
            c = row.get(which)
            width = (11, 9, 12) if which == "ours" else (20, 9, 14)
            if not c:
                line += "-".rjust(width[0]) + "".rjust(width[1] + width[2])
                continue
            last = c["pages_searched"] if which == "ours" else \
                sum(c["found"].values())
            line += str(c["made"]).rjust(width[0]) + \
                str(c["allowed"]).rjust(width[1]) + str(last).rjust(width[2])
        out.append(line.rstrip())
        c = row.get("ours")
        if c and c["refused"]:
            out.append("    refused: " + refusals(c))
        for why in c["why"] if c else []:
            out.append("    allowed: " + why)
    out.append("")
    out += ["PROBLEM: " + p for p in doc["problems"]] or \
        ["Nothing outside the allowlist (docs/threat-model.md) was allowed."]
    return "\n".join(out) + "\n"


def html_report(doc):
    def cell(c):
        if not c:
            return "<td colspan=4>not part of it"
        found = ", ".join("%s %d" % x for x in sorted(c["found"].items()))
        return "<td>%d<td>%d<td>%s<td>%s" % (
            c["made"], c["allowed"], html.escape(refusals(c)),
            html.escape(found))

    out = ["<!doctype html><meta charset=utf-8><title>Isolation</title>"
           "<style>body{font:14px sans-serif;margin:2em}table{border-collapse:"
           "collapse}td,th{border:1px solid #bbb;padding:2px 6px;text-align:"
           "left;vertical-align:top}.bad{background:#fcc}</style>"
           "<h1>What a hostile root in the driver domain reached</h1>"]
    if doc["problems"]:
        out.append("<ul class=bad>" + "".join(
            "<li>" + html.escape(p) for p in doc["problems"]) + "</ul>")
    else:
        out.append("<p>Nothing outside the allowlist of docs/threat-model.md"
                   " was allowed; no secret was found" +
                   ("." if doc["settings"].get("flask", 0) else
                    "; the same attacker found them in the conventional"
                    " set-up."))
    out.append("<h2>Secrets</h2><table><tr><th>secret<th>planted in<th>found,"
               " ours (bytes)<th>conventional<th>by")
    for name, s in doc["secrets"].items():
        out.append("<tr><td>%s<td>%s<td>%d<td>%d<td>%s" % (
            name, WHAT_IS_IT.get(name, ""), s["ours"], s["conventional"],
            html.escape("; ".join("%s: %s" % (w, ", ".join(b))
                                  for w, b in s["by"].items()))))
    out.append("</table><h2>Attempts</h2><table><tr><th rowspan=2>what<th"
               " rowspan=2>at<th colspan=5>ours<th colspan=4>conventional<tr>"
               "<th>made<th>allowed<th>refused<th>secrets (bytes)<th>why"
               " allowed<th>made<th>allowed<th>refused<th>secrets (bytes)")
    for row in doc["attempts"]:
        c = row.get("ours")
        out.append("<tr><td>%s<td>%s%s<td>%s%s" % (
            row["what"], row["target"], cell(c),
            html.escape("; ".join(c["why"])) if c else "",
            cell(row.get("conventional"))))
    out.append("</table>")
    return "\n".join(out) + "\n"


def main():
    run, out = sys.argv[1:3]
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../..")
    ours = Setup(os.path.join(run, "out/ours"))
    conventional = Setup(os.path.join(run, "out/conventional"))
    settings = {}
    with open(os.path.join(run, "out/settings")) as f:
        for line in f:
            key, value = line.split()
            settings[key] = int(value)
    allowlist = Allowlist(os.path.join(top, "docs/threat-model.md"),
                          bool(settings.get("x86", 0)))
    problems = []
    judge_ours(ours, allowlist, settings, problems)
    judge_counts(ours, settings["step"], settings["guest_mib"], problems)
    # FLASK has no conventional set-up: nobody can be made privileged.
    if not settings.get("flask", 0):
        judge_conventional(conventional, problems)
    doc = {
        "verdict": "FAIL" if problems else "PASS",
        "problems": problems,
        "settings": settings,
        "secrets": secrets_table(ours, conventional),
        "attempts": table(ours, conventional),
        "unused_allowlist_rows": [" ".join(r["what"]) for r in allowlist.rows
                                  if not r["used"]],
    }
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "result.json"), "w") as f:
        json.dump(doc, f, indent=1)
        f.write("\n")
    with open(os.path.join(out, "report.txt"), "w") as f:
        f.write(text_report(doc))
    with open(os.path.join(out, "report.html"), "w") as f:
        f.write(html_report(doc))
    for problem in problems:
        print("PROBLEM: " + problem)
    made = sum(a["made"] for a in ours.attempts)
    allowed = sum(a["allowed"] for a in ours.attempts)
    print("RESULT attempts %d" % made)
    print("RESULT attempts_allowed %d" % allowed)
    for which in ("ours", "conventional"):
        print("RESULT secret_bytes_found_%s %d" % (which, sum(
            s[which] for name, s in doc["secrets"].items()
            if name not in IN_FLIGHT)))
    print("RESULT problems %d" % len(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
