# SPDX-License-Identifier: GPL-2.0-or-later
#
# What is written is what is read, with every engine of the backend: block
# sizes from 512 bytes to 1 MiB, odd alignments, direct and buffered, on both
# sides; a file system with thousands of files, compared on both sides;
# read-only disks, discard, write zeroes, serial numbers, block sizes; an image
# that is replaced under its name, or grows; a disk that grows under load.
#
#	BUS=	if set, the disks are on the Xen bus, and there is no broker
#
# rig: kernels 6.12
# rig: needs backend modules
# rig: timeout 420
# rig: long

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh

BUS="${BUS:-}"

# start_disks TARGET:VDEV[:ro]...: G1 with these disks of DomD's.
start_disks() {
	local disk target vdev access list=

	for disk; do
		IFS=: read -r target vdev access <<<"$disk"
		list="$list${list:+,}$(virtio_disk "$target" "$vdev" DomD "${access:-rw}")"
	done
	if [ -z "$BUS" ]; then
		start_ours G1 "disk=[$list]"
		return
	fi
	start_guest G1
	load_bus G1
	for disk; do
		IFS=: read -r target vdev access <<<"$disk"
		attach G1 backend=DomD type=blk "target=$target" "name=$vdev" \
			"access=${access:-rw}"
	done
	has_disk G1 vda
}

step "a driver domain with RAM disks, a file and a disk of 4096-byte blocks"
[ -n "$BUS" ] || start_broker
start_driver_domain DomD mem=640
in_domain DomD 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
	modprobe brd rd_nr=2 rd_size=49152
	modprobe null_blk nr_devices=1 bs=4096 gb=1 memory_backed=1 discard=1
	truncate -s 48M /tmp/file
	dd if=/dev/urandom of=/tmp/ro bs=1M count=4 2>/dev/null'
disks="/dev/ram0:xvda /tmp/file:xvdb /tmp/ro:xvdc:ro /dev/nullb0:xvdd"

# sizes DEVICE SIZE DEPTH: the same data path with all kinds of requests.
sizes() {
	fio_verify G1 "$1" "--ioengine=libaio --direct=1 --iodepth=$3 --size=$2 \
		--rw=randwrite --bsrange=512-1m --blockalign=512"
	fio_verify G1 "$1" "--ioengine=libaio --direct=1 --iodepth=$3 --size=$2 \
		--rw=randrw --bssplit=512/20:1k/10:4k/30:12k/10:64k/20:256k/5:1m/5"
	fio_verify G1 "$1" "--ioengine=psync --direct=0 --size=$2 --rw=write \
		--bs_unaligned --bsrange=700-90001 --end_fsync=1"
}

# Which options of virtio-grantd; the second has no page cache below it.
first=1
for options in "-e io_uring -d off" "-e io_uring -d on" "-e sync -d off"; do
	step "virtio-grantd $options"
	# shellcheck disable=SC2086 # words
	start_backend DomD --serial=/tmp/file=OF-THE-FILE $options
	# shellcheck disable=SC2086 # words
	start_disks $disks
	has_disk G1 vdb vdc vdd
	sizes vda 8m 16
	if [ -n "$first" ]; then
		first=
		fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=32 \
			--bs=512 --rw=randwrite --size=512k"
		fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=4 \
			--bs=1m --rw=write --size=16m"
		fio_verify G1 vdb "--ioengine=libaio --direct=1 --iodepth=4 \
			--bsrange=512-128k --rw=randrw --size=6m"
		fio_verify G1 vdd "--ioengine=libaio --direct=1 --iodepth=8 \
			--bsrange=4k-128k --rw=randwrite --size=8m"

		step "serial numbers, block sizes, a read-only disk"
		expect "xvda OF-THE-FILE xvdc xvdd" "$(in_domain G1 'cd /sys/block
			echo $(cat vda/serial) $(cat vdb/serial) $(cat vdc/serial) $(cat vdd/serial)')" "serials"
		expect "512 4096" "$(in_domain G1 'cd /sys/block
			echo $(cat vda/queue/logical_block_size) $(cat vdd/queue/logical_block_size)')" \
			"logical block sizes"
		expect 1 "$(in_domain G1 'cat /sys/block/vdc/ro')" "vdc/ro"
		want=$(in_domain DomD 'md5sum </tmp/ro')
		expect "$want" "$(in_domain G1 'md5sum </dev/vdc')" "vdc's data"
		if in_domain G1 'dd if=/dev/zero of=/dev/vdc bs=4k count=1 conv=fsync'; then
			fail "a read-only disk was written to"
		fi
		expect "$want" "$(in_domain DomD 'md5sum </tmp/ro')" "the read-only image"

		step "discard and write zeroes"
		in_domain G1 'dd if=/dev/urandom of=/dev/vdb bs=1M count=16 oflag=direct'
		before=$(in_domain DomD 'du -k /tmp/file | cut -f 1')
		in_domain G1 'blkdiscard -o 1048576 -l 8388608 /dev/vdb'
		after=$(in_domain DomD 'du -k /tmp/file | cut -f 1')
		[ "$after" -le $((before - 8192 + 64)) ] ||
			fail "the file still has $after of $before KiB after a discard of 8192"
		[ "$(stats DomD 'blk.discards')" -gt 0 ] || fail "no discard was counted"
		zero=$(in_domain G1 'dd if=/dev/zero bs=1M count=8 | md5sum')
		expect "$zero" "$(in_domain G1 'dd if=/dev/vdb bs=1M skip=1 count=8 iflag=direct | md5sum')" \
			"what was discarded"
		# A block device is asked to discard, and not to write zeroes:
		# sectors written and discarded, Documentation/block/stat.rst.
		# What is in DomD's page cache only, goes, too: no I/O error.
		in_domain G1 'dd if=/dev/urandom of=/dev/vdd bs=1M seek=1 count=16 oflag=direct'
		written=$(in_domain DomD "awk '{ print \$7 }' /sys/block/nullb0/stat")
		in_domain G1 'blkdiscard -o 1048576 -l 67108864 /dev/vdd'
		more=$(($(in_domain DomD "awk '{ print \$7 }' /sys/block/nullb0/stat") - written))
		[ "$more" -lt 65536 ] ||
			fail "$more sectors written by a discard of 131072 of nullb0"
		discarded=$(in_domain DomD "awk '{ print \$14 }' /sys/block/nullb0/stat")
		[ "$discarded" -ge 131072 ] ||
			fail "nullb0 has discarded $discarded sectors of 131072"
		in_domain G1 'dd if=/dev/urandom of=/dev/vdd bs=1M count=16 oflag=direct &&
			/usr/sbin/mke2fs -q -t ext4 -b 4096 -N 16384 \
			-E lazy_itable_init=0,nodiscard /dev/vdd 16M &&
			/usr/sbin/e2fsck -fn /dev/vdd'
		[ "$(stats DomD 'blk.write_zeroes')" -gt 0 ] ||
			fail "mke2fs did not have any zeroes written to nullb0"
		zeroed=$(stats DomD 'blk.write_zeroes')
		in_domain G1 '/usr/sbin/mke2fs -q -t ext4 -E lazy_itable_init=0,nodiscard /dev/vdb'
		[ "$(stats DomD 'blk.write_zeroes')" -gt "$zeroed" ] ||
			fail "mke2fs did not lead to any write-zeroes"
		in_domain G1 'mount -t ext4 /dev/vdb /mnt &&
			dd if=/dev/urandom of=/mnt/big bs=1M count=12 && sync'
		full=$(in_domain DomD 'du -k /tmp/file | cut -f 1')
		in_domain G1 'rm /mnt/big && sync && fstrim /mnt && umount /mnt'
		trimmed=$(in_domain DomD 'du -k /tmp/file | cut -f 1')
		[ "$trimmed" -le $((full - 8192)) ] ||
			fail "fstrim left $trimmed of $full KiB"

		step "thousands of files, compared on both sides"
		in_domain G1 '/usr/sbin/mke2fs -q -t ext4 /dev/vda && mount -t ext4 /dev/vda /mnt &&
			mkdir /mnt/d && fio --name=f --directory=/mnt/d \
			--nrfiles=2500 --openfiles=64 --filesize=1k-4k --bs=1k \
			--rw=write --refill_buffers --output-format=terse \
			--file_service_type=sequential >/tmp/fio.files &&
			cd /mnt/d && md5sum * >/tmp/sums && cp /tmp/sums /mnt/sums &&
			sync && echo 3 >/proc/sys/vm/drop_caches &&
			md5sum -c /tmp/sums >/tmp/checked'
		want=$(in_domain G1 'md5sum </tmp/sums')
		in_domain G1 'cd / && umount /mnt'
		# Not even to read: it is the guest's.
		in_domain DomD '/usr/sbin/e2fsck -fn /dev/ram0 && mkdir -p /mnt &&
			! mount -o ro -t ext4 /dev/ram0 /mnt' ||
			fail "DomD could mount the disk of a guest that runs"
		in_domain DomD 'modprobe loop && losetup -r /dev/loop0 /dev/ram0 &&
			mount -o ro -t ext4 /dev/loop0 /mnt'
		expect "$want" "$(in_domain DomD 'md5sum </mnt/sums')" "the list of checksums"
		files=$(in_domain DomD 'cd /mnt/d && md5sum -c ../sums | grep -c ": OK$"')
		in_domain DomD 'umount /mnt && losetup -d /dev/loop0'
		[ "$files" -ge 2500 ] || fail "only $files files are right in DomD"
		result files_verified "$files"
	fi
	result "requests_$(tr -d ' -' <<<"$options")" "$(stats DomD 'stats.requests')"
	expect 0 "$(stats DomD 'blk.errors')" "errors counted by the backend"
	no_trouble G1
	stop_guest G1
	end_daemon DomD virtio-grantd
done

step "no room for a sparse image: writes wait for some"
start_backend DomD --on-enospc=wait
in_domain DomD 'mkdir -p /small && mount -t tmpfs -o size=4m none /small &&
	truncate -s 32M /small/img'
start_disks /dev/ram0:xvda /tmp/file:xvdb /small/img:xvdc
has_disk G1 vdb vdc
in_domain G1 '( dd if=/dev/zero of=/dev/vdc bs=64k count=128 oflag=direct
	echo $? >/tmp/dd.status ) >/dev/null 2>&1 &'
_lacks_room() {
	in_domain DomD 'virtio-grantctl | grep "NO ROOM for its image: [1-9]"'
}
retry 20 _lacks_room || fail "no word of it: $(in_domain DomD virtio-grantctl)"
log_says DomD 'no room for the image .*writes wait for some' "no room"
in_domain G1 'test ! -e /tmp/dd.status' || fail "the write did not wait"
in_domain DomD 'mount -o remount,size=16m /small'
_has_written() {
	in_domain G1 'test "$(cat /tmp/dd.status)" = 0'
}
retry 20 _has_written || fail "the write did not go on when there was room"
log_says DomD 'there is room for the image again' "room"

step "a disk that grows under load"
if [ -n "$BUS" ]; then
	key="$(xenstore-ls -f "/local/domain/$(domid DomD)/backend/virtio_grant/$(domid G1)" |
		sed -n 's,/dev = "xvdb"$,,p')"
	dev="dom$(domid G1) virtio_grant/${key##*/}"
else
	key="/local/domain/$(domid DomD)/backend/virtio_disk/$(domid G1)/51728"
	dev="dom$(domid G1) virtio_disk/51728"
fi
in_domain G1 '( fio --name=v --filename=/dev/vdb '"$VG_FIO"' --direct=1 \
	--ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k --size=16m \
	--output=/tmp/fio.grown; echo $? >/tmp/grown.status ) >/dev/null 2>&1 &'
# sectors_are N: what the guest sees of its second disk.
sectors_are() {
	in_domain G1 "test \$(cat /sys/block/vdb/size) = $1"
}
sectors_are 98304
in_domain DomD "truncate -s 56M /tmp/file && virtio-grantctl resize $dev" ||
	fail "the disk does not grow: $(in_domain DomD virtio-grantctl)"
retry 10 sectors_are 114688 || fail "the guest has not seen that its disk grew"
in_domain G1 'test ! -e /tmp/grown.status' || fail "that was not under load"
in_domain G1 'dd if=/dev/urandom of=/tmp/end bs=1M count=1 2>/dev/null &&
	dd if=/tmp/end of=/dev/vdb bs=1M seek=55 oflag=direct &&
	! dd if=/tmp/end of=/dev/vdb bs=1M seek=56 oflag=direct'
want=$(in_domain G1 'md5sum </tmp/end')
expect "$want" "$(in_domain G1 'dd if=/dev/vdb bs=1M skip=55 iflag=direct | md5sum')" \
	"the new end, as the guest reads it"
expect "$want" "$(in_domain DomD 'dd if=/tmp/file bs=1M skip=55 | md5sum')" \
	"the new end, as it stands in the image"
if text=$(in_domain DomD "truncate -s 40M /tmp/file
		virtio-grantctl resize $dev 2>&1"); then
	fail "a disk shrank: $text"
fi
expect "virtio-grantctl: refused: $dev: the image has 41943040 bytes now, the guest knows 58720256; a disk does not shrink while it is used" \
	"$text" "what is said of a shorter image"
sectors_are 114688 || fail "the guest's disk has changed all the same"
in_domain DomD 'truncate -s 60M /tmp/file'
xenstore-write "$key/resize" 1
retry 10 sectors_are 122880 || fail "the key \"resize\" does nothing"
if xenstore-exists "$key/resize"; then
	fail "the key \"resize\" is there still"
fi
_has_verified() {
	in_domain G1 'test "$(cat /tmp/grown.status)" = 0'
}
retry 120 _has_verified || fail "fio: $(in_domain G1 'tail -n 3 /tmp/fio.grown')"
expect 0 "$(stats DomD 'blk.errors')" "errors counted by the backend"

step "an image that grew unheard, and one that is replaced under its name"
in_domain G1 'dd if=/dev/urandom of=/dev/vdb bs=1M count=2 oflag=direct'
want=$(in_domain DomD 'dd if=/tmp/file bs=1M count=2 | md5sum')
in_domain DomD 'truncate -s 64M /tmp/file && mv /tmp/file /tmp/served &&
	truncate -s 48M /tmp/file
	kill -9 $(virtio-grantctl -j |
		sed -n "s/.*\"worker_pid\": *\([0-9]*\).*/\1/p" | head -n 1)'
expect "$want" "$(in_domain -t 60 G1 'dd if=/dev/vdb bs=1M count=2 iflag=direct | md5sum')" \
	"what is read after the image was replaced, by a new worker"
log_says DomD 'image /tmp/file was replaced under its name' "replaced image"
log_says DomD 'grew from 62914560 to 67108864 bytes' "grown image"
retry 10 sectors_are 131072 || fail "the guest has not seen that its disk grew"
end_daemon DomD virtio-grantd
start_backend DomD
log_says DomD 'image /tmp/file was replaced while the guest used it' "a new daemon"
in_domain -t 60 G1 'dd if=/dev/vda of=/dev/null bs=1M count=2 iflag=direct' ||
	fail "the guest's other disk does not work"
destroy_guest G1
no_trouble DomD
