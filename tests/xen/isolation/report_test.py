#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Whether report.py finds what it is there to find: a made-up run that is good,
# then the same with one thing wrong at a time.

import copy
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import report  # noqa: E402

TRUTH = """guest 2 256
neighbour 3 192
driver 1 131072
pool guest 0 8 100
pool guest 1 108 100
pool guest 2 208 50
page guest 300
page neighbour 301
front /local/domain/2/device/virtio_grant/7
pool neighbour 0 8 100
relay 0 8 10
frames 131078
"""

FRONT = "/local/domain/2/device/virtio_grant/7"


def attempt(what, target="guest", made=10, objects="", found=None):
    allowed = len(report.numbers(objects))
    return {"what": what, "target": target, "domid": 2, "made": made,
            "allowed": allowed, "refused": {"EPERM": made - allowed},
            "pages_searched": allowed, "objects": objects,
            "found": {n: {"bytes": 64, "objects": o}
                      for n, o in (found or {}).items()}}


def good(settings=""):
    must = report.must_be_made({"x86": int("x86 1" in settings)})
    ours = [attempt(what) for what in must
            if not what.startswith("relay.") and what != "sample"]
    ours += [attempt(what, "broker", 2, "8") for what in must
             if what.startswith("relay.") and "x86 1" not in settings]
    ours += [
        attempt("sample", "guest", 1, "8",
                {"inflight": "8-12", "inflight_b": "120",
                 "inflight_c": "208"}),
        attempt("sample", "neighbour", 1, "8", {"n_inflight": "9"}),
        attempt("grant.map_ro", "guest", 300, "8-257,300"),
        attempt("grant.map_ro", "dom0", 300, "8"),
        attempt("grant.map_ro", "neighbour", 300, "8,301"),
    ]
    conventional = [attempt("frame.add_to_physmap_batch", "guest", 10, "0-9",
                            {n: "3" for n in report.MUST_BE_FOUND})]
    return ours, conventional


def verdict(ours, conventional, settings=""):
    with tempfile.TemporaryDirectory() as run:
        for name, attempts in (("ours", ours), ("conventional", conventional)):
            os.makedirs(os.path.join(run, "out", name))
            with open(os.path.join(run, "out", name, "a.json"), "w") as f:
                f.writelines(json.dumps(a) + "\n" for a in attempts)
        with open(os.path.join(run, "out/ours/truth"), "w") as f:
            f.write(TRUTH)
        with open(os.path.join(run, "out/ours/nodes"), "w") as f:
            f.write("/\n/local/domain/2/name\n/local/domain/0/name\n" +
                    "".join(FRONT + "/%s\n" % key
                            for key in report.FRONT_KEYS))
        with open(os.path.join(run, "out/settings"), "w") as f:
            f.write("step 64\nguest_mib 256\n" + settings)
        done = subprocess.run([sys.executable, os.path.join(HERE, "report.py"),
                               run, os.path.join(run, "report")],
                              capture_output=True, text=True, check=False)
        if done.stderr:
            sys.exit(done.stderr)
        return done.returncode, done.stdout


# What is wrong, and what of the report must say so.
WRONG = {
    "a frame of the guest's": (attempt("frame.multicall", objects="262144"),
                               "frame.multicall at guest"),
    "a reference beside the pool": (attempt("grant.map_ro", objects="257-258"),
                                    "not in the allowlist: 258"),
    "a reference beside the message page": (
        attempt("grant.map_rw", objects="299-301"),
        "not in the allowlist: 299, 301"),
    "the neighbour's message page as the guest's": (
        attempt("grant.map_rw", objects="301"),
        "not in the allowlist: 301"),
    "the front's type": (attempt("store.write", objects="4"),
                         FRONT + "/device-id"),
    "a key of the front's": (attempt("bus.front", objects="4"), "bus.front"),
    "a reference of dom0's": (attempt("grant.map_rw", "dom0", objects="9"),
                              "grant.map_rw at dom0"),
    "a device-model operation": (attempt("dm_op", objects="20"), "dm_op"),
    "another domain's node": (attempt("store.read", "dom0", objects="3"),
                              "/local/domain/0/name"),
    "more frames than it has": (
        dict(attempt("grant.cache_flush", "host", objects="1"),
             allowed=131078 + 354), "grant.cache_flush"),
    "a secret in the pool": (attempt("sample", objects="8",
                                     found={"canary": "8"}), "'canary' in 8"),
    "in flight, in another disk's pool": (
        attempt("sample", objects="8", found={"inflight": "108"}),
        "'inflight' in 108"),
    "in flight, in the neighbour's pool": (
        attempt("sample", "neighbour", objects="8", found={"inflight": "8"}),
        "'inflight' in 8"),
}


def main():
    bad = 0
    status, said = verdict(*good())
    if status or "PROBLEM" in said:
        print("FAIL a good run is not good: " + said)
        bad += 1
    for name, (wrong, expected) in WRONG.items():
        ours, conventional = good()
        status, said = verdict(ours + [wrong], conventional)
        if status != 1 or expected not in said:
            print("FAIL not noticed: %s (%s)" % (name, said.strip()))
            bad += 1
    ours, conventional = good()
    status, said = verdict(ours, [])
    if status != 1 or "attacker is broken" not in said:
        print("FAIL not noticed: an attacker that finds nothing anywhere")
        bad += 1
    status, said = verdict([a for a in ours if a["what"] != "domctl"],
                           conventional)
    if status != 1 or "domctl: was not tried" not in said:
        print("FAIL not noticed: something that was not tried")
        bad += 1
    blind = copy.deepcopy(ours)
    for a in blind:
        a["found"] = {}
    status, said = verdict(blind, conventional)
    if status != 1 or "was not found in the pool" not in said:
        print("FAIL not noticed: a search that is blind")
        bad += 1
    less = [a for a in ours if not a["what"].startswith("store.")]
    status, said = verdict(less, conventional)
    if status != 1 or "store.read: was not tried" not in said:
        print("FAIL not noticed: a part that was left out")
        bad += 1
    status, said = verdict(less, [], "flask 1\nwithout_store 1\n")
    if status or "PROBLEM" in said:
        print("FAIL a good run with FLASK is not good: " + said)
        bad += 1
    status, said = verdict(ours + [attempt("frame.multicall", objects="9")], [],
                           "flask 1\n")
    if status != 1 or "frame.multicall at guest" not in said:
        print("FAIL not noticed, with FLASK: a frame of the guest's")
        bad += 1
    x86 = "x86 1\nwithout_relay 1\n"
    ours, conventional = good(x86)
    status, said = verdict(ours, conventional, x86)
    if status or "PROBLEM" in said:
        print("FAIL a good run on x86 is not good: " + said)
        bad += 1
    status, said = verdict([a for a in ours if a["what"] != "mmu_update"],
                           conventional, x86)
    if status != 1 or "mmu_update: was not tried" not in said:
        print("FAIL not noticed, on x86: something that was not tried")
        bad += 1
    pirq = attempt("event.bind_pirq", "host", objects="0-9")
    status, said = verdict(ours + [pirq], conventional, x86)
    if status or "PROBLEM" in said:
        print("FAIL what x86 allows is not allowed there: " + said)
        bad += 1
    status, said = verdict(good()[0] + [pirq], conventional)
    if status != 1 or "event.bind_pirq at host" not in said:
        print("FAIL not noticed, on Arm: what x86 alone allows")
        bad += 1
    status, said = verdict(ours, conventional, "x86 1\n")
    if status != 1 or "relay.lies: was not tried" not in said:
        print("FAIL not noticed, on x86: a part that was left out")
        bad += 1
    print("%d of %d made-up runs were judged wrongly" % (bad, len(WRONG) + 12))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
