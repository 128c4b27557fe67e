#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs the scenario in dom0 and writes its verdict.  A scenario passes if it
# comes to its end: any command that fails, fails it.

. /vg/in/dom0/lib.sh

set -eEuo pipefail
trap '_failed "$?" "$BASH_COMMAND" "${BASH_SOURCE[0]##*/}:$LINENO"' ERR
trap _finish EXIT

# The host looks several times a second whether dom0 is up.
for i in {1..50}; do
	[ ! -e /vg/pace ] || break
	sleep 0.2
done
set_pace "$(cat /vg/pace 2>/dev/null || echo 10)"
. "/vg/in/scenario.sh"

_verdict PASS
