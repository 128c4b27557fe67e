#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
#	needs.sh NAME...	(NAME:VAR=VALUE as for run-all.sh)
#
# Builds what these scenarios say in their heads that they need, and first
# installs, after saying so, what that takes on this machine.

set -eu
. "$(dirname "$0")/lib/common.sh"
. "$VG_LIB/deps.sh"

words=' '
for name; do
	name="${name%%:*}"
	[ -r "$VG_XEN/scenarios/$name.sh" ] ||
		vg_die "there is no scenario called $name (tests/xen/run.sh --list)"
	words+="$(sed -n 's/^# rig: needs *//p' "$VG_XEN/scenarios/$name.sh" |
		tr '\n' ' ')"
done

# vg-resource and others are for domains with FLASK, whose policy is built, too.
vg_need_host_tools rig kernel-build flask
[[ $words != *' backend '* ]] || make -s -C "$VG_TOP" arm64
if [[ $words == *' program:'* ]]; then
	"$VG_XEN/probe/build.sh"
	"$VG_XEN/flask/build.sh"
	"$VG_XEN/isolation/build.sh"
	make -s -C "$VG_TOP" build/arm64/vg-sandbox-probe \
		build/arm64/virtio-grantd-attacked
fi
if [[ $words == *' modules '* ]]; then
	# shellcheck disable=SC2046 # a list of words
	"$VG_TOP/kernel/build.sh" 6.1 6.12 $(tr ' ' '\n' <<<"$words" |
		sed -n 's/^kernel://p' | sort -u)
fi
