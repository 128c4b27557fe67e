#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
#	rules.sh UNIT
#
# Prints what a systemd unit restricts, for vg-confine (confine.c), with the
# groups of system calls expanded by this machine's systemd.  Knows the
# directives that the project's units use; one that it does not know, it names on
# stderr and goes on, with status 3 at the end.

set -u
unit="$1"
status=0

# calls NAME...: the system calls of groups and single ones, sorted.
calls() {
	local name

	for name; do
		case "$name" in
		@*) group "$name" ;;
		*) printf '%s\n' "$name" ;;
		esac
	done | sort -u
}

group() {
	local name

	for name in $(systemd-analyze --no-pager syscall-filter "$1" |
			sed -e 1,2d -e '/^ *#/d'); do
		case "$name" in
		@*) group "$name" ;;
		*) printf '%s\n' "$name" ;;
		esac
	done
}

allowed=$(mktemp) && change=$(mktemp) || exit 1
trap 'rm -f "$allowed" "$change"' EXIT
while IFS='=' read -r key value; do
	case "$key" in
	SystemCallFilter)
		# shellcheck disable=SC2086 # a list of words
		calls ${value#\~} >"$change"
		case "$value" in
		'~'*) sort "$allowed" | comm -23 - "$change" >"$allowed.new" ;;
		*) sort -u "$allowed" "$change" >"$allowed.new" ;;
		esac
		mv "$allowed.new" "$allowed" ;;
	CapabilityBoundingSet|RestrictNamespaces|RestrictAddressFamilies|\
	NoNewPrivileges|PrivateNetwork|PrivateMounts|PrivateTmp|ProtectSystem|\
	ProtectHome|ProtectProc|ProtectKernelTunables|ProtectControlGroups|\
	MemoryDenyWriteExecute|UMask|LimitCORE|LimitMEMLOCK)
		printf '%s %s\n' "$key" "$value" ;;
	# What needs a control group, or concerns calls that these programs do
	# not make at all.
	DevicePolicy|DeviceAllow|IPAddressDeny|KeyringMode|LockPersonality|\
	RestrictRealtime|RestrictSUIDSGID|ProtectClock|ProtectHostname|\
	ProtectKernelLogs|ProtectKernelModules|SystemCallArchitectures|\
	SystemCallErrorNumber)
		;;
	Type|ExecStart|Restart|RestartSec|KillMode|TimeoutStopSec|\
	RuntimeDirectory|RuntimeDirectoryMode|RuntimeDirectoryPreserve)
		;;
	*)
		echo "rules.sh: $unit: what does $key do?" >&2
		status=3 ;;
	esac
done < <(sed -n '/^\[Service\]/,/^\[Install\]/{/^[A-Z][A-Za-z]*=/p}' "$unit")
if [ -s "$allowed" ]; then
	# default: what systemd always lets through.
	printf 'SystemCallFilter %s\n' "$(group @default | sort -u - "$allowed" |
		tr '\n' ' ')"
fi
exit $status
