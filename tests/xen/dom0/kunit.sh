# SPDX-License-Identifier: GPL-2.0-or-later
#
# The KUnit suites of the modules in a Xen guest, on its real grant table; then disks
# under load on the same kernel, and the modules away again.  Sourced by the scenarios
# that differ in the kernel, after virtio.sh and bus.sh.

# suites MODULE [PARAMETERS]: its results, which must be there and all be "ok".  All of
# them are one task's wait: what it takes on a slow machine, is no hang.
suites() {
	in_domain -t 480 G1 "dmesg -c >/dev/null
		t=/proc/sys/kernel/hung_task_timeout_secs was=\$(cat \$t)
		echo $(slow 480) >\$t; modprobe $1 ${2:-}; echo \$was >\$t; dmesg" >/tmp/ktap ||
		fail "$1: $(tail -n 3 /tmp/ktap)"
	cp /tmp/ktap "/vg/out/$1.dmesg"		# with the time that each took
	sed -i 's/^\[[^]]*\] //' /tmp/ktap
	cp /tmp/ktap "/vg/out/$1.ktap"
	if grep -E '^ *not ok' /tmp/ktap; then
		fail "$1: $(grep -m 1 -E '^ *not ok' /tmp/ktap)"
	fi
	skipped=$(grep -c -E '^    ok [0-9].*# SKIP' /tmp/ktap || :)
	passed=$(($(grep -c -E '^    ok [0-9]' /tmp/ktap || :) - skipped))
	suites=$(grep -c -E '^ok [0-9]' /tmp/ktap || :)
	[ "$suites" -gt 0 ] && [ "$passed" -gt 0 ] || fail "$1 ran no test"
	say "$1: $passed tests of $suites suites passed ($skipped skipped)"
	result "$1" "$passed"
}

# look WHAT [EXPECTED]: complaints of the kernel since the last look.
look() {
	local bad

	# "g.e. ... still in use" is what the tests provoke.
	bad=$(in_domain G1 "dmesg -c | grep -v -e 'g\.e\. 0x' ${2:+-e '$2'} | grep -m 3 -E 'BUG:|WARNING:|KASAN|UBSAN|Oops|possible recursive|possible circular|inconsistent lock|DMA-API:.*(error|warn)|INFO: task'" || :)
	[ -z "$bad" ] || fail "$1: the kernel complains: $bad"
}

# kunit_guest KERNEL: G1, with the daemons and a disk of a driver domain.
kunit_guest() {
	step "the daemons, and a guest with the $1 kernel"
	start_broker
	start_driver DomD
	start_guest G1 "kernel=$1" mem=640 vcpus=2 cmdline=log_buf_len=4M \
		"disk=[$(virtio_disk /dev/ram0 xvda DomD)]"
}

# allocations_fail STEP: in G1, whose disk no driver has, each STEP'th allocation
# fails of those that probing, unbinding and sleeping make in our transport and what
# it calls, then some of all that probing and I/O make (fail-nth in Linux's
# fault-injection.rst).  Nothing hangs, nothing stays mapped, and the next probe works.
allocations_fail() {
	in_domain -t 400 G1 "step=$1 patience=$(slow 300)"'
		dev=2000000.virtio
		drv=/sys/bus/platform/drivers/virtio-grant-mmio
		quarantined=/sys/module/virtio_grant_dma/parameters/quarantined_pages
		pool_kib=/sys/module/virtio_grant_dma/parameters/pool_kib
		knobs="/sys/kernel/debug/failslab /sys/kernel/debug/fail_page_alloc"
		for knob in $knobs; do
			cd $knob && echo N >ignore-gfp-wait && echo 0 >verbose || exit 1
		done
		echo 0 >min-order && echo N >ignore-gfp-highmem || exit 1

		# within START END DEPTH: which code must be among the callers
		within() {
			for knob in $knobs; do
				echo $1 >$knob/require-start && echo $2 >$knob/require-end &&
					echo $3 >$knob/stacktrace-depth || exit 1
			done
		}
		ours() {
			text=$(cat /sys/module/virtio_grant_mmio/sections/.text) || exit 1
			size=$(cat /sys/module/virtio_grant_mmio/coresize) || exit 1
			within $text $(printf "%#x" $((text + size))) 18
		}
		anywhere() {
			within 0 0xffffffffffffffff 0
		}

		# nth N COMMAND: did it end before its Nth allocation?
		nth() {
			(
				echo $1 >/proc/self/fail-nth || exit 2
				eval "$2"
				read -r left </proc/self/fail-nth
				echo 0 >/proc/self/fail-nth
				[ "${left:-0}" -gt 0 ]
			) 2>/dev/null
		}
		# each NAME STEP BEFORE COMMAND AFTER
		each() {
			n=1 tries=0
			eval "$3" || { echo "$1: before the first: $3"; exit 1; }
			until nth $n "$4"; do
				[ $n -lt 4000 ] || { echo "$1: without an end"; exit 1; }
				eval "$5" || { echo "$1: number $n: $5"; exit 1; }
				tries=$((tries + 1)) n=$((n + $2))
				eval "$3" || { echo "$1: after number $n: $3"; exit 1; }
			done
			eval "$5" || { echo "$1, none: $5"; exit 1; }
			echo "$1 $tries"
		}
		disk() {
			i=0
			until [ -b /dev/vda ]; do
				[ $i -lt $patience ] || return 1
				usleep 50000
				i=$((i + 1))
			done
			dd if=/dev/vda of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null
		}
		bind() {
			[ -e $drv/$dev ] || echo $dev >$drv/bind
		}
		unbind() {
			[ ! -e $drv/$dev ] || echo $dev >$drv/unbind
			[ "$(cat $quarantined)" = "$before" ]
		}

		before=$(cat $quarantined)
		unbind
		echo 128 >$pool_kib		# each page of it is an allocation
		ours
		each probe $step : "echo $dev >$drv/bind" unbind
		each unbind $step "bind && disk" "echo $dev >$drv/unbind" unbind
		bind && disk || { echo "no disk after that"; exit 1; }
		# As far as devices go, and back, by one task.
		echo devices >/sys/power/pm_test && echo 0 >/sys/power/pm_async &&
			echo 0 >/sys/module/suspend/parameters/pm_test_delay || exit 1
		echo freeze >/sys/power/state && disk || { echo "it does not sleep"; exit 1; }
		each sleep $step : "echo freeze >/sys/power/state" disk
		unbind || { echo "the pool stays mapped"; exit 1; }
		anywhere
		each probe_in_all $((step * 13)) : "echo $dev >$drv/bind" unbind
		bind && disk || { echo "no disk after that"; exit 1; }
		each write $step : "echo x >/dev/vda" disk
		each read $step : "read -r x </dev/vda" disk
		unbind || { echo "the pool stays mapped"; exit 1; }
		echo 0 >$pool_kib
		bind && disk || { echo "no disk after all"; exit 1; }
	' >/tmp/faults || fail "$(tail -n 1 /tmp/faults)"
	while read -r what n; do
		result "failures_of_$what" "$n"
		[ "$n" -gt 0 ] || fail "$what: no allocation failed"
	done </tmp/faults
}

# bus_allocations_fail STEP: the same for the disk on the bus, which is probed and
# unbound by who writes to sysfs, and made by our works: there failures are told by
# the bytes that were allocated before, STEP * 512 more each time, and by the pages.
bus_allocations_fail() {
	in_domain -t 400 G1 "step=$1 patience=$(slow 300)"'
		drv=/sys/bus/xen/drivers/virtio_grant_bus
		dev=$(cd $drv && echo virtio_grant-*)
		quarantined=/sys/module/virtio_grant_dma/parameters/quarantined_pages
		pool_kib=/sys/module/virtio_grant_dma/parameters/pool_kib
		fault=/sys/kernel/debug
		text=$(cat /sys/module/virtio_grant_bus/sections/.text) || exit 1
		size=$(cat /sys/module/virtio_grant_bus/coresize) || exit 1
		for knob in $fault/failslab $fault/fail_page_alloc; do
			cd $knob && echo N >ignore-gfp-wait && echo 0 >verbose &&
				echo $text >require-start &&
				printf "%#x" $((text + size)) >require-end &&
				echo 32 >stacktrace-depth &&
				echo 0 >probability && echo 1 >interval || exit 1
		done
		echo 0 >min-order && echo N >ignore-gfp-highmem || exit 1

		disk() {
			i=0
			until [ -b /dev/vdb ]; do
				[ $i -lt $patience ] || return 1
				usleep 50000
				i=$((i + 1))
			done
			dd if=/dev/vdb of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null
		}
		bind() {
			[ -e $drv/$dev ] || echo $dev >$drv/bind
		}
		unbind() {
			[ ! -e $drv/$dev ] || echo $dev >$drv/unbind
			[ "$(cat $quarantined)" = "$before" ]
		}
		# nth N COMMAND: did it end before its Nth allocation?
		nth() {
			(
				echo $1 >/proc/self/fail-nth || exit 2
				eval "$2"
				read -r left </proc/self/fail-nth
				echo 0 >/proc/self/fail-nth
				[ "${left:-0}" -gt 0 ]
			) 2>/dev/null
		}
		# each NAME STEP BEFORE COMMAND
		each() {
			n=1 tries=0
			eval "$3" || { echo "$1: before the first: $3"; exit 1; }
			until nth $n "$4"; do
				[ $n -lt 4000 ] || { echo "$1: without an end"; exit 1; }
				unbind || { echo "$1: number $n: it stays mapped"; exit 1; }
				tries=$((tries + 1)) n=$((n + $2))
				eval "$3" || { echo "$1: after number $n: $3"; exit 1; }
			done
			unbind || { echo "$1: it stays mapped"; exit 1; }
			echo "$1 $tries"
		}
		# in_works NAME KNOB STEP: until the disk is there and none has failed
		in_works() {
			n=0 tries=0
			while :; do
				cd $fault/$2 && echo $n >space && echo 1 >times &&
					echo 100 >probability || exit 1
				bind 2>/dev/null || :
				i=0
				until [ -b /dev/vdb ] || [ "$(cat times)" = 0 ]; do
					[ $i -lt $patience ] || { echo "$1: $n: neither"; exit 1; }
					usleep 50000
					i=$((i + 1))
				done
				left=$(cat times)
				echo 0 >probability
				[ "$left" = 0 ] || break
				unbind || { echo "$1: $n: it stays mapped"; exit 1; }
				tries=$((tries + 1)) n=$((n + $3))
			done
			disk && unbind || { echo "$1: no disk after that"; exit 1; }
			echo "$1 $tries"
		}

		before=$(cat $quarantined)
		echo 128 >$pool_kib
		disk || { echo "no disk before all"; exit 1; }
		unbind || { echo "the pool stays mapped"; exit 1; }
		each bus_probe $step : "echo $dev >$drv/bind"
		each bus_unbind $step "bind && disk" "echo $dev >$drv/unbind"
		in_works bus_works failslab $((step * 512))
		in_works bus_pages fail_page_alloc $((step * 2))
		echo 0 >$pool_kib
		bind && disk || { echo "no disk after all"; exit 1; }
	' >/tmp/faults || fail "$(tail -n 1 /tmp/faults)"
	while read -r what n; do
		result "failures_of_$what" "$n"
		[ "$n" -gt 0 ] || fail "$what: no allocation failed"
	done </tmp/faults
}

# bus_disk STEP: load on one, and each allocation fails.
bus_disk() {
	step "a disk on the bus: load, and each allocation fails"
	load_bus G1
	attach G1 backend=DomD type=blk target=/dev/ram1 name=bus
	has_disk G1 vdb
	fio_verify G1 vdb "--ioengine=libaio --direct=1 --iodepth=16 --size=1m \
		--rw=randrw --bsrange=512-256k --blockalign=512"
	bus_allocations_fail "$1"
	look "failing allocations of the bus" "at fs/proc/generic.c.* remove_proc_entry"
	fio_verify G1 vdb "--ioengine=libaio --direct=1 --iodepth=16 --size=512k \
		--rw=randrw --bsrange=512-64k --blockalign=512"
	in_domain -t 60 G1 'cd /sys/bus/xen/drivers/virtio_grant_bus &&
		for dev in virtio_grant-*; do echo $dev >unbind; done'
}

# kunit_all STEP STRIDE: what is done on each of the kernels; STEP: of
# allocations_fail(); STRIDE: of the bus's virtio_grant_bus_kunit,
# empty: nothing of the bus.
kunit_all() {
	step "KUnit: virtio_grant_dma"
	suites virtio_grant_dma_kunit
	look "KUnit of the DMA layer"
	step "KUnit: virtio_grant_mmio"
	suites virtio_grant_mmio_kunit
	look "KUnit of the transport"
	[ -z "$2" ] || {
		step "KUnit: virtio_grant_bus"
		suites virtio_grant_bus_kunit "stride=$2"
		look "KUnit of the bus"
	}
	step "KUnit: virtio_grant_mmio, with the disk"
	suites virtio_grant_mmio_disk_kunit
	[ "$skipped" -eq 0 ] || fail "the suite did not find the disk"
	look "KUnit of the transport with a disk"

	step "a disk under verified load, on the same kernel"
	in_domain G1 'for module in virtio_grant_mmio_disk_kunit virtio_grant_mmio_kunit \
		virtio_grant_bus_kunit virtio_grant_life_kunit \
		virtio_grant_dma_kunit; do rmmod $module; done; :'
	load_ours G1
	has_disk G1 vda
	fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=1m \
		--rw=randrw --bsrange=512-256k --blockalign=512"
	fio_verify G1 vda "--ioengine=psync --size=512k --rw=write --bs_unaligned \
		--bsrange=700-60001 --end_fsync=1"
	look "load"

	step "each allocation fails, one at a time"
	allocations_fail "$1"
	# Linux's own, for an interrupt whose files in /proc were not made.
	look "failing allocations" "at fs/proc/generic.c.* remove_proc_entry"
	fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=512k \
		--rw=randrw --bsrange=512-64k --blockalign=512"

	[ -z "$2" ] || bus_disk "$1"

	step "the modules away"
	in_domain G1 '{ ! test -d /sys/module/virtio_grant_bus || rmmod virtio_grant_bus; } &&
		rmmod virtio_grant_mmio &&
		rmmod virtio_grant && rmmod virtio_grant_dma'
	look "unloading"
}
