#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# deps.sh [--list|--check] - the packages that the micro-benchmark needs; see
# ../deps.sh.
set -eu

kind=benchmark
packages="$(sh "$(dirname "$0")/../unit/deps.sh" --list) linux-libc-dev make python3 strace valgrind"

. "$(dirname "$0")/../deps.sh"
