# SPDX-License-Identifier: GPL-2.0-or-later
#
# What `make demo` shows, whichever way the disk comes: the halves that the scenarios
# demo (the Xen bus) and demo-mmio share.
#
#	. /vg/in/dom0/demo.sh

# demo_backend: the driver domain DomD, which has the host's image as /dev/xvda.
demo_backend() {
	start_driver_domain DomD "disk=[$(pv_disk "$(host_disk image)" xvda)]"
	start_backend DomD
}

demo_who() {
	local domain kernel

	xl list | while read -r line; do say "$line"; done
	for domain in DomD G1; do
		kernel=$(in_domain "$domain" 'uname -r')
		say "$domain runs Linux $kernel"
		result "kernel_$domain" "$kernel"
	done
	result kernel_dom0 "$(uname -r)"
}

demo_disk() {
	say "$(in_domain G1 'echo "G1: /dev/vda, $(cat /sys/block/vda/size) sectors," \
		"driver $(basename $(readlink /sys/block/vda/device/driver))" \
		"over $(lsmod | sed -n "s/^\(virtio_grant_[mb][^ ]*\) .*/\1/p")"')"
}

demo_reads() {
	local good all

	in_domain G1 'mount -t ext4 /dev/vda /mnt'
	read -r good all <<<"$(in_domain G1 'cd /mnt && sha256sum -c SHA256SUMS |
		grep -c ": OK$" | tr "\n" " "; wc -l <SHA256SUMS')"
	say "G1 read $all files of the host's, $good with the right checksum"
	result guest_files_verified "$good"
	expect "$all" "$good" "files with the right checksum"
	[ "$all" -ge 2000 ] || fail "the list has only $all files"
}

demo_writes() {
	in_domain G1 'mkdir /mnt/guest && cd /mnt/guest && i=0
		while [ $i -lt 300 ]; do
			dd if=/dev/urandom of=f$i bs=$((i * 37 + 1)) count=1
			i=$((i + 1))
		done 2>/dev/null
		dd if=/dev/urandom of=large bs=64k count=100 2>/dev/null
		sha256sum f* large >SHA256SUMS && sync'
	in_domain G1 'cd /mnt/guest && wc -l <SHA256SUMS' >/vg/out/written
	# Another way than the disk, for the host to compare with.
	in_domain G1 'sha256sum /mnt/guest/SHA256SUMS | cut -d " " -f 1' \
		>/vg/out/list-guest
	say "G1 wrote $(cat /vg/out/written) files"
	result guest_files_written "$(cat /vg/out/written)"
}

# demo_reach PAGES: what the backend can reach, where so many are granted beside
# the device's pool.
demo_reach() {
	local pages reachable memory most

	pages=$(in_domain G1 'cat $(find /sys/devices -name pages_total)')
	pages=$((pages + $1))
	reachable=$((pages * 4096))
	memory=$(($(xl list G1 | awk 'NR == 2 { print $3 }') * 1048576))
	most=$(in_domain DomD 'virtio-grantctl stats' |
		awk '/mapped_pages_max/ { print $NF }')
	say "granted to DomD: $reachable of G1's $memory bytes" \
		"($((reachable * 1000 / memory / 10)).$((reachable * 1000 / memory % 10)) %), in which only the bytes in flight lie"
	say "mapped there at once, at most: $most pages"
	result guest_bytes_reachable "$reachable"
	result guest_bytes "$memory"
	result backend_mapped_pages_max "$most"
	[ "$most" -gt 0 ] && [ "$most" -le "$pages" ] ||
		fail "the backend has mapped $most pages of $pages granted"
	[ "$reachable" -lt $((memory / 10)) ] || fail "that is too much"
}

# tried PLACE TEXT WANTED-STATUS: both things that an unprivileged domain must not
# do, and dom0 does.
tried() {
	local what status said guest frame

	guest=$(domid G1)
	# In the guest's kernel, which nobody grants.
	case "$VG_ARCH" in
	x86) frame=0x1000 ;;
	*) frame=0x40400 ;;
	esac
	for what in "map $guest $frame" "dm $guest"; do
		case "$what:$VG_ARCH:${VG_XEN_VARIANT:-}" in
		dm*:arm64:stock) continue ;;	# it has none, for nobody
		esac
		status=0
		if [ "$1" = dom0 ]; then
			said=$(vg-probe $what 2>/dev/null) || status=$?
		else
			said=$(in_domain "$1" "vg-probe $what 2>/dev/null") ||
				status=$?
		fi
		say "$1, $2: $said"
		expect "$3" "$status" "vg-probe $what in $1"
	done
}

demo_privileges() {
	tried DomD "as it runs" 1
	in_domain DomD 'test ! -e /dev/xen/privcmd'
	in_domain DomD '! ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q privcmd'
	in_domain DomD '! grep -q -E "foreignmemory|devicemodel|xenctrl" /proc/$(cat /run/virtio-grant/virtio-grantd.pid)/maps'
	in_domain DomD 'modprobe xen-privcmd unrestricted=1 && test -c /dev/xen/privcmd'
	tried DomD "with privcmd forced upon it, by Xen" 1
	tried dom0 "for comparison" 0
	result driver_domain_privileged false
}
