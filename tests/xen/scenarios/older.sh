# SPDX-License-Identifier: GPL-2.0-or-later
#
# A driver domain with Linux 6.1: mapper, sandbox and take-over there, for a guest
# with our modules and for a mainline guest.
#
# rig: kernels 6.12 6.1
# rig: needs backend modules kernel:lockdep
# rig: timeout 420
# rig: long

. /vg/in/dom0/virtio.sh

step "a driver domain with 6.1"
start_broker
start_driver_domain DomD kernel=6.1
expect 6.1 "$(in_domain DomD 'uname -r | cut -d . -f 1-2')" "the driver domain's kernel"
in_domain DomD 'modprobe brd rd_nr=2 rd_size=32768'
start_backend DomD
together 'start_ours G1 vcpus=2 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"' \
	'start_guest G2 kernel=lockdep "disk=[$(virtio_disk /dev/ram1 xvda DomD)]"'
in_domain G2 'modprobe virtio_mmio; modprobe virtio_blk'
has_disk G2 vda

step "the workers are confined, and each has a mapper"
in_domain DomD 'for p in /proc/[0-9]*; do
	tr "\0" " " <$p/cmdline | grep -o -e "--worker=[0-9]*" -e "--mapper=[0-9]*" |
		tr "\n" " " && cat $p/task/*/comm | sort -u | tr "\n" " " &&
		awk "/^(Seccomp|CapEff):/ { printf \"%s \", \$2 } END { print \"\" }" $p/status
	done' | grep -- -- >/vg/out/processes
cat /vg/out/processes
for g in G1 G2; do
	for kind in worker mapper; do
		grep -q -e "--$kind=$(domid $g) vg-$kind-$(domid $g) 0000000000000000 2" \
			/vg/out/processes ||
			fail "the $kind of $g is not confined, or not there, or has another name"
	done
done

step "verified load"
together 'fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=4m \
	--rw=randrw --bsrange=512-256k --blockalign=512"' \
	'fio_verify G2 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=4m \
	--rw=randrw --bsrange=512-256k --blockalign=512"'
in_domain DomD 'virtio-grantctl stats' >/vg/out/stats
result registered "$(stats DomD 'blk.registered')"
result requests "$(stats DomD 'stats.requests')"
expect 0 "$(stats DomD 'blk.errors')" "errors counted by the backend"

step "a worker is killed under load, each kind of guest"
for g in G1 G2; do
	in_domain "$g" "rm -f /tmp/ended /tmp/stop; ( n=0; while [ ! -e /tmp/stop ]; do
		fio --name=v --filename=/dev/vda $VG_FIO --direct=1 --ioengine=libaio \
			--iodepth=8 --rw=randwrite --bs=4k --size=2m --output=/tmp/fio.out \
			2>/tmp/fio.err || break
		n=\$((n + 1)); done
	[ -e /tmp/stop ] && echo \$n >/tmp/ended || echo bad >/tmp/ended ) >/dev/null 2>&1 &"
done
sleep 1
for i in 1 2; do
	in_domain DomD "kill -KILL \$(virtio-grantctl -j |
		sed -n 's/.*\"worker_pid\": *\([1-9][0-9]*\).*/\1/p')"
	retry 30 eval '[ "$(stats DomD takeovers)" = $((2 * i)) ]' ||
		fail "$(stats DomD takeovers) take-overs of $((2 * i))"
	sleep 1
done
for g in G1 G2; do
	in_domain "$g" '>/tmp/stop'
	retry 60 in_domain "$g" 'test -e /tmp/ended' || fail "fio hangs in $g"
	passes=$(in_domain "$g" 'cat /tmp/ended')
	[ "$passes" != bad ] || fail "fio in $g: $(in_domain "$g" 'tail -n 2 /tmp/fio.err /tmp/fio.out')"
	result "passes_$g" "$passes"
done
result takeovers "$(stats DomD takeovers)"
expect 4 "$(stats DomD takeovers)" "take-overs"
# Not DomD: the balloon driver of 6.1 warns of the addresses that it chose itself
# for pages to map grants at (reserve_additional_memory(), vmemmap_populate()).
no_trouble G1 G2
stop_guest G1
stop_guest G2
