# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guest's modules go away and come back at any moment: under load, device
# by device through sysfs, with the stock virtio_mmio loaded before and after.
# Nothing hangs, nothing is left, and no probe waits.
#
# rig: kernels 6.12
# rig: needs backend modules
# rig: timeout 300

. /vg/in/dom0/virtio.sh

CYCLES="${CYCLES:-5}"

# busy DEPTH: load without an end, in G1's background; its end is looked for.
busy() {
	in_domain G1 "rm -f /tmp/ended; ( fio --name=b --filename=/dev/vda \
		--direct=$1 --ioengine=libaio --iodepth=16 --rw=randrw --bs=4k \
		--size=16m --time_based --runtime=$(($(slow 20) + 80)) --output-format=terse \
		>/tmp/busy 2>&1; echo \$? >/tmp/ended ) >/dev/null 2>&1 &
		sleep 1"
}

# ended WHAT: the load has got an error, soon.
ended() {
	retry 20 in_domain G1 'test -e /tmp/ended' || fail "$1: fio hangs"
}

# back WHAT COMMAND: the disk appears, and no probe has waited for its time limit
# (10 s), which costs as much on any machine and is said in the log.
back() {
	local took

	took=$(in_domain -t 60 G1 "read a x </proc/uptime; $2; i=0
		while [ ! -b /dev/vda ] && [ \$i -lt $(slow 300) ]; do
			usleep 50000; i=\$((i + 1)); done
		read b x </proc/uptime; test -b /dev/vda || exit 1
		awk \"BEGIN { print \$b - \$a }\"") || fail "$1: no /dev/vda"
	echo "$1: /dev/vda after $took s"
	awk "BEGIN { exit !($took < $(slow 9)) }" || fail "$1: /dev/vda took $took s"
	if in_domain G1 'dmesg | grep -i "deferred probe timeout"'; then
		fail "$1: a probe waited for its time limit"
	fi
	echo "$took" >>/tmp/took
}

step "the daemons, and a guest with stock virtio_mmio loaded first"
start_broker
start_driver DomD
start_guest G1 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
in_domain G1 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
	modprobe virtio_mmio && modprobe virtio_blk'
back "after stock virtio_mmio" 'modprobe virtio_grant_mmio'
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"

step "unload and reload under load"
for i in $(seq "$CYCLES"); do
	busy $((i % 2))
	in_domain -t 30 G1 'rmmod virtio_grant_mmio' || fail "rmmod of the transport"
	ended "rmmod"
	expect 0 "$(in_domain G1 'cat /sys/module/virtio_grant_dma/parameters/quarantined_pages')" \
		"quarantined pages"
	in_domain -t 30 G1 'rmmod virtio_grant && rmmod virtio_grant_dma' || fail "rmmod of the DMA layer"
	back "reload $i" 'modprobe virtio_grant_mmio'
	expect 0 "$(in_domain G1 'cat /sys/block/vda/ro')" "vda/ro"
done
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"
no_trouble G1

step "unbind and bind through sysfs, under load"
for i in $(seq "$CYCLES"); do
	busy 1
	in_domain -t 30 G1 'cd /sys/bus/platform/drivers/virtio-grant-mmio &&
		echo 2000000.virtio >unbind' || fail "unbind"
	ended "unbind"
	back "bind $i" 'echo 2000000.virtio >/sys/bus/platform/drivers/virtio-grant-mmio/bind'
done
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"

step "the block driver away under load, and stock virtio_mmio last"
in_domain G1 'rmmod virtio_mmio'
busy 1
in_domain -t 30 G1 'cd /sys/bus/virtio/drivers/virtio_blk &&
	echo virtio* >/tmp/dev; for d in virtio*; do echo $d >unbind; done' ||
	fail "unbind of virtio_blk"
ended "unbind of virtio_blk"
back "bind of virtio_blk" 'cd /sys/bus/virtio/drivers/virtio_blk
	for d in $(cat /tmp/dev); do echo $d >bind; done'
in_domain G1 'modprobe virtio_mmio'
expect virtio-grant-mmio "$(in_domain G1 'basename $(readlink /sys/bus/platform/devices/2000000.virtio/driver)')" \
	"the driver, with the stock one loaded last"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"

# says WORDS: the guest's log, since the module was loaded.
says() {
	in_domain G1 "dmesg | grep -F -- '$1'" || fail "the guest does not say '$1'"
}

step "device types that the guest does not accept, and lists that are none"
in_domain G1 'rmmod virtio_grant_mmio'
for types in '' disk block,,net 0 128; do
	in_domain G1 "dmesg -c >/dev/null; ! modprobe virtio_grant_mmio types=$types" ||
		fail "loaded with types=$types"
	says 'is no type of device'
done
in_domain G1 'modprobe virtio_grant_mmio types=net,console,26'
says 'refused: a device of type 2 (block), this guest accepts types=net,console,26'
in_domain G1 '! ls /sys/bus/virtio/devices | grep .' || fail "and there is one"
in_domain G1 'rmmod virtio_grant_mmio'

step "a device that xenstore says nobody serves: no access, but a message"
# Another node in its place, for its own is what the daemons look at.
front="/local/domain/$(domid G1)/device/virtio_disk/51712/backend"
other="/local/domain/$(domid G1)/data/nobody"
node=$(xenstore-read "$front")
xenstore-write "$other/base" "$(xenstore-read "$node/base")" "$other/state" 6 \
	"$front" "$other"
in_domain -t 30 G1 'dmesg -c >/dev/null; modprobe virtio_grant_mmio'
says 'no backend serves it (state 6 in xenstore)'
xenstore-rm "$other/state"
in_domain -t 30 G1 'dmesg -c >/dev/null
	! echo 2000000.virtio >/sys/bus/platform/drivers/virtio-grant-mmio/bind'
says 'no backend serves it (state 0 in xenstore)'
in_domain G1 'dmesg -c >/dev/null'
xenstore-rm "$other/base"	# as if it was detached
in_domain G1 'sleep 10; ! ls /sys/bus/virtio/devices | grep .' ||
	fail "a device that nobody serves"
expect "" "$(in_domain G1 'dmesg')" "what is said of probing again"
xenstore-write "$front" "$node"

step "it is there when somebody serves it, by itself"
retry 60 in_domain G1 'test -b /dev/vda' || fail "it does not appear"
in_domain G1 'rmmod virtio_grant_mmio'
back "with its state" 'modprobe virtio_grant_mmio types=2'

step "a driver domain that stands still while the guest looks for its disk"
in_domain G1 'rmmod virtio_grant_mmio; dmesg -c >/dev/null'
xl pause DomD
in_domain G1 'modprobe virtio_grant_mmio'
says 'no backend answers'
in_domain G1 '! ls /sys/bus/virtio/devices | grep .' || fail "a device that nobody serves"
xl unpause DomD
retry 60 in_domain G1 'test -b /dev/vda' || fail "it does not appear"
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=2m --rw=randwrite --bs=4k"
median=$(sort -g /tmp/took | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }')
result probe_s_median "$median"
result probe_s_slowest "$(sort -g /tmp/took | tail -n 1)"
# Each is bounded by back() above, well below the 10 s; how much below is a
# matter of how busy the machine is.
no_trouble G1 DomD
expect "" "$(backend_log DomD | grep -i error || :)" "errors in the backend's log"
stop_guest G1
