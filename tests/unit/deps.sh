#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# deps.sh [--list|--check] - the packages that the unit tests need; see
# ../deps.sh.
set -eu

kind='unit tests'
packages="gcc libc6-dev make libcmocka-dev liburing-dev libseccomp-dev libjson-c-dev"

. "$(dirname "$0")/../deps.sh"
