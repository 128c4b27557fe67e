#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# check.sh - are the patch and the policy module what README.md says?  Called by
# spec/check.sh; the same kind of output and exit status.
#
# XEN_TAR: Xen's sources (a tarball or a directory), which the patch must apply
# to and whose policy the module must compile with.  Without: the ones that the
# rig has fetched, if it has.  Needs checkpolicy and m4 for the policy.

set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
failed=0

# verdict WHAT [COMPLAINT]
verdict() {
	if [ -z "${2:-}" ]; then
		echo "PASS spec/xen: $1"
	else
		failed=1
		echo "FAIL spec/xen: $1: $(tr -s '\n' ';' <<<"$2" | sed 's/;$//; s/;/; /g')"
	fi
}

patches=$(printf '%s\n' "$here"/*.patch)
for patch in $patches; do
	why=$(git apply --numstat "$patch" 2>&1 >/dev/null)
	verdict "${patch##*/} is well-formed" "$why"
done

if [ -z "${XEN_TAR:-}" ]; then
	XEN_TAR=$(cat "${XDG_CACHE_HOME:-$HOME/.cache}/virtio-grant/source-xen" \
		2>/dev/null)
fi
if [ ! -r "$XEN_TAR" ]; then
	echo "SKIP spec/xen: patch and policy against Xen's sources (make rig fetches them)"
	exit $failed
fi
version=${XEN_TAR##*/xen_}
version=${version%.orig.tar.*}
# shellcheck source=SCRIPTDIR/../../tests/xen/lib/apt.sh
. "$top/tests/xen/lib/apt.sh"
# shellcheck source=SCRIPTDIR/../../tests/xen/lib/sources.sh
. "$top/tests/xen/lib/sources.sh"
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
vg_source_unpack xen "$XEN_TAR" "$tmp/plain" --wildcards \
	'*/tools/flask/policy' '*/xen/xsm' '*/xen/include/xsm' \
	'*/xen/common/memory.c' '*/xen/arch/arm/vtimer.c' \
	'*/xen/arch/arm/configs' || exit 1
cp -r "$tmp/plain" "$tmp/typed"
why=
for patch in $patches; do
	why+=$(patch -d "$tmp/typed" -p1 -s -f -F0 <"$patch" 2>&1)
done
verdict "the patches apply to Xen $version" "$why"

if ! command -v checkpolicy >/dev/null || ! command -v m4 >/dev/null; then
	echo "SKIP spec/xen: the policy (no checkpolicy or no m4)"
	exit $failed
fi

# compile TREE [RULE]: its policy with the module, the rig's test module and
# one more rule.
compile() {
	local policy="$tmp/$1/tools/flask/policy" out="$tmp/$1.out"

	cp "$here"/flask/*.{if,te} "$top"/tests/xen/flask/*.te "$policy/modules/"
	printf '%s\n' "${2:-}" >"$policy/modules/one_more.te"
	grep -q virtio_grant "$policy/modules/modules.conf" ||
		printf '%s = on\n' virtio_grant vg_experiment one_more \
			>>"$policy/modules/modules.conf"
	rm -rf "$out"
	mkdir "$out"
	make -s -f "$policy/Makefile.common" -C "$policy" \
		XEN_FULLVERSION=check FLASK_BUILD_DIR="$out" >"$out/log" 2>&1 &&
		[ -s "$out/xenpolicy-check" ]
}

for tree in plain typed; do
	why=
	compile $tree || why=$(tail -n 3 "$tmp/$tree.out/log")
	verdict "the policy module compiles with Xen's policy ($tree)" "$why"
done

# What makes the driver domain or the broker privileged must not compile, for
# that reason and no other.
n=0
why=
while read -r rule; do
	n=$((n + 1))
	if compile plain "$rule"; then
		why+="compiles: $rule"$'\n'
	elif ! grep -q 'neverallow on line' "$tmp/plain.out/log"; then
		why+="$rule: $(grep -m 1 -i error "$tmp/plain.out/log")"$'\n'
	fi
done <<'EOR'
allow vg_driver_t domU_t:mmu map_read;
allow vg_driver_t domU_t:mmu { map_read map_write };
allow vg_driver_t isolated_domU_t:mmu physmap;
allow vg_driver_t domU_t:hvm dm;
allow vg_driver_t domU_t:domain2 resource_map;
allow vg_driver_t domU_t:domain set_target;
allow vg_driver_t dom0_t:domain getdomaininfo;
allow vg_driver_t domU_t:grant transfer;
allow vg_driver_t xen_t:xen readconsole;
allow vg_driver_t xen_t:xen2 livepatch_op;
allow vg_driver_t security_t:security load_policy;
migrate_domain_out(vg_driver_t, domU_t)
allow vg_broker_t domU_t:mmu map_read;
allow vg_broker_t domU_t:grant map_read;
allow vg_broker_t domU_t:hvm { dm setparam };
EOR
verdict "$n rules that the module forbids do not compile" "$why"
exit $failed
