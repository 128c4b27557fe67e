#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""report.py RUNDIR OUTDIR - from what compare.sh measured to results.csv,
report.html and the summary on stdout (docs/comparison.md).

RUNDIR is build/xen/compare or compare-x86.  Nothing is made up here: a number that
was not measured, as the counts are with a Xen that does not count, is an empty field.
"""

import csv
import glob
import html
import json
import os
import statistics
import sys

# Rows and columns of tests/xen/compare/xen-counters.patch.
HYPERCALLS_PER_ROW = 64
EVENTS_PER_ROW = 16
EVENTS = {"data_abort": 0, "ioreq": 1, "evtchn_send": 2, "grant_map": 3,
          "grant_unmap": 4, "grant_copy": 5, "foreign_map": 6,
          "physmap_remove": 7, "tlb_flush": 8, "irq": 9, "wfi": 10}
# xen/include/public/xen.h
HYPERCALLS = {12: "memory_op", 13: "multicall", 17: "xen_version",
              20: "grant_table_op", 24: "vcpu_op", 29: "sched_op",
              32: "event_channel_op", 33: "physdev_op", 34: "hvm_op",
              41: "dm_op"}

FIRST_COLUMNS = """backend workload round iops mb_s lat_p50_us lat_p99_us
hypercalls_per_io mmio_traps_per_io evtchn_sends_per_io grant_maps_per_io
grant_unmaps_per_io grant_copies_per_io tlb_flushes_per_io
guest_bytes_reachable backend_kib""".split()

ORDER = ["pool", "bus", "pool-noranges", "pool-noevents", "pool-plain", "map", "copy",
         "pv",
         "pool-cached", "foreign-static", "foreign-dynamic"]
WHAT = {
    "pool": "virtio, grants: persistent ranges and event channels",
    "bus": "virtio over the Xen bus: persistent ranges and event channels",
    "pool-noranges": "virtio, grants: event channels, mapped per request",
    "pool-noevents": "virtio, grants: persistent ranges, MMIO notifications",
    "pool-plain": "virtio, grants: neither half of the extension",
    "map": "virtio, mainline guest (CONFIG_XEN_VIRTIO): grants, mapped per request",
    "copy": "virtio, mainline guest: grants, copied per request",
    "pv": "Xen PV block (blkfront, blkback, persistent grants)",
    "pool-cached": "as pool, image through the page cache",
    "foreign-static": "virtio, whole guest mapped at start, page cache",
    "foreign-dynamic": "virtio, foreign mapping per request, page cache",
}


def read_pairs(path):
    pairs = {}
    try:
        with open(path, errors="replace") as f:
            for line in f:
                words = line.split()
                if len(words) == 2:
                    pairs[words[0]] = words[1]
    except FileNotFoundError:
        pass
    return pairs


def percentile(fields, want):
    for field in fields:
        if field.startswith("%f%%=" % want):
            return float(field.split("=")[1])
    return None


class Run:
    """One file of RUNDIR/out/runs."""

    def __init__(self, path):
        self.meta, self.irqs, self.fio = {}, [], None
        self.hypercalls, self.events = [], []
        with open(path, errors="replace") as f:
            for line in f:
                key, _, rest = line.strip().partition(" ")
                if key == "fio" and rest.startswith("3;"):
                    self.fio = rest.split(";")
                elif key == "irqs":
                    self.irqs.append(int(rest))
                elif line.startswith("by domain: hypercalls"):
                    self.hypercalls = self.values(line)
                elif line.startswith("by domain: events"):
                    self.events = self.values(line)
                else:
                    self.meta[key] = rest
        if not self.fio:
            raise ValueError("%s: no result of fio" % path)

    @staticmethod
    def values(line):
        return [int(w) for w in line.split("T=")[1].split()[1:]]

    def hypercalls_of(self, domid, nr=None):
        """None: this Xen does not count."""
        if not self.hypercalls:
            return None
        row = self.hypercalls[domid * HYPERCALLS_PER_ROW:
                              (domid + 1) * HYPERCALLS_PER_ROW]
        return sum(row) if nr is None else (row[nr] if nr < len(row) else 0)

    def event(self, domid, name):
        if not self.events:
            return None
        at = domid * EVENTS_PER_ROW + EVENTS[name]
        return self.events[at] if at < len(self.events) else 0

    def row(self, facts, memory):
        f, backend = self.fio, self.meta["backend"]
        read_kib, write_kib = float(f[5]), float(f[46])
        ios = (read_kib + write_kib) * 1024 / int(self.meta["io_bytes"])
        fields = f[17:37] if read_kib else f[58:78]
        guest = int(facts["domid_" + self.meta["guest"]])
        driver = int(facts["domid_DomD"])
        both = (guest, driver)

        def per_io(*counts):
            if None in counts or not ios:
                return None
            return round(sum(counts) / ios, 4)

        def events(name, domains=both):
            return per_io(*(self.event(d, name) for d in domains))

        row = {
            "backend": backend,
            "workload": self.meta["workload"],
            "round": int(self.meta["round"]),
            "iops": round(float(f[7]) + float(f[48]), 1),
            "mb_s": round((float(f[6]) + float(f[47])) * 1024 / 1e6, 2),
            "lat_p50_us": percentile(fields, 50),
            "lat_p99_us": percentile(fields, 99),
            "hypercalls_per_io": per_io(*(self.hypercalls_of(d)
                                          for d in both)),
            "mmio_traps_per_io": events("ioreq", (guest,)),
            "evtchn_sends_per_io": events("evtchn_send"),
            "grant_maps_per_io": events("grant_map"),
            "grant_unmaps_per_io": events("grant_unmap"),
            "grant_copies_per_io": events("grant_copy"),
            "tlb_flushes_per_io": events("tlb_flush", (0, guest, driver)),
            "guest_bytes_reachable": reachable(backend, facts),
            "backend_kib": backend_kib(backend, memory, "own"),
            "ios": round(ios),
            "backend_rss_kib": backend_kib(backend, memory, "rss"),
            "driver_domain_used_kib": int(memory["domd_used"])
                if "domd_used" in memory else None,
            "foreign_maps_per_io": events("foreign_map"),
            "foreign_unmaps_per_io": events("physmap_remove"),
            "guest_hypercalls_per_io": per_io(self.hypercalls_of(guest)),
            "driver_hypercalls_per_io": per_io(self.hypercalls_of(driver)),
            "dom0_hypercalls_per_io": per_io(self.hypercalls_of(0)),
            "guest_evtchn_sends_per_io": events("evtchn_send", (guest,)),
            "driver_evtchn_sends_per_io": events("evtchn_send", (driver,)),
            "dom0_evtchn_sends_per_io": events("evtchn_send", (0,)),
            "guest_interrupts_per_io": events("irq", (guest,)),
            "driver_interrupts_per_io": events("irq", (driver,)),
            "dom0_interrupts_per_io": events("irq", (0,)),
            "guest_proc_interrupts_per_io":
                per_io(self.irqs[1] - self.irqs[0])
                if len(self.irqs) == 2 else None,
            "guest_wfi_per_io": events("wfi", (guest,)),
            "driver_wfi_per_io": events("wfi", (driver,)),
        }
        for nr, name in HYPERCALLS.items():
            for who, domid in (("guest", guest), ("driver", driver)):
                row["%s_%s_per_io" % (who, name)] = \
                    per_io(self.hypercalls_of(domid, nr))
        return row


def reachable(backend, facts):
    """Bytes of the guest that the backend can read at most."""
    if backend.startswith("foreign"):
        return int(facts["bytes_G1"])
    if "pool_pages_" + backend in facts:
        pages = int(facts["pool_pages_" + backend])
        return (pages + (backend == "bus")) * 4096	# and the message page
    if backend == "pv" and "pv_grants" in facts:
        return (int(facts["pv_grants"]) + 1) * 4096	# and the ring
    # What is in flight, whether it is mapped or copied: counted as mapped.
    if backend in ("map", "copy") and facts.get("mapped_max_map"):
        return int(facts["mapped_max_map"]) * 4096
    return None


def backend_kib(backend, memory, what):
    """Of its processes, which may serve several of the devices."""
    own = ("bus", "pool-cached", "map", "copy", "foreign-dynamic", "foreign-static", "pv")
    value = memory.get("%s_%s" % (what, backend if backend in own
                                  else "pool"))
    return int(value) if value else None


def facts_of_daemons(rundir, facts):
    """What the mainline guest's device had mapped at most."""
    found = {}
    for path in sorted(glob.glob(os.path.join(rundir, "out/ctl-*.json"))):
        try:
            with open(path) as f:
                doc = json.load(f).get("grantd") or {}
        except (OSError, ValueError):
            continue
        for dev in doc.get("devices", []):
            if "stats" not in dev:
                continue
            found[dev["device"]] = dev
            if path.endswith("ctl-map.json"):
                facts["mapped_max_map"] = \
                    dev["stats"]["mem"]["mapped_pages_max"]
    return found


# ---- statistics ---------------------------------------------------------------

def cells(rows, workload, backend, key):
    return {r["round"]: r[key] for r in rows if r["workload"] == workload and
            r["backend"] == backend and r[key] is not None}


def median_of(rows, workload, backend, key):
    values = list(cells(rows, workload, backend, key).values())
    return statistics.median(values) if values else None


def ratio(rows, workload, a, b):
    """Median over rounds of the ratio within a round."""
    x, y = cells(rows, workload, a, "iops"), cells(rows, workload, b, "iops")
    values = [x[r] / y[r] for r in x if y.get(r)]
    return statistics.median(values) if values else None


def is_counted(rows):
    return any(r["hypercalls_per_io"] is not None for r in rows)


def number(v, digits=None):
    if v is None:
        return "-"
    if digits is not None:
        return "%.*f" % (digits, v)
    return "%.0f" % v if v >= 100 else "%.3g" % v


# ---- the summary ------------------------------------------------------------------

def table(head, lines):
    widths = [max(len(str(l[i])) for l in [head] + lines)
              for i in range(len(head))]
    out = []
    for l in [head] + lines:
        out.append("  ".join(str(c).ljust(w) if i == 0 else str(c).rjust(w)
                             for i, (c, w) in enumerate(zip(l, widths))))
    return "\n".join(out)


def summary(rows, backends, workloads):
    out = ["IOPS, medians of %d round(s)" % max(r["round"] for r in rows)]
    out.append(table([""] + workloads,
                     [[b] + [number(median_of(rows, w, b, "iops"), 0)
                             for w in workloads] for b in backends]))
    out.append("")
    pairs = [(b, "pv") for b in backends if b != "pv"]
    pairs += [("bus", "pool")]
    pairs += [("pool", b) for b in backends if b.startswith("foreign")]
    pairs += [("pool-cached", b) for b in backends if b.startswith("foreign")]
    pairs = [p for p in pairs if p[0] in backends and p[1] in backends]
    if pairs:
        out.append("Medians of ratios within a round")
        out.append(table([""] + workloads, [
            ["%s / %s" % p] + [number(ratio(rows, w, *p), 2)
                               for w in workloads] for p in pairs]))
        out.append("")
    keys = ["hypercalls_per_io", "mmio_traps_per_io", "evtchn_sends_per_io",
            "grant_maps_per_io", "grant_unmaps_per_io",
            "grant_copies_per_io", "foreign_maps_per_io",
            "tlb_flushes_per_io", "guest_interrupts_per_io"]
    if not is_counted(rows):
        out.append("Counts per I/O: none, this Xen does not count")
        out.append("")
    for w in [w for w in ("4k-randread-qd1", "4k-randread-qd16",
                          "4k-randread-qd32")
              if w in workloads and is_counted(rows)]:
        out.append("Counts per I/O, guest and driver domain, %s" % w)
        out.append(table([""] + [k.replace("_per_io", "") for k in keys],
                         [[b] + [number(median_of(rows, w, b, k), 3)
                                 for k in keys] for b in backends]))
        out.append("")
    w = workloads[0]
    out.append("Reach and memory")
    out.append(table(["", "bytes of the guest", "KiB of the backend"], [
        [b, number(median_of(rows, w, b, "guest_bytes_reachable"), 0),
         number(median_of(rows, w, b, "backend_kib"), 0)] for b in backends]))
    return "\n".join(out)


# ---- the page ----------------------------------------------------------------------

COLOURS = ["#1b6ca8", "#5aa9e6", "#7fc8a9", "#c9ada7", "#8d6a9f", "#d1495b",
           "#2e4057", "#edae49", "#6b705c", "#0b7a75", "#a44a3f"]


def bars(rows, backends, workload):
    values = [(b, median_of(rows, workload, b, "iops")) for b in backends]
    values = [(b, v, cells(rows, workload, b, "iops").values())
              for b, v in values if v]
    if not values:
        return ""
    top = max(max(vs) for _, _, vs in values)
    out, height = [], 22 * len(values) + 8
    for i, (b, v, vs) in enumerate(values):
        y, w = 4 + 22 * i, 430 * v / top
        colour = COLOURS[ORDER.index(b) % len(COLOURS)]
        out.append('<text x="116" y="%d" text-anchor="end">%s</text>'
                   % (y + 13, b))
        out.append('<rect x="122" y="%d" width="%.1f" height="16" fill="%s"/>'
                   % (y, w, colour))
        out.append('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#222"/>'
                   % (122 + 430 * min(vs) / top, 122 + 430 * max(vs) / top,
                      y + 8, y + 8))
        out.append('<text x="%.1f" y="%d">%s</text>'
                   % (128 + 430 * max(v, max(vs)) / top, y + 13,
                      number(v, 0)))
    return ('<figure><figcaption>%s, IOPS: median, line from least to most'
            '</figcaption><svg viewBox="0 0 640 %d" width="640">%s</svg>'
            '</figure>' % (html.escape(workload), height, "".join(out)))


def plot(rows, backends, prefix, key, title):
    """Both axes logarithmic: powers of two across, decades up."""
    import math
    points = {}
    for r in rows:
        if r["workload"].startswith(prefix) and r[key]:
            points.setdefault(r["backend"], []).append(
                (int(r["workload"][len(prefix):]), r[key]))
    if not points:
        return ""
    xs = sorted({x for p in points.values() for x, _ in p})
    ys = [y for p in points.values() for _, y in p]
    low, high = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
    high = max(high, low + 1)

    def px(x):
        span = math.log2(xs[-1] / xs[0]) or 1
        return 60 + 420 * math.log2(x / xs[0]) / span

    def py(y):
        return 280 - 260 * (math.log10(y) - low) / (high - low)

    out = []
    for e in range(low, high + 1):
        out.append('<line x1="60" x2="480" y1="%.1f" y2="%.1f" stroke="#ddd"/>'
                   '<text x="54" y="%.1f" text-anchor="end">%g</text>'
                   % (py(10 ** e), py(10 ** e), py(10 ** e) + 4, 10 ** e))
    for x in xs:
        out.append('<text x="%.1f" y="298" text-anchor="middle">%s</text>'
                   % (px(x), x if x < 1024 else
                      "%dk" % (x // 1024) if x < 1 << 20 else "1M"))
    for i, b in enumerate(b for b in backends if b in points):
        colour = COLOURS[ORDER.index(b) % len(COLOURS)]
        out.append('<polyline fill="none" stroke="%s" stroke-width="2" '
                   'points="%s"/>' % (colour, " ".join(
                       "%.1f,%.1f" % (px(x), py(y))
                       for x, y in sorted(points[b]))))
        out.append('<text x="490" y="%d" fill="%s">%s</text>'
                   % (30 + 18 * i, colour, b))
    return ('<figure><figcaption>%s</figcaption><svg viewBox="0 0 640 310" '
            'width="640">%s</svg></figure>'
            % (html.escape(title), "".join(out)))


def html_table(head, lines):
    def row(tag, cols):
        return "<tr>%s</tr>" % "".join(
            "<%s>%s</%s>" % (tag, html.escape(str(c)), tag) for c in cols)
    return "<table>%s%s</table>" % (row("th", head),
                                    "".join(row("td", l) for l in lines))


def page(rows, backends, workloads, facts, devices):
    out = ["""<!DOCTYPE html><html lang="en"><meta charset="utf-8">
<title>virtio-grant: comparison</title><style>
body { font: 15px/1.45 sans-serif; max-width: 70em; margin: 2em auto; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; }
th, td { border: 1px solid #ccc; padding: 2px 8px; text-align: right; }
th:first-child, td:first-child { text-align: left; }
svg text { font: 12px sans-serif; } figure { margin: 1.5em 0; }
figcaption { font-weight: bold; }
</style><h1>A guest's disk on Xen, served in %d ways</h1>"""
           % len(backends)]
    out.append(
        "<p>Measured on Xen %s (%s) in QEMU's emulation "
        "of %s, no hardware virtualization: <b>counts carry over "
        "to hardware, times do not</b>. Guest: Linux %s, one vCPU, %d MiB%s. "
        "Driver domain: Linux %s, one vCPU; every backend runs in it, over "
        "brd RAM disks of %d MiB. fio, libaio, O_DIRECT in the guest, %s s a "
        "run. How to read it: docs/comparison.md.</p>" % (
            facts.get("xen", "?"), "with counters by domain"
            if is_counted(rows) else "Debian's own, which does not count",
            facts.get("arch", "?"), facts.get("kernel_G1", "?"),
            int(facts.get("bytes_G1", 0)) >> 20,
            " (map, copy: Linux %s)" % facts["kernel_G2"]
            if "kernel_G2" in facts else "",
            facts.get("kernel_DomD", "?"),
            int(facts.get("device_bytes", 0)) >> 20,
            facts.get("seconds_each", "?")))
    out.append(html_table(["backend", "what it is"],
                          [[b, WHAT.get(b, "")] for b in backends]))
    out.append("<h2>Summary</h2><pre>%s</pre>"
               % html.escape(summary(rows, backends, workloads)))
    out.append("<h2>Throughput</h2>")
    out += [bars(rows, backends, w) for w in workloads]
    out.append(plot(rows, backends, "depth-", "iops",
                    "4k random read: IOPS by queue depth"))
    out.append(plot(rows, backends, "size-", "mb_s",
                    "random read, QD16: MB/s by request size"))
    out.append("<h2>Everything, by workload: medians</h2>")
    keys = [k for k in rows[0] if k not in ("backend", "workload", "round")]
    for w in workloads:
        out.append("<h3>%s</h3>" % html.escape(w))
        lines = []
        for k in keys:
            values = [median_of(rows, w, b, k) for b in backends]
            if any(values):
                lines.append([k] + [number(v) for v in values])
        out.append(html_table([""] + backends, lines))
    if devices:
        out.append("<h2>What virtio-grantd counted, in all runs together</h2>")
        keys = ["requests", "batches", "notifies", "irqs_used",
                "irqs_suppressed", "events_sent", "events_received"]
        mem = ["maps", "map_pages", "unmaps", "copies", "range_hits",
               "mapped_pages_max"]
        out.append(html_table(["device"] + keys + mem, [
            [name] + [d["stats"].get(k, "") for k in keys] +
            [d["stats"]["mem"].get(k, "") for k in mem]
            for name, d in sorted(devices.items()) if "stats" in d]))
    out.append("<h2>The machine</h2>")
    out.append(html_table(["", ""], sorted(facts.items())))
    out.append("</html>")
    return "\n".join(out)


def main():
    rundir, outdir = sys.argv[1:3]
    facts = read_pairs(os.path.join(rundir, "out/facts"))
    devices = facts_of_daemons(rundir, facts)
    memories = {}
    for path in glob.glob(os.path.join(rundir, "out/memory.*")):
        memories[int(path.rsplit(".", 1)[1])] = read_pairs(path)
    rows = []
    for path in sorted(glob.glob(os.path.join(rundir, "out/runs/*"))):
        if path.endswith(".new"):
            continue
        run = Run(path)
        rows.append(run.row(facts, memories.get(int(run.meta["round"]), {})))
    if not rows:
        sys.exit("report.py: no run in %s/out/runs" % rundir)
    columns = FIRST_COLUMNS + [k for k in rows[0] if k not in FIRST_COLUMNS]
    os.makedirs(outdir, exist_ok=True)
    with open(os.path.join(outdir, "results.csv"), "w", newline="") as f:
        writer = csv.DictWriter(f, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    there = {r["backend"] for r in rows}
    backends = [b for b in ORDER if b in there]
    workloads = list(dict.fromkeys(
        r["workload"] for r in rows
        if not r["workload"].startswith(("depth-", "size-"))))
    text = summary(rows, backends, workloads)
    with open(os.path.join(outdir, "report.html"), "w") as f:
        f.write(page(rows, backends, workloads, facts, devices))
    with open(os.path.join(outdir, "summary.txt"), "w") as f:
        f.write(text + "\n")
    print(text)


main()
