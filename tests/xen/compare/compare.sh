# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make compare` in the rig: one guest, one disk per way of serving it, all of
# them in one driver domain; and a mainline guest, which has only one way.
# What is measured goes to out/runs/, one file per run; report.py reads them.
#
#	DomD: virtio-grantd, 2 x virtio-foreignd, blkback
#	    O_DIRECT           page cache, a RAM disk each
#	        | | | | | |      | | |
#	G1:     | | | | | +pv    | | +foreign-static
#	        | | | | +map,    | +foreign-dynamic
#	        | | | |  copy    +pool-cached
#	        | | | |  (G2)
#	        | | | +pool-plain
#	        | | +pool-noevents
#	        | +pool-noranges
#	        +pool
#
# Pages mapped by privcmd can't be the target of direct I/O in Linux, so the
# foreign ones use the page cache, and pool-cached is what they compare with.
#
# rig: kernels 6.12
# rig: needs backend modules program:virtio-foreignd program:vg-target kernel:plain
# rig: timeout 7200

. /vg/in/dom0/virtio.sh

: "${QUICK:=}" "${ROUNDS:=3}" "${SWEEP_S:=2}" "${BACKENDS:=}" "${WORKLOADS:=}" "${OPTIONS:=}"
VG_TIMEOUT_S=300
RAM_KIB=65536

# name	guest	vdev	ram	how
BACKEND_TABLE='pool	G1	xvda	ram0	direct
pool-noranges	G1	xvdb	ram1	direct
pool-noevents	G1	xvdc	ram2	direct
pool-plain	G1	xvdd	ram3	direct
pool-cached	G1	xvde	ram4	cached
foreign-dynamic	G1	xvdf	ram5	cached
foreign-static	G1	xvdg	ram6	cached
pv	G1	xvdh	ram7	blkback
map	G2	xvdi	ram8	direct
copy	G2	xvdj	ram9	direct'

# name|bytes per I/O|fio
essential='4k-randread-qd1|4096|--rw=randread --bs=4k --iodepth=1
4k-randread-qd16|4096|--rw=randread --bs=4k --iodepth=16
4k-randwrite-qd16|4096|--rw=randwrite --bs=4k --iodepth=16
4k-randread-qd32|4096|--rw=randread --bs=4k --iodepth=32
64k-randread-qd16|65536|--rw=randread --bs=64k --iodepth=16'
complete="$essential
4k-randwrite-qd1|4096|--rw=randwrite --bs=4k --iodepth=1
4k-randwrite-qd32|4096|--rw=randwrite --bs=4k --iodepth=32
64k-randwrite-qd16|65536|--rw=randwrite --bs=64k --iodepth=16
1m-read-qd4|1048576|--rw=read --bs=1m --iodepth=4
1m-write-qd4|1048576|--rw=write --bs=1m --iodepth=4
mix-verify|4096|--rw=randrw --rwmixread=70 --bs=4k --iodepth=16 --verify=crc32c --verify_fatal=1 --size=6m --runtime=0 --time_based=0 --norandommap=0"
depths='1 2 4 8 16 32 64'
sizes='512 1k 2k 4k 8k 16k 32k 64k 128k 256k 512k 1m'

if [ -n "$QUICK" ]; then
	workloads="$essential"
	seconds="${SECONDS_EACH:-2}"
	sweep=
else
	workloads="$complete"
	seconds="${SECONDS_EACH:-5}"
	sweep=1
fi

# foreign_disk TARGET VDEV
foreign_disk() {
	virtio_disk "$1" "$2" DomD | sed 's/grant_usage=1/grant_usage=0/'
}

# instance RUN_DIR PROGRAM OPTIONS...: in DomD.
instance() {
	local dir="$1"

	shift
	in_domain DomD "mkdir -p $dir
		( setsid $* --run-dir=$dir 2>&1 </dev/null |
			tee $dir/log >/dev/hvc0 ) &"
	retry 20 in_domain DomD "test -S $dir/grantd.sock" ||
		fail "$1 did not start: $(in_domain DomD "tail -n 1 $dir/log")"
}

# "SERIAL DEVICE" of each virtio disk of a guest: its serial is its vdev.
devices_of() {
	in_domain "$1" 'for d in /sys/block/vd*; do
		echo "$(cat $d/serial) ${d##*/}"; done'
}

# has_devices GUEST COUNT
has_devices() {
	[ "$(devices_of "$1" | grep -c '^xvd')" -eq "$2" ]
}

# ---- the domains -------------------------------------------------------------

step "the broker, and a driver domain with RAM disks"
# Mapping all of a guest can take more than a vCPU may wait by default.
start_broker --foreign --answer-timeout=20000
start_driver_domain DomD mem=1536
# A disk for each: an image has one user.
in_domain DomD "modprobe brd rd_nr=10 rd_size=$RAM_KIB
	for r in 0 1 2 3 4 5 6 7 8 9; do
		dd if=/dev/zero of=/dev/ram\$r bs=1M count=$((RAM_KIB >> 10)) \
			oflag=direct
	done 2>/dev/null"
# The same $OPTIONS for all: an experiment must not favour one of ours.
instance /run/pool virtio-grantd --direct-io=on --only=xvda,xvdb,xvdc,xvdd \
	$OPTIONS
# What a guest without the extension gets by default is one or the other, by
# the size of the request.
instance /run/map virtio-grantd --direct-io=on --only=xvdi --copy-max=0 $OPTIONS
instance /run/copy virtio-grantd --direct-io=on --only=xvdj \
	--copy-max=$((4 << 20)) $OPTIONS
instance /run/pool-cached virtio-grantd --direct-io=off --only=xvde $OPTIONS
instance /run/foreign-dynamic virtio-foreignd --direct-io=off --only=xvdf \
	--memory=dynamic $OPTIONS
instance /run/foreign-static virtio-foreignd --direct-io=off --only=xvdg \
	--memory=static $OPTIONS

step "the guest, with a disk of every kind"
start_guest G1 "disk=[$(virtio_disk /dev/ram0 xvda DomD),
	$(virtio_disk /dev/ram1 xvdb DomD),$(virtio_disk /dev/ram2 xvdc DomD),
	$(virtio_disk /dev/ram3 xvdd DomD),$(virtio_disk /dev/ram4 xvde DomD),
	$(foreign_disk /dev/ram5 xvdf),$(foreign_disk /dev/ram6 xvdg),
	$(pv_disk /dev/ram7 xvdh DomD)]"
vg-target "$(domid DomD)" "$(domid G1)"
in_domain DomD 'modprobe xen-privcmd && test -c /dev/xen/privcmd'
load_ours G1
in_domain G1 'modprobe virtio_mmio'
retry 30 has_devices G1 7 || fail "G1 has only $(devices_of G1)"
# That device again, without these halves of the extension.
in_domain G1 'rebind() {
		set -e
		disk=$(grep -l -x $1 /sys/block/vd*/serial)
		dev=$(basename $(readlink -f ${disk%/serial}/device/..))
		shift
		cd /sys/bus/platform/drivers/virtio-grant-mmio
		echo $dev >unbind
		for p; do echo 0 >/sys/module/virtio_grant/parameters/$p; done
		echo $dev >bind
		for p; do echo 1 >/sys/module/virtio_grant/parameters/$p; done
	}
	(rebind xvdb use_ranges) && (rebind xvdc use_events) &&
		(rebind xvdd use_ranges use_events)'
retry 30 has_devices G1 7 || fail "G1 has only $(devices_of G1)"

step "the mainline guest"
start_guest G2 kernel=plain "disk=[$(virtio_disk /dev/ram8 xvdi DomD),
	$(virtio_disk /dev/ram9 xvdj DomD)]"
in_domain G2 'modprobe virtio_mmio; modprobe virtio_blk'
retry 30 has_devices G2 2 || fail "G2 has only $(devices_of G2)"
devices=$(devices_of G1 | sed 's/^/G1 /'; devices_of G2 | sed 's/^/G2 /')

declare -A guest device
order=
while IFS=$'\t' read -r name g vdev ram how; do
	if [ -n "$BACKENDS" ] && ! [[ " $BACKENDS " = *" $name "* ]]; then
		continue
	fi
	guest[$name]="$g"
	if [ "$how" = blkback ]; then
		device[$name]=xvdh
	else
		device[$name]=$(sed -n "s/^$g $vdev //p" <<<"$devices")
	fi
	[ -n "${device[$name]}" ] || fail "$name: $g has no disk $vdev"
	order="$order $name"
	say "$name: ${device[$name]} in $g"
done <<<"$BACKEND_TABLE"
[ -z "$WORKLOADS" ] || workloads=$(grep -E "^(${WORKLOADS// /|})\|" <<<"$complete")

# ---- what there is to know about them ----------------------------------------------

mkdir -p /vg/out/runs
facts() {
	local name dir pages

	echo "domid_DomD $(domid DomD)"
	for name in G1 G2; do
		echo "domid_$name $(domid $name)"
		echo "bytes_$name $(($(xl list $name | awk 'NR == 2 { print $3 }') * 1048576))"
		echo "kernel_$name $(in_domain $name 'uname -r')"
	done
	echo "kernel_DomD $(in_domain DomD 'uname -r')"
	echo "xen $(xl info | awk '/^xen_version/ { print $3 }')"
	# Same size for all of them; the first tells.
	dir="/sys/block/${device[pool]:-none}/device/../grant_pool"
	pages=$(in_domain G1 "cat $dir/pages_total 2>/dev/null") || pages=
	for name in $order; do
		[[ $name != pool* ]] || echo "pool_pages_$name $pages"
	done
	echo "pv_grants $(in_domain DomD 'cat /sys/module/xen_blkback/parameters/max_persistent_grants')"
	echo "device_bytes $((RAM_KIB * 1024))"
	echo "seconds_each $seconds"
	echo "daemon_options ${OPTIONS:-none}"
}
facts >/vg/out/facts

# ---- runs ----------------------------------------------------------------------------

nr=0
# run BACKEND WORKLOAD ROUND BYTES FIO...
run() {
	local name="$1" g="${guest[$1]}" file

	nr=$((nr + 1))
	file=$(printf '/vg/out/runs/%05d' "$nr")
	{
		echo "backend $1"
		echo "workload $2"
		echo "round $3"
		echo "io_bytes $4"
		echo "guest $g"
	} >"$file.new"
	perf_reset
	in_domain "$g" "cat /proc/interrupts >/tmp/i0
		fio --name=w --filename=/dev/${device[$name]} --ioengine=libaio \
			--direct=1 --size=$((RAM_KIB / 1024))m --runtime=$seconds \
			--time_based=1 --norandommap=1 --randrepeat=0 $5 \
			--output-format=terse --terse-version=3 --output=/tmp/fio 2>&1 ||
			{ cat /tmp/fio; exit 1; }
		cat /proc/interrupts >/tmp/i1" >/tmp/said ||
		fail "fio on $name, $2: $(tail -n 2 /tmp/said)"
	xenperf -f >/tmp/perf
	grep -E '^(by domain:|trap: guest data)' /tmp/perf >>"$file.new"
	in_domain "$g" 'for i in 0 1; do
			echo "irqs $(awk "NR > 1 { n += \$2 } END { print n }" /tmp/i$i)"
		done
		sed "s/^/fio /" /tmp/fio' >>"$file.new"
	mv "$file.new" "$file"
}

memory() {
	in_domain DomD 'for dir in pool pool-cached map copy foreign-dynamic foreign-static; do
			pid=$(cat /run/$dir/virtio-*.pid)
			cat /proc/[0-9]*/status 2>/dev/null | awk -v p=$pid -v d=$dir "
				/^Pid:/ { me = \$2 } /^PPid:/ { up = \$2 }
				me != p && up != p { next }
				/^VmRSS:/ { rss += \$2 }
				/^RssAnon:|^VmPTE:/ { own += \$2 }
				END { print \"rss_\" d, rss; print \"own_\" d, own }"
		done
		awk "/MemTotal/ { t = \$2 } /MemAvailable/ { print \"domd_used\", t - \$2 }" /proc/meminfo'
}

# Pages come into use, and PV block's grants become persistent.
step "warming up"
in_domain DomD 'cat /dev/ram4 /dev/ram5 /dev/ram6 >/dev/null'
for name in $order; do
	in_domain "${guest[$name]}" "fio --name=w --filename=/dev/${device[$name]} \
		--ioengine=libaio --direct=1 --rw=randrw --bs=64k --iodepth=16 \
		--size=60m --time_based --runtime=2 --output=/dev/null 2>&1" >/tmp/said ||
		fail "fio on $name: $(tail -n 2 /tmp/said)"
done

# In each round the other way round, so that a drift favours nobody.
for round in $(seq "$ROUNDS"); do
	step "round $round of $ROUNDS"
	names="$order"
	[ $((round % 2)) -eq 1 ] ||
		names=$(tr ' ' '\n' <<<"$order" | tac | tr '\n' ' ')
	while IFS='|' read -r workload bytes args; do
		for name in $names; do
			run "$name" "$workload" "$round" "$bytes" "$args"
		done
	done <<<"$workloads"
	memory >/vg/out/memory.$round
done

if [ -n "$sweep" ]; then
	step "sweeps over depth and size"
	seconds="$SWEEP_S"
	for name in $order; do
		for n in $depths; do
			run "$name" "depth-$n" 1 4096 "--rw=randread --bs=4k --iodepth=$n"
		done
		for n in $sizes; do
			bytes=${n%k}
			case "$n" in
			*k) bytes=$((bytes * 1024)) ;;
			1m) bytes=1048576 ;;
			esac
			run "$name" "size-$bytes" 1 "$bytes" "--rw=randread --bs=$n --iodepth=16"
		done
	done
fi

step "what the daemons counted"
for name in pool pool-cached map copy foreign-dynamic foreign-static; do
	in_domain DomD "virtio-grantctl -j -r /run/$name stats" \
		>/vg/out/ctl-$name.json
done
virtio-grantctl -j stats >/vg/out/ctl-broker.json
no_trouble G1 G2 DomD
result runs "$nr"
