# SPDX-License-Identifier: GPL-2.0-or-later
#
# Several queues per device, each run by a thread of the backend: a guest with
# two vCPUs, a driver domain with two.  Data are verified while both queues
# work, in every mode of the guest's modules and with a mainline guest; both
# queues did work, each in its thread; a broker and a worker that are killed
# meanwhile cost nothing but time.
#
# rig: kernels 6.12 lockdep
# rig: needs backend modules kernel:lockdep
# rig: timeout 400

. /vg/in/dom0/virtio.sh

# lanes: the worker's threads in DomD but its main one and the kernel's.
lanes() {
	in_domain DomD "cat /proc/$(stats DomD worker_pid)/task/*/comm |
		grep -c -v '^iou-'" | awk '{ print $1 - 1 }'
}

# both_work DEVICE: verified load with a job bound to each vCPU.
both_work() {
	fio_verify G1 "$1" "--ioengine=libaio --direct=1 --iodepth=16 --size=1m \
		--rw=randrw --bssplit=512/10:4k/50:64k/35:256k/5 --numjobs=2 \
		--offset_increment=4m --cpus_allowed=0-1 --cpus_allowed_policy=split"
}

# assert_both MODE
assert_both() {
	local i n

	expect 2 "$(lanes)" "threads of queues ($1)"
	for i in 0 1; do
		n=$(stats DomD "queues.$i.requests")
		[ "$n" -ge 30 ] || fail "$1: queue $i served $n requests"
		result "requests_$1_$i" "$n"
	done
}

step "a driver domain and a guest with two vCPUs each"
start_broker
start_driver_domain DomD vcpus=2
in_domain DomD "modprobe brd rd_nr=1 rd_size=32768"
start_backend DomD --queues=2
start_guest G1 vcpus=2 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
in_domain G1 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe; modprobe virtio_blk'

for mode in 11 10 01 00; do
	step "use_ranges=${mode:0:1} use_events=${mode:1:1}"
	in_domain G1 "modprobe virtio_grant use_ranges=${mode:0:1} use_events=${mode:1:1}
		modprobe virtio_grant_mmio"
	has_disk G1 vda
	expect 2 "$(in_domain G1 'ls /sys/block/vda/mq | wc -l')" "queues of vda"
	both_work vda
	assert_both "$mode"
	expect 0 "$(stats DomD 'blk.errors')" "errors counted by the backend"
	# What is announced is registered with io_uring.
	case "$mode" in
	1?) [ "$(stats DomD 'blk.registered')" -gt 0 ] || fail "no request went through a registered buffer" ;;
	esac
	if [ "$mode" = 11 ]; then
		step "a broker and a worker die under load"
		in_domain G1 "rm -f /tmp/ended; ( fio --name=k --filename=/dev/vda $VG_FIO \
			--ioengine=libaio --direct=1 --iodepth=8 --size=1m --rw=randwrite \
			--bs=4k --numjobs=2 --offset_increment=8m --cpus_allowed=0-1 \
			--cpus_allowed_policy=split --output=/tmp/fio.k 2>/tmp/fio.err
			echo \$? >/tmp/ended ) >/dev/null 2>&1 &"
		sleep 1
		end_daemon dom0 virtio-grant-broker KILL
		rm -f /run/virtio-grant/broker.sock
		start_broker
		in_domain DomD "kill -9 $(stats DomD worker_pid)"
		retry 100 in_domain G1 'test -e /tmp/ended' || fail "fio does not end"
		expect 0 "$(in_domain G1 'cat /tmp/ended; tail -n 3 /tmp/fio.err')" "fio's status"
		expect 2 "$(lanes)" "threads of queues after a restart"
		[ "$(stats DomD takeovers)" -ge 1 ] || fail "no device was taken over"
	fi
	no_trouble G1
	in_domain G1 'rmmod virtio_grant_mmio && rmmod virtio_grant'
	expect 0 "$(lanes)" "threads of queues of a device without driver"
done

stop_guest G1

step "a mainline guest"
start_guest G1 kernel=lockdep vcpus=2 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
in_domain G1 'modprobe virtio_mmio; modprobe virtio_blk'
has_disk G1 vda
both_work vda
assert_both mainline
expect 0 "$(stats DomD 'blk.errors')" "errors counted by the backend"
[ "$(stats DomD 'mem.copies')" -gt 0 ] || fail "the mainline guest's requests were not copied"
no_trouble G1 DomD
