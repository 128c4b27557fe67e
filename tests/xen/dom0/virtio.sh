# SPDX-License-Identifier: GPL-2.0-or-later
#
# Verbs for scenarios about virtio-grant's own disks, on top of lib.sh:
#
#	. /vg/in/dom0/virtio.sh

VG_FIO='--verify=crc32c --verify_fatal=1 --randrepeat=0 --output-format=terse'

# load_ours NAME [PARAMETERS]: the project's modules, and the stock block driver.
# The kernel of an initramfs without /sbin/modprobe is told where that is.
load_ours() {
	in_domain "$1" "echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
		modprobe virtio_blk && modprobe virtio_grant_mmio ${2:-}" ||
		fail "the modules do not load in $1"
}

# has_disk NAME DEVICE...: wait for them.
has_disk() {
	local name="$1" device

	shift
	for device; do
		retry 30 in_domain "$name" "test -b /dev/$device" ||
			fail "$name has no /dev/$device:" \
				"$(in_domain "$name" 'dmesg | grep -i virtio |
					tail -n 3')"
	done
}

# start_ours NAME [WORDS]: a guest with its virtio disks there.
start_ours() {
	start_guest "$@"
	load_ours "$1"
	has_disk "$1" vda
}

# fio_verify NAME DEVICE WORDS: what is written is read back, or it fails.
fio_verify() {
	echo "-- fio in $1 on $2: $3"
	in_domain -t 240 "$1" "fio --name=v --filename=/dev/$2 $VG_FIO $3 \
		--output=/tmp/fio.$2 2>&1 || { tail -n 5 /tmp/fio.$2; exit 1; }" ||
		fail "fio in $1 on $2: $3"
}

# stop_loaded NAME DEVICE: an orderly end of a guest that reads it all the time.  When it
# is over, the backend maps nothing of it any more (a kexec would need that).
stop_loaded() {
	in_domain "$1" "dmesg -n 8
		setsid sh -c 'while dd if=/dev/$2 of=/dev/null bs=64k iflag=direct; do :; done' \
			</dev/null >/dev/null 2>&1 &"
	sleep 1
	stop_guest "$1"
	! grep -a "still maps" "$(console "$1")" ||
		fail "$1 has ended, and something of it is mapped"
}

# start_driver NAME [WORDS of start_backend]: driver domain with RAM disks of
# 32 MiB and the daemon.
start_driver() {
	local name="$1"

	shift
	start_driver_domain "$name"
	in_domain "$name" "modprobe brd rd_nr=${VG_RAMDISKS:-4} rd_size=32768"
	start_backend "$name" "$@"
}

# stats DOMAIN PATTERN: the sum of the counters of its virtio-grantctl whose
# names end like that ("blk.reads").
stats() {
	local text

	if [ "$1" = dom0 ]; then
		text=$(virtio-grantctl stats)
	else
		text=$(in_domain "$1" 'virtio-grantctl stats')
	fi || return 1
	awk -v key="$2" '$(NF - 1) ~ key "$" { n += $NF } END { print n + 0 }' <<<"$text"
}

# no_trouble NAME...: nothing that a kernel complains about with a trace, since it
# has run /init: before that none of our code is in it, and where two machines boot
# at once, one is in its own initcalls for longer than its watchdog likes.
no_trouble() {
	local name bad

	for name; do
		# What a killed backend had mapped, is late by design.
		bad=$(in_domain "$name" "dmesg | awk '{ line[n++] = \$0 }
			/Run .* as init process/ { n = 0 }
			END { for (i = 0; i < n; i++) print line[i] }' |
			grep -v 'g\.e\. 0x' | grep -m 3 -E \
			'BUG:|BUG at|WARNING:|Oops|Call trace|INFO: task|KASAN|refcount_t'" ||
			:)
		[ -z "$bad" ] || fail "the kernel of $name complains: $bad"
	done
}

# log_says DOMAIN PATTERN WHAT: its backend's log does, before long.  Some lines come
# when the guest's kernel has waited for 10 s.
_log_has() {
	# Not -q: it would end before the log does, and the pipe with it.
	backend_log "$1" | grep -E -- "$2" >/dev/null
}

log_says() {
	retry 30 _log_has "$1" "$2" ||
		fail "$3: no line /$2/ in the backend's log, which ends:" \
			"$(backend_log "$1" | tail -n 2)"
	say "log: $(backend_log "$1" | grep -E -- "$2" | tail -n 1)"
}

# daemon_pid DOMAIN PROGRAM
daemon_pid() {
	if [ "$1" = dom0 ]; then
		cat "/run/virtio-grant/$2.pid"
	else
		in_domain "$1" "cat /run/virtio-grant/$2.pid"
	fi
}

_program_is_gone() {
	if [ "$1" = dom0 ]; then
		! pidof "$2" >/dev/null
	else
		in_domain "$1" "! pidof $2 >/dev/null"
	fi
}

# end_daemon DOMAIN PROGRAM [SIGNAL]: and wait for the end of all of it.
end_daemon() {
	local pid

	pid=$(daemon_pid "$1" "$2") || fail "$2 has no pid file in $1"
	if [ "$1" = dom0 ]; then
		kill "-${3:-TERM}" "$pid"
	else
		in_domain "$1" "kill -${3:-TERM} $pid"
	fi
	retry 20 _program_is_gone "$1" "$2" || fail "$2 does not end in $1"
}

# traps: Xen's MMIO traps since perf_reset.
traps() {
	_need_perf
	xenperf -f >"$VG_RUN/perf" 2>/dev/null
	awk '/^trap: guest data abort/ {
		for (i = 1; i <= NF; i++)
			if ($i ~ /^T=/) {
				v = substr($i, 3)
				n = v == "" ? $(i + 1) : v
			}
	} END { print n + 0 }' "$VG_RUN/perf"
}
