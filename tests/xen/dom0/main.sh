#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs the scenario in dom0 and writes its verdict.  A scenario passes if it
# comes to its end: any command that fails, fails it.

. /vg/in/dom0/lib.sh

set -eEuo pipefail
trap '_failed "$?" "$BASH_COMMAND" "${BASH_SOURCE[0]##*/}:$LINENO"' ERR
trap _finish EXIT

. /vg/in/env
. "/vg/in/scenario.sh"

_verdict PASS
