# SPDX-License-Identifier: GPL-2.0-or-later
#
# As many disks of one guest as a worker serves (64), over the Xen bus: each has its
# own content, all of them carry verified load, and nothing is left of them.  What an
# idle one costs beside its pool, in the guest and in its backend; and how long it
# takes from `attach` to a disk that can be read, beside PV block's.
#
#	NR=64		disks
#	TIMES=3		of each attach that is timed
#
# rig: xen stock
# rig: cmdline xsm=dummy
# rig: needs backend modules
# rig: disk pv 16M
# rig: timeout 600
# rig: long

. /vg/in/dom0/virtio.sh
. /vg/in/dom0/bus.sh

NR="${NR:-64}" TIMES="${TIMES:-3}"
# The first ones make room that the others use, too.
FIRST=4

# median FILE
median() {
	sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# readable DEVICE COMMAND...: runs it, and waits until the guest can read that
# disk; sets $ms, from the command's beginning, and $returned, until its end.
# The guest says so by a node of its own, which is waited for without polling.
readable() {
	local device="$1" node began watch

	shift
	node="/local/domain/$(domid G1)/data/readable"
	in_domain G1 "( until [ -b /dev/$device ] &&
			dd if=/dev/$device of=/dev/null bs=4k count=1 iflag=direct; do
			usleep 10000
		done; xenstore-write data/readable $device ) >/dev/null 2>&1 &"
	# The first event is of the watch itself.
	timeout "$(slow 30)" xenstore-watch -n 2 "$node" >/dev/null &
	watch=$!
	sleep 0.3
	began=$(now_ms)
	"$@" >/tmp/said 2>&1 || fail "$*: $(cat /tmp/said)"
	returned=$(($(now_ms) - began))
	wait "$watch" || fail "$*: G1 can't read /dev/$device"
	ms=$(($(now_ms) - began))
}

# free_kib DOMAIN FILE: what it has left, as exactly as it can be said.
free_kib() {
	in_domain "$1" 'for i in 1 2; do sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1; done
		cat /proc/meminfo' >"$2"
	awk '/^MemFree/ { print $2 }' "$2"
}

# pool_pages: of all its disks together.
pool_pages() {
	in_domain G1 'cat /sys/bus/xen/devices/virtio_grant-*/virtio_grant-*-bus/grant_pool/pages_total |
		awk "{ n += \$1 } END { print n + 0 }"'
}

# backend_kib: what worker and mapper use, without the pages that are the guest's.
backend_kib() {
	in_domain DomD 'for p in $(pidof virtio-grantd); do
			cat /proc/$p/smaps /proc/$p/status
		done | awk "
			/^[0-9a-f]+-[0-9a-f]+ / { foreign = \$6 ~ /gntdev/ }
			/^Pss:/ && !foreign { n += \$2 }
			/^VmPTE:/ { n += \$2 }
			END { print n + 0 }"'
}

# attach_some FROM TO
attach_some() {
	local i

	for i in $(seq "$1" $(($2 - 1))); do
		attach G1 backend=DomD type=blk "target=/dev/ram$i" "name=d$i" >/dev/null
	done
}

# each_is_its_own: the disk of that name has what was written for that name.
each_is_its_own() {
	in_domain G1 "n=0
		for d in /sys/block/vd*; do
			name=\$(cat \$d/serial)
			has=\$(dd if=/dev/\${d##*/} bs=512 count=1 iflag=direct 2>/dev/null | tr -d '\\000')
			[ \"\$has\" = \"content of \$name\" ] || {
				echo \"\${d##*/} is \$name and has '\$has'\"
				exit 1
			}
			n=\$((n + 1))
		done
		[ \$n -eq $NR ] || { echo \"\$n disks\"; exit 1; }" >/tmp/said ||
		fail "the disks of $NR: $(cat /tmp/said)"
}

step "a driver domain with $NR small disks, and a guest"
start_driver_domain DomD
in_domain DomD "modprobe brd rd_nr=$((NR + 1)) rd_size=2048
	for i in \$(seq 0 $((NR - 1))); do
		echo content of d\$i | dd of=/dev/ram\$i bs=512 conv=sync
	done 2>/dev/null"
start_backend DomD
start_guest G1 mem=512
load_bus G1

step "from attach to a disk that can be read, $TIMES times each"
# timed FILE BACKEND TARGET
timed() {
	local i

	for i in $(seq "$TIMES"); do
		readable vda virtio-grantctl attach --timeout="$(slow 5)" G1 \
			"backend=$2" type=blk "target=$3" name=timed
		echo "$ms" >>"$1"
		echo "$returned" >>"$1.returned"
		virtio-grantctl detach G1 timed || fail "detach"
		retry 20 in_domain G1 '! test -e /dev/vda'
	done
}
timed /tmp/bus DomD "/dev/ram$NR"
# PV block's backend is dom0, where no script of the rig's has to notice it.
start_backend dom0
timed /tmp/bus0 0 "$(host_disk pv)"
end_daemon dom0 virtio-grantd
for i in $(seq "$TIMES"); do
	readable xvdz xl block-attach G1 "$(pv_disk "$(host_disk pv)" xvdz | tr -d \')"
	echo "$ms" >>/tmp/pv
	xl block-detach G1 xvdz || fail "xl block-detach"
	retry 20 in_domain G1 '! test -e /dev/xvdz'
done
result attach_ms "$(median /tmp/bus)"
result attach_returns_ms "$(median /tmp/bus.returned)"
result attach_of_dom0_ms "$(median /tmp/bus0)"
result pv_attach_of_dom0_ms "$(median /tmp/pv)"
say "all: bus $(echo $(cat /tmp/bus)), dom0's $(echo $(cat /tmp/bus0)), PV $(echo $(cat /tmp/pv))"

step "$NR devices, without a driver of disks"
in_domain G1 'rmmod virtio_blk'
attach_some 0 "$FIRST"
free=$(free_kib G1 /tmp/mem.first)
domd=$(free_kib DomD /tmp/mem.DomD)
pages=$(pool_pages)
kib=$(backend_kib)
began=$(now_ms)
attach_some "$FIRST" "$NR"
result attach_each_ms $((($(now_ms) - began) / (NR - FIRST)))
now=$(free_kib G1 /tmp/mem.all)
more=$(($(pool_pages) - pages))
n=$((NR - FIRST))
result pool_pages_each $((more / n))
result guest_bytes_each $((((free - now) * 1024 - more * 4096) / n))
kib_all=$(backend_kib)
result backend_kib_each $(((kib_all - kib) / n))
# With what its kernel has for the mappings, which grows with the pool.
result DomD_kib_each $(((domd - $(free_kib DomD /tmp/mem.DomD.all)) / n))
cp /tmp/mem.* /vg/out/
in_domain DomD 'for p in $(pidof virtio-grantd); do
	echo "== $p"; cat /proc/$p/status /proc/$p/smaps; done' >/vg/out/backend.smaps

step "control domain: nothing of ours runs"
for program in virtio-grantd virtio-grant-broker virtio-grantctl; do
	! pidof "$program" || fail "$program runs in dom0"
done
expect "$NR" "$(virtio-grantctl list G1 | grep -c connected)" "devices connected"

step "with their driver: $NR disks, each with its own content"
in_domain G1 'modprobe virtio_blk'
in_domain_has() {
	in_domain G1 "test \$(ls -d /sys/block/vd* | wc -l) -eq $NR"
}
retry 60 in_domain_has || fail "G1 has $(in_domain G1 'ls -d /sys/block/vd* | wc -l') disks"
free=$(free_kib G1 /tmp/mem.disks)
result guest_bytes_each_with_driver $((((now - free) * 1024) / NR))
result backend_kib_each_with_driver $((($(backend_kib) - kib_all) / NR))
each_is_its_own

step "verified load, on eight at a time"
in_domain -t 240 G1 'set --
	for d in /dev/vd*; do
		set -- "$@" --name=${d##*/} --filename=$d
		[ $(($# % 16)) -eq 0 ] || continue
		fio '"$VG_FIO"' --ioengine=libaio --direct=1 --iodepth=8 --rw=randrw \
			--bssplit=512/20:4k/50:64k/30 --offset=512k --size=512k \
			--output=/tmp/fio.out "$@" 2>&1 || { tail -n 5 /tmp/fio.out; exit 1; }
		set --
	done' || fail "fio"
each_is_its_own
expect 0 "$(stats DomD 'blk.errors')" "errors counted by the backend"
no_trouble G1 DomD

step "all detached, nothing left"
for i in $(seq 0 $((NR - 1))); do
	virtio-grantctl detach G1 "d$i" >/tmp/said 2>&1 || fail "detach: $(cat /tmp/said)"
done
nothing_left
in_domain G1 '! ls -d /sys/block/vd* 2>/dev/null' || fail "a disk is left"
expect 0 "$(in_domain G1 'cat /sys/module/virtio_grant_dma/parameters/quarantined_pages')" \
	"quarantined pages"
retry 20 in_domain DomD 'virtio-grantctl status | grep -q ": 0 device(s)"' ||
	fail "the backend serves on: $(in_domain DomD 'virtio-grantctl status')"
result guest_kib_left $(($(awk '/^MemFree/ { print $2 }' /tmp/mem.first) - $(free_kib G1 /tmp/mem.end)))
no_trouble G1 DomD
