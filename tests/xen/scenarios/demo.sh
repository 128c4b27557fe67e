# SPDX-License-Identifier: GPL-2.0-or-later
#
# What `make demo` shows: a stock guest's disk, an ext4 image of the host's,
# served by a driver domain that holds nothing but grants.
#
#	host: image --virtio--> dom0 --PV block--> DomD: /dev/xvda
#					           | virtio-grantd
#		G1: ext4 on /dev/vda <--virtio, grants--+
#
# rig: kernels 6.12
# rig: needs backend modules program:vg-probe
# rig: disk image 96M
# rig: timeout 240

step "the broker in dom0, and a driver domain with the backend"
start_broker
start_driver_domain DomD "disk=[$(pv_disk "$(host_disk image)" xvda)]"
start_backend DomD

step "a stock Debian guest with the virtio-grant modules"
start_guest G1 "disk=[$(virtio_disk /dev/xvda xvda DomD)]"
in_domain G1 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
	modprobe virtio_blk && modprobe virtio_grant_mmio'
retry 20 in_domain G1 'test -b /dev/vda' ||
	fail "no /dev/vda: $(in_domain G1 'dmesg | grep virtio | tail -n 1')"

xl list | while read -r line; do say "$line"; done
for domain in DomD G1; do
	kernel=$(in_domain "$domain" 'uname -r')
	say "$domain runs Linux $kernel"
	result "kernel_$domain" "$kernel"
done
result kernel_dom0 "$(uname -r)"
say "$(in_domain G1 'echo "G1: /dev/vda, $(cat /sys/block/vda/size) sectors," \
	"driver $(basename $(readlink /sys/block/vda/device/driver))" \
	"over $(basename $(readlink /sys/block/vda/device/../driver))"')"

step "G1 reads the host's files"
in_domain G1 'mount -t ext4 /dev/vda /mnt'
read -r good all <<<"$(in_domain G1 'cd /mnt && sha256sum -c SHA256SUMS |
	grep -c ": OK$" | tr "\n" " "; wc -l <SHA256SUMS')"
say "G1 read $all files of the host's, $good with the right checksum"
result guest_files_verified "$good"
expect "$all" "$good" "files with the right checksum"
[ "$all" -ge 2000 ] || fail "the list has only $all files"

step "G1 writes files of its own"
in_domain G1 'mkdir /mnt/guest && cd /mnt/guest && i=0
	while [ $i -lt 300 ]; do
		dd if=/dev/urandom of=f$i bs=$((i * 37 + 1)) count=1
		i=$((i + 1))
	done 2>/dev/null
	dd if=/dev/urandom of=large bs=64k count=100 2>/dev/null
	sha256sum f* large >SHA256SUMS && sync'
in_domain G1 'cd /mnt/guest && wc -l <SHA256SUMS' >/vg/out/written
in_domain G1 'sha256sum /mnt/guest/SHA256SUMS | cut -d " " -f 1' \
	>/vg/out/list-guest
say "G1 wrote $(cat /vg/out/written) files"
result guest_files_written "$(cat /vg/out/written)"

step "what the backend could see"
pages=$(in_domain G1 'cat /sys/bus/platform/devices/*.virtio/grant_pool/pages_total')
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

# tried PLACE RESULT-KEY WANTED-STATUS COMMAND: both things an unprivileged
# domain must not do, or dom0 does.
guest=$(domid G1)
frame=0x40400		# in the guest's kernel, which nobody grants
tried() {
	local what status said

	for what in "map $guest $frame" "dm $guest"; do
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

step "what DomD may not do"
tried DomD "as it runs" 1
in_domain DomD 'test ! -e /dev/xen/privcmd'
in_domain DomD '! ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q privcmd'
in_domain DomD '! grep -q -E "foreignmemory|devicemodel|xenctrl" /proc/$(cat /run/virtio-grant/virtio-grantd.pid)/maps'
in_domain DomD 'modprobe xen-privcmd unrestricted=1 && test -c /dev/xen/privcmd'
tried DomD "with privcmd forced upon it, by Xen" 1
tried dom0 "for comparison" 0
result driver_domain_privileged false

step "G1 unmounts and shuts down"
in_domain G1 'umount /mnt'
stop_guest G1
in_domain DomD 'sync; virtio-grantctl'
stop_guest DomD
