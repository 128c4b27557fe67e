# SPDX-License-Identifier: GPL-2.0-or-later
#
# Three guests with three disks each, one of them with the older kernel, all
# under verified load at once; then one goes while the others work.
#
# rig: kernels 6.12 6.1
# rig: needs backend modules
# rig: timeout 300

. /vg/in/dom0/virtio.sh

disks() {
	printf 'disk=[%s,%s,%s]' "$(virtio_disk "/dev/ram$1" xvda DomD)" \
		"$(virtio_disk "/dev/ram$(($1 + 1))" xvdb DomD)" \
		"$(virtio_disk "/dev/ram$(($1 + 2))" xvdc DomD)"
}

# load NAME SIZE: verified, on its three disks.
load() {
	in_domain -t 240 "$1" "fio $VG_FIO --ioengine=libaio --direct=1 \
		--iodepth=8 --rw=randrw --bssplit=512/20:4k/50:64k/30 --size=$2 \
		--name=a --filename=/dev/vda --name=b --filename=/dev/vdb \
		--name=c --filename=/dev/vdc --output=/tmp/fio.out 2>&1 ||
		{ tail -n 5 /tmp/fio.out; exit 1; }"
}

step "the daemons"
start_broker
VG_RAMDISKS=9 start_driver DomD

step "three guests, three disks each"
together 'start_guest G1 mem=192 "$(disks 0)"' \
	'start_guest G2 mem=192 "$(disks 3)"' \
	'start_guest G3 kernel=6.1 mem=192 "$(disks 6)"'
for name in G1 G2 G3; do
	load_ours "$name"
done
for name in G1 G2 G3; do
	has_disk "$name" vda vdb vdc
done
expect 3 "$(in_domain DomD 'virtio-grantctl' | sed 's/ virtio_disk.*//' |
	grep -c -E '^ +dom[0-9]+$' | awk '{ print $1 / 3 }')" "devices per guest"
workers=$(in_domain DomD 'virtio-grantctl -j' |
	sed -n 's/.*"worker_pid": *\([0-9]*\).*/\1/p' | sort -u | wc -l)
expect 3 "$workers" "workers, one for each guest"

step "verified load on all nine at once"
together 'load G1 2m' 'load G2 2m' 'load G3 2m' || fail "fio"
result requests "$(stats DomD 'stats.requests')"
expect 0 "$(stats DomD 'blk.errors')" "errors counted by the backend"

step "each guest's data is its own"
for name in G1 G2 G3; do
	in_domain "$name" "for d in a b c; do
		echo $name \$d | dd of=/dev/vd\$d bs=512 conv=sync,fsync
	done" 2>/dev/null
done
i=0
for name in G1 G2 G3; do
	for d in a b c; do
		expect "$name $d" "$(in_domain DomD "dd if=/dev/ram$i bs=512 count=1 2>/dev/null |
			tr -d '\\000'")" "the beginning of /dev/ram$i"
		i=$((i + 1))
	done
done

step "one is destroyed under load, the others do not notice"
together 'load G1 2m' 'load G3 2m' '
	in_domain G2 "fio --name=x --filename=/dev/vda --direct=1 --rw=randwrite \
		--ioengine=libaio --iodepth=16 --bs=4k --size=16m --time_based \
		--runtime=60 >/dev/null 2>&1 &"
	sleep 3
	destroy_guest G2' || fail "a neighbour was disturbed"
expect 6 "$(in_domain DomD virtio-grantctl | grep -c '^  dom.* virtio_disk/')" "devices left"
no_trouble G1 G3 DomD
stop_guest G1
stop_guest G3
