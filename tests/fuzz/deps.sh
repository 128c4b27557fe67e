#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# deps.sh [--list|--check] - the packages that the fuzzers need; see ../deps.sh.
set -eu

kind=fuzzers
packages="$(sh "$(dirname "$0")/../unit/deps.sh" --list) clang libclang-rt-dev"

. "$(dirname "$0")/../deps.sh"
