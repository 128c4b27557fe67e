# SPDX-License-Identifier: GPL-2.0-or-later
#
# Verbs for the scenarios about FLASK, on top of lib.sh:
#
#	. /vg/in/dom0/flask.sh

# flask_label DOMAIN TYPE: fail unless it runs with that one.
flask_label() {
	local label

	label=$(xl list -Z "$1" | awk 'NR == 2 { print $NF }')
	expect "system_u:system_r:$2" "$label" "the label of $1"
}

# denials [WORDS]: Xen's lines about what FLASK refused, those with the words.
denials() {
	xl dmesg | grep -a 'avc:  *denied' | grep -a -e "${1:-}" || :
}

# no_denials WHILE: nothing has been refused so far.
no_denials() {
	local line

	line=$(denials | tail -n 1)
	[ -z "$line" ] || fail "$1: FLASK refuses what is needed: $line"
}

# with_privcmd DOMAIN: the device, with Linux' own restriction taken off, so
# that it is Xen that refuses.
with_privcmd() {
	in_domain "$1" 'modprobe xen-privcmd unrestricted=1 &&
		test -c /dev/xen/privcmd'
}

# attempt DOMAIN STATUS WHAT COMMAND: it must end with that status; what it says
# is kept in $said.
attempt() {
	local status=0

	said=$(in_domain "$1" "$4 2>/dev/null") || status=$?
	say "$1, $3: $said"
	expect "$2" "$status" "the status of $4 in $1"
}

# hide_secret GUEST: 64 digits of its own in a file of its page cache.
hide_secret() {
	in_domain "$1" '( printf VG-SECRET:
		head -c 32 /dev/urandom | od -An -v -tx1 | tr -d " \n"
		echo ) >/run/secret; wc -c </run/secret'
}
