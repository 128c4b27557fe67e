#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# An interactive dom0 on this terminal (make shell).
#
# rig: arch arm64 x86
# rig: kernels 6.12 6.1
# rig: disk scratch 256M

exec "$(dirname "$0")/run.sh" --shell "$@"
