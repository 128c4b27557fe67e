# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guests that there are: a mainline guest with its own grant layer, a stock
# guest without ours (refused in words, and nothing of it is mapped), and our
# modules on 6.1 beside a disk of Xen's own PV block.
#
# rig: kernels 6.12 6.1
# rig: needs backend modules kernel:lockdep
# rig: timeout 300

. /vg/in/dom0/virtio.sh

step "the daemons"
start_broker
start_driver DomD

step "a mainline guest, stock virtio_mmio"
start_guest G1 kernel=lockdep "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
in_domain G1 'modprobe virtio_mmio; modprobe virtio_blk; ! lsmod | grep virtio_grant'
has_disk G1 vda
expect virtio-mmio "$(in_domain G1 'basename $(readlink /sys/block/vda/device/../driver)')" \
	"the transport's driver"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=8m \
	--rw=randrw --bsrange=512-256k --blockalign=512"
fio_verify G1 vda "--ioengine=psync --size=8m --rw=write --bs_unaligned \
	--bsrange=700-60001 --end_fsync=1"
[ "$(stats DomD 'mem.copies')" -gt 0 ] || fail "nothing was copied per request"
result mainline_copies_per_request \
	"$(awk "BEGIN { print $(stats DomD 'mem.copies') / $(stats DomD 'stats.requests') }")"

# The daemon is replaced under the guest, which does not notice.
for bound in 0 4294967295; do
	step "a mainline guest, requests of at most $bound bytes are copied"
	end_daemon DomD virtio-grantd
	start_backend DomD "--copy-max=$bound"
	fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=4m \
		--rw=randrw --bsrange=512-256k --blockalign=512"
	requests=$(stats DomD 'stats.requests')
	maps=$(stats DomD 'mem.maps') copies=$(stats DomD 'mem.copies')
	asked=$(stats DomD 'mem.exchanges')
	say "$requests requests, $maps maps, $copies copies, the mapper asked $asked times"
	[ "$requests" -ge 50 ] || fail "only $requests requests were served"
	# All of a batch at once, in and out; the rings are mapped in any case.
	[ "$asked" -le $((2 * requests + 10)) ] || fail "$requests requests, the mapper asked $asked times"
	if [ "$bound" = 0 ]; then
		[ "$maps" -ge "$requests" ] || fail "$requests requests, only $maps maps"
		[ "$copies" -le $((2 * requests)) ] || fail "$requests requests, $copies copies"
	else
		[ "$maps" -le 6 ] || fail "$maps maps, though all is to be copied"
		[ "$copies" -le $((2 * requests)) ] || fail "$requests requests, $copies copies"
	fi
	expect 0 "$(stats DomD 'blk.errors')" "errors counted by the backend"
done
no_trouble G1
stop_guest G1

step "a stock guest without our modules is refused"
start_guest G2 "disk=[$(virtio_disk /dev/ram1 xvda DomD)]"
began=$SECONDS
in_domain G2 'modprobe virtio_blk; modprobe virtio_mmio' || :
# The probe of the kernel itself waits 10 s for a driver of the grant IOMMU.
log_says DomD 'dom[0-9]+ virtio_disk/51712.*(refused|no.grant)' "the refused guest"
in_domain DomD virtio-grantctl | tee /tmp/ctl
grep -q -i -E 'NEEDS RESET.*no.grant|refused' /tmp/ctl ||
	fail "virtio-grantctl does not say why: $(grep -v '^virtio' /tmp/ctl | head -n 2)"
say "virtio-grantctl: $(grep -i -m 1 -E 'NEEDS RESET|refused' /tmp/ctl)"
expect 0 "$(stats DomD 'mem.mapped_pages_max')" "pages of the refused guest that were mapped"
result refused_after_s $((SECONDS - began))
# Which of these it is, depends on when the driver looks at the device.
in_domain -t 30 G2 'if [ -e /dev/vda ]; then dd if=/dev/vda bs=4k count=1
	else echo "no /dev/vda" >&2; fi >/tmp/read; dmesg | grep virtio_blk' ||
	fail "reading the refused guest's disk hangs"
expect 0 "$(in_domain G2 'wc -c </tmp/read')" "bytes the refused guest can read"
stop_guest G2

step "our modules on 6.1, beside a PV disk"
start_ours G3 kernel=6.1 "disk=[$(virtio_disk /dev/ram2 xvda DomD),$(pv_disk /dev/ram3 xvdb DomD)]"
has_disk G3 xvdb
fio_verify G3 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=8m \
	--rw=randrw --bsrange=512-256k --blockalign=512"
fio_verify G3 xvdb "--ioengine=libaio --direct=1 --iodepth=8 --size=4m \
	--rw=randwrite --bs=4k"
no_trouble G3 DomD
stop_guest G3
