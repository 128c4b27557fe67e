# SPDX-License-Identifier: GPL-2.0-or-later
#
# The attacker against this set-up, and against the one that foreign-mapping
# backends need.  Used by scenarios/isolation.sh (short: sampled) and
# isolation/prove-isolation.sh (`make prove-isolation`: everything):
#
#	. /vg/in/dom0/virtio.sh
#	. /vg/in/dom0/bus.sh
#	. /vg/in/dom0/isolation.sh
#
# On x86 all disks are on the bus, there is no broker, and so no relay page, and
# nothing that serves virtio-mmio by foreign mapping: there the driver domain is
# made what such a backend needs (conventional_in_place).
#
# What the attacker said goes to /vg/out/ours/*.json and
# /vg/out/conventional/*.json, what was true meanwhile to truth beside it;
# isolation/report.py judges (docs/threat-model.md has the allowlist).

# of the attacker's memory: every this many'th frame, reference...
: "${STEP:=1}" "${GUEST_MIB:=512}" "${SAMPLE_S:=40}" "${STORM_S:=5}" "${RELAY_S:=6}" "${BUS_S:=6}"
# Parts to leave out: store, relay, bus.
: "${WITHOUT:=}"
NEIGHBOUR_MIB=192
# dom0's memory.  A PV guest's frames are the machine's (run.sh): 4 GiB and a hole.
DOM0_MIB=768
FIO_SIZE=4m
[ "$VG_ARCH" != x86 ] || {
	WITHOUT="relay $WITHOUT"
	DOM0_MIB=5120
	FIO_SIZE=1m
	VG_ATTACH_S=30
}
# GO_ON=1: go on after a failure (for work on the test itself).
: "${GO_ON:=}"
[ -z "$GO_ON" ] || {
	set +e
	fail() {
		say "FAILED: $*"
		went_on=1
	}
}
OUT=/vg/out/ours

# secrets FILE NAME...: fresh ones, inverted (isolation/secret.h).
secrets() {
	local file="$1" name

	shift
	for name; do
		echo "$name $(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')"
	done >"$file"
}

# give NAME FILE: the secrets, to a domain.
give() {
	push "$1" "$2" /tmp/secrets
}

truth() {
	echo "$*" >>"$OUT/truth"
}

# attack DOMAIN FILE WORDS...: one part of the attacker's program there.
attack() {
	local domain="$1" file="$2" nice=''

	shift 2
	echo "-- $domain attacks: $*"
	# Where one processor does everything, what needs no load comes before it
	# (start_on_bus has told Xen the same).
	case "$VG_ARCH:$file" in
	x86:sample|x86:storm|x86:bus-*) ;;
	x86:*) nice='nice=-19' ;;
	esac
	in_domain -t 1800 "$domain" "${LIMIT:-} vg-attack /tmp/secrets self=$(domid "$domain") step=$STEP $nice $*" \
		>"$OUT/$file.json" 2>"$OUT/$file.err" ||
		fail "vg-attack $* in $domain: $(tail -n 1 "$OUT/$file.err")"
}

# before_modules NAME SECRET MIB: that much memory, or nearly all that is free, is full
# of it and free again.
before_modules() {
	in_domain "$1" "free=\$(awk '/^MemAvailable/ { print int(\$2 * 7 / 8192) }' /proc/meminfo)
		vg-victim /tmp/secrets churn $2 \$((free < $3 ? free : $3))"
}

# plant NAME DEVICE: in a process, the page cache, the kernel, a file.
plant() {
	in_domain "$1" "set -e
		s() { sed -n \"s/^\$1 //p\" /tmp/secrets; }
		modprobe loop; modprobe ext4
		dd if=/dev/zero of=/pc.img bs=1M count=12 2>/dev/null
		mkfs.ext4 -q -F /pc.img
		mount -t ext4 -o loop /pc.img /mnt
		vg-victim /tmp/secrets file pagecache /mnt/secret 4096
		vg-victim /tmp/secrets file unread /root/secret 1024
		( setsid vg-victim /tmp/secrets hold process 16 </dev/null >/dev/null 2>&1 & )
		modprobe vg_victim kernel=\$(s kernel) canary=\$(s canary) \
			inflight=\$(s inflight) dev=$2 first_kib=0 kib=4096" ||
		fail "the secrets cannot be planted in $1"
}

# load NAME LABEL AROUND INFLIGHT DEVICE FIRST_KIB KIB: verified, until /tmp/stop.
load() {
	in_domain "$1" "( setsid vg-victim /tmp/secrets io $3 $4 $5 $6 $7 /tmp/stop \
		>/tmp/io.$2 2>&1 </dev/null; echo \$? >/tmp/io.$2.status ) >/dev/null 2>&1 &"
}

# fio_load NAME DEVICE OFFSET SIZE: whole passes of writing and verifying.
fio_load() {
	in_domain "$1" "( n=0; while [ ! -e /tmp/stop ]; do
			fio --name=v --filename=$2 $VG_FIO --direct=1 \
				--ioengine=libaio --iodepth=8 --rw=randrw \
				--bssplit=512/30:4k/40:64k/30 --offset=$3 --size=$4 \
				--output=/tmp/fio.out 2>/tmp/fio.err || exit
			n=\$((n + 1)); done
		echo \$n >/tmp/fio.passes ) >/dev/null 2>&1 &"
}

# still_well NAME LABEL...: the loads end, and nothing of theirs was wrong.
still_well() {
	local name="$1" label

	shift
	in_domain "$name" '>/tmp/stop'
	for label; do
		retry 90 in_domain "$name" "test -e /tmp/io.$label.status" ||
			fail "$name: the load $label hangs"
		expect 0 "$(in_domain "$name" "cat /tmp/io.$label.status")" \
			"$name: load $label ($(in_domain "$name" "tail -n 1 /tmp/io.$label"))"
		result "transfers_${name}_$label" "$(in_domain "$name" "cat /tmp/io.$label")"
	done
}

# nodes: the paths of all there are.
nodes() {
	xenstore-ls -f | sed 's/ = .*//'
}

# pool_of NAME DEVICE: "FIRST COUNT".
pool_of() {
	in_domain "$1" "cd -P /sys/block/$2/device/../grant_pool &&
		echo \$(cat first_ref pages_total)"
}

# relay_of BACKEND GUEST DEVID: "DOMID REF PORT".
relay_of() {
	local dir

	dir="/local/domain/$(domid "$1")/backend/virtio_disk/$(domid "$2")/$3"
	echo "$(xenstore-read "$dir/relay-domid") $(xenstore-read "$dir/relay-ref") $(xenstore-read "$dir/relay-port")"
}

# bus_nodes_of GUEST NAME: sets $bus_front and $bus_back, of its device on the bus
# that is called so.
bus_nodes_of() {
	local dir id

	dir="/local/domain/$(domid "$1")/device/virtio_grant"
	for id in $(xenstore-list "$dir"); do
		bus_front="$dir/$id"
		bus_back=$(xenstore-read "$bus_front/backend")
		[ "$(xenstore-read "$bus_back/dev")" != "$2" ] || return 0
	done
	fail "$1 has no device called $2"
}

# poke TIMES: something that changes while it is watched.
poke() {
	local i id

	for i in $(seq "$1"); do
		for id in 0 "$(domid G1)" "$(domid G2)"; do
			xenstore-write "/local/domain/$id/vg-poke" "$i"
		done
		sleep 1
	done
}

# frames_of NAME: how many frames of the machine are its own, by Xen's account:
# its memory, and what Xen has allocated for it (grant table, shared info).  With
# a console that does not say so, only the first.
frames_of() {
	local id mib

	id=$(domid "$1")
	mib=$(xl list "$1" | awk 'NR == 2 { print $3 }')
	xl debug-keys q
	sleep 1
	xl dmesg | awk -v id="$id" -v mib="$mib" '
		/General information for domain / { mine = $NF == id ":" }
		mine && /nr_pages=/ {
			sub(/.*nr_pages=/, "")
			n = $1
			sub(/.*xenheap_pages=/, "")
			n += $1
		}
		END { print n ? n : mib * 256 }'
}

# ---- the set-up that this project is about -----------------------------------

settings() {
	local part

	echo "step $STEP"
	echo "guest_mib $GUEST_MIB"
	[ "$VG_ARCH" != x86 ] || echo "x86 1"
	for part in $WITHOUT; do
		echo "without_$part 1"
	done
}

set_up_ours() {
	local vm

	mkdir -p "$OUT"
	settings >/vg/out/settings
	step "a driver domain without privilege, a guest with secrets, a neighbour"
	secrets /tmp/guest process pagecache unread kernel canary freed inflight \
		inflight_b inflight_c
	secrets /tmp/neighbour n_process n_inflight
	cat /tmp/guest /tmp/neighbour >/tmp/all
	case "$VG_ARCH" in
	x86) start_on_bus ;;
	*) start_on_mmio ;;
	esac
	with bus && set_up_bus
	plant G1 /dev/vda
	in_domain G2 '( setsid vg-victim /tmp/secrets hold n_process 8 </dev/null >/dev/null 2>&1 & )'

	truth "guest $(domid G1) $GUEST_MIB"
	truth "neighbour $(domid G2) $NEIGHBOUR_MIB"
	truth "driver $(domid DomD) $(xl list DomD | awk 'NR == 2 { print $3 * 256 }')"
	vm=$(xenstore-read "/local/domain/$(domid DomD)/vm")
	truth "vm ${vm#/vm/}"
	truth "pool guest 0 $(pool_of G1 vda)"
	truth "pool guest 1 $(pool_of G1 vdb)"
	truth "pool neighbour 0 $(pool_of G2 vda)"
	case "$VG_ARCH" in
	x86)
		truth_of_bus G1 guest first
		truth_of_bus G1 guest second
		truth_of_bus G2 neighbour neighbour ;;
	*)
		truth "relay $(relay_of DomD G1 51712)"
		truth "relay $(relay_of DomD G1 51728)"
		truth "relay $(relay_of DomD G2 51712)" ;;
	esac
	with bus && {
		truth "pool guest 2 $(pool_of G1 vdc)"
		truth_of_bus G1 guest bus
	}

	step "load on every disk"
	load G1 vda canary inflight /dev/vda 4096 4096
	load G1 vdb canary inflight_b /dev/vdb 0 16384
	with bus && load G1 vdc canary inflight_c /dev/vdc 0 16384
	fio_load G1 /dev/vda 8m "$FIO_SIZE"
	load G2 vda n_process n_inflight /dev/vda 0 16384
	in_domain DomD 'modprobe vg_attack'
}

# The secrets, and memory that was full of one, before our modules are there.
prepare_guests() {
	give G1 /tmp/guest
	give G2 /tmp/neighbour
	before_modules G1 freed $((GUEST_MIB * 5 / 8))
}

start_on_mmio() {
	start_broker
	VG_RAMDISKS=4 start_driver DomD
	give DomD /tmp/all
	together 'start_guest G1 mem="$GUEST_MIB" "cmdline=init_on_alloc=0 init_on_free=0" \
		"disk=[$(virtio_disk /dev/ram0 xvda DomD),$(virtio_disk /dev/ram1 xvdb DomD)]"' \
		'start_guest G2 mem="$NEIGHBOUR_MIB" \
		"disk=[$(virtio_disk /dev/ram2 xvda DomD)]"'
	prepare_guests
	load_ours G1
	load_ours G2
	has_disk G1 vda vdb
	has_disk G2 vda
}

start_on_bus() {
	VG_RAMDISKS=4 start_driver DomD
	xl sched-credit2 -d Domain-0 -w 1024
	xl sched-credit2 -d DomD -w 1024
	give DomD /tmp/all
	start_guest G1 mem="$GUEST_MIB" "cmdline=init_on_alloc=0 init_on_free=0"
	start_guest G2 mem="$NEIGHBOUR_MIB"
	prepare_guests
	load_bus G1
	load_bus G2
	attach G1 backend=DomD type=blk target=/dev/ram0 name=first
	has_disk G1 vda
	attach G1 backend=DomD type=blk target=/dev/ram1 name=second
	has_disk G1 vdb
	attach G2 backend=DomD type=blk target=/dev/ram2 name=neighbour
	has_disk G2 vda
}

# A third disk of the guest's, on the bus.
set_up_bus() {
	load_bus G1
	attach G1 backend=DomD type=blk target=/dev/ram3 name=bus
	has_disk G1 vdc
}

# truth_of_bus GUEST ROLE NAME
truth_of_bus() {
	bus_nodes_of "$1" "$3"
	truth "page $2 $(xenstore-read "$bus_front/msg-ref")"
	truth "front $bus_front"
}

# The attacker's targets.
everyone() {
	echo "guest=$(domid G1)/$GUEST_MIB neighbour=$(domid G2)/$NEIGHBOUR_MIB dom0=0/$DOM0_MIB"
}

# with PART: it is not left out.
with() {
	case " $WITHOUT " in
	*" $1 "*) return 1 ;;
	esac
}

attack_store() {
	local poker

	step "xenstore"
	poke 1
	nodes >"$OUT/nodes"
	push DomD "$OUT/nodes" /tmp/nodes
	poke 100 &
	poker=$!
	attack DomD store "$(everyone) store /tmp/nodes"
	kill "$poker"
}

attack_ours() {
	step "foreign mapping, by privcmd as it is shipped and without its restrictions"
	in_domain DomD 'modprobe xen-privcmd'
	attack DomD privcmd-shipped "$(everyone) privcmd shipped"
	in_domain DomD 'rmmod xen-privcmd && modprobe xen-privcmd unrestricted=1'
	attack DomD privcmd-unrestricted "$(everyone) privcmd unrestricted"
	in_domain DomD 'rmmod xen-privcmd'

	step "foreign mapping, by hypercalls of the attacker's own"
	attack DomD frames "$(everyone) xen=32754 io=32753 frames"
	step "resources"
	attack DomD resources "$(everyone) resources"
	step "grant references"
	attack DomD grants "$(everyone) grants"
	attack DomD gntdev "$(everyone) gntdev"
	# x86 has it for PV guests only, whatever the frame.
	case "$VG_ARCH" in
	x86) attack DomD cache "$(everyone) cache 0 0x10000" ;;
	*) attack DomD cache "$(everyone) cache 0x40000 $((0x100000))" ;;
	esac
	truth "frames $(frames_of DomD)"
	step "event channels"
	attack DomD events "$(everyone) events"
	with store && attack_store
	step "device-model operations, domctl, sysctl and the rest"
	attack DomD calls "$(everyone) calls"
	step "all that can be reached, again and again under load"
	attack DomD sample "guest=$(domid G1) neighbour=$(domid G2) dom0=0 sample $SAMPLE_S"
	step "floods"
	attack DomD storm "$(everyone) storm $STORM_S"
	# What was said until then counts.
	with store &&
		LIMIT="timeout -s KILL 120" attack DomD floods "$(everyone) floods; true"
	xenstore-read /local/domain/0/name >/dev/null || fail "xenstored does not answer"
	in_domain G1 'echo alive' && in_domain G2 'echo alive' ||
		fail "a guest does not answer"

	step "none of it has harmed the guests"
	still_well G1 vda vdb
	with bus && still_well G1 vdc
	still_well G2 vda
	retry 90 in_domain G1 'test -e /tmp/fio.passes' ||
		fail "fio in G1: $(in_domain G1 'tail -n 2 /tmp/fio.err')"
	result fio_passes "$(in_domain G1 'cat /tmp/fio.passes')"
	result module_rounds "$(in_domain G1 'cat /sys/module/vg_victim/parameters/rounds')"
	expect 0 "$(in_domain G1 'cat /sys/module/vg_victim/parameters/errors')" \
		"errors of the module's own I/O"
	case "$VG_ARCH" in
	x86) virtio-grantctl list G1 ;;
	*) virtio-grantctl >/dev/null || fail "the broker does not answer" ;;
	esac
	no_trouble G1 G2
}

# ---- the set-up of foreign-mapping backends ------------------------------------

# Destroys what is there, except for dom0's daemons.
clear_ours() {
	local name

	for name in G1 G2 DomD; do
		destroy_guest "$name"
	done
	end_daemon dom0 virtio-grant-broker
	rm -f /run/virtio-grant/broker.sock
}

set_up_conventional() {
	OUT=/vg/out/conventional
	mkdir -p "$OUT"
	step "the conventional set-up: a driver domain whose target is the guest"
	secrets /tmp/guest process pagecache unread kernel canary freed inflight
	start_broker --foreign
	start_driver_domain DomF
	in_domain DomF 'modprobe brd rd_nr=1 rd_size=32768
		mkdir -p /run/foreign
		( setsid virtio-foreignd --memory=dynamic --direct-io=off \
			--run-dir=/run/foreign 2>&1 </dev/null | tee /run/foreign/log >/dev/hvc0 ) &'
	retry 20 in_domain DomF 'test -S /run/foreign/grantd.sock' ||
		fail "virtio-foreignd did not start"
	start_guest GF mem="$GUEST_MIB" "cmdline=init_on_alloc=0 init_on_free=0" \
		"disk=[$(virtio_disk /dev/ram0 xvda DomF | sed 's/grant_usage=1/grant_usage=0/')]"
	vg-target "$(domid DomF)" "$(domid GF)"
	in_domain DomF 'modprobe xen-privcmd && test -c /dev/xen/privcmd'
	give DomF /tmp/guest
	give GF /tmp/guest
	before_modules GF freed $((GUEST_MIB * 5 / 8))
	in_domain GF 'echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
		modprobe virtio_blk && modprobe virtio_mmio'
	has_disk GF vda
	plant GF /dev/vda
	truth "guest $(domid GF) $GUEST_MIB"
	truth "driver $(domid DomF) $(xl list DomF | awk 'NR == 2 { print $3 * 256 }')"
	load GF vda canary inflight /dev/vda 4096 4096
	in_domain DomF 'modprobe vg_attack'
}

# attack_conventional DRIVER GUEST
attack_conventional() {
	local guest

	guest="guest=$(domid "$2")/$GUEST_MIB"
	step "the same attacker there"
	attack "$1" privcmd-shipped "$guest privcmd shipped"
	attack "$1" frames "$guest frames"
	attack "$1" resources "$guest resources"
	attack "$1" grants "$guest grants"
	attack "$1" events "$guest events"
	in_domain "$2" 'echo alive' || fail "the guest does not answer"
	# Some of these destroy the guest, so they come last.
	attack "$1" calls "$guest calls"
	result conventional_guest_survived \
		"$(in_domain -t 10 "$2" 'echo true' 2>/dev/null || echo false)"
}

# The driver domain that was powerless is given what the other needs.
target_in_place() {
	OUT=/vg/out/conventional
	mkdir -p "$OUT"
	step "dom0 makes the guest the target of the driver domain"
	truth "guest $(domid G1) $GUEST_MIB"
	vg-target "$(domid DomD)" "$(domid G1)"
	in_domain DomD 'modprobe xen-privcmd'
}

# The same in short.
conventional_in_place() {
	target_in_place
	step "the same attacker, with the guest as its domain's target"
	attack DomD privcmd-shipped "guest=$(domid G1)/$GUEST_MIB privcmd shipped"
	attack DomD frames "guest=$(domid G1)/$GUEST_MIB frames"
	attack DomD calls "guest=$(domid G1)/$GUEST_MIB calls"
}

# With FLASK: dom0 tries to give the driver domain what the other needs, and the
# same attacker goes on to reach no more than before.
attack_as_target() {
	local said guest

	guest="guest=$(domid G1)/$GUEST_MIB"
	step "the same attacker, after the guest was to become its domain's target"
	if said=$(vg-target "$(domid DomD)" "$(domid G1)" 2>&1); then
		fail "DomD has become privileged over G1: $said"
	fi
	say "dom0, set_target: $said"
	in_domain DomD 'modprobe xen-privcmd unrestricted=1'
	attack DomD target-privcmd "$guest privcmd unrestricted"
	attack DomD target-frames "$guest frames"
	attack DomD target-resources "$guest resources"
	attack DomD target-calls "$guest calls"
	in_domain G1 'echo alive' || fail "the guest does not answer"
}

# ---- the relay page -------------------------------------------------------------

# relay_attack HOW SECONDS: on G1's first disk, while its driver is bound anew,
# which is when there are register accesses to be answered.
relay_attack() {
	local relay status=0

	relay=$(relay_of DomD G1 51712)
	in_domain G1 'rm -f /tmp/rebound; ( sleep 1
		cd /sys/bus/platform/drivers/virtio-grant-mmio
		echo 2000000.virtio >unbind; echo 2000000.virtio >bind
		echo $? >/tmp/rebound ) >/dev/null 2>&1 &'
	# shellcheck disable=SC2086 # three words
	attack DomD "relay-$1" "guest=$(domid G1) relay $1 $relay $2"
	retry 60 in_domain G1 'test -e /tmp/rebound' ||
		fail "relay, $1: the guest's driver hangs"
	say "relay, $1: the driver's probe ends with status $(in_domain G1 'cat /tmp/rebound')"
	in_domain -t 20 G1 'echo alive' || fail "relay, $1: the guest does not answer"
	virtio-grantctl >/dev/null || fail "relay, $1: the broker does not answer"
}

# toy_attack HOW SECONDS TEXT: the same, but the attacker is the device, while the
# worker of the real one stands still.  TEXT is what the guest has to say of it.
# The first times it may find that nobody answers, see bind_again.
toy_attack() {
	in_domain G1 "rm -f /tmp/rebound; dmesg -c >/dev/null
		echo 6 >/sys/module/virtio_grant/parameters/wait_s
		( cd /sys/bus/platform/drivers/virtio-grant-mmio
		until dmesg | grep -q -F '$3'; do
			sleep 2
			[ ! -e 2000000.virtio ] || echo 2000000.virtio >unbind
			echo 2000000.virtio >bind
		done
		echo said >/tmp/rebound ) >/dev/null 2>&1 & :" 2>/dev/null
	# shellcheck disable=SC2046 # three words
	attack DomD "relay-$1" "guest=$(domid G1) relay $1 $(relay_of DomD G1 51712) $2"
	retry 20 in_domain G1 'test -e /tmp/rebound' ||
		fail "relay, $1: the guest does not say '$3', but:" \
			"$(in_domain G1 'dmesg | grep -i virtio | tail -n 3')"
	# No capacity but the toy's own.
	in_domain G1 'for d in /sys/block/vd*/size; do
		[ ! -e $d ] || [ $(cat $d) -le 1048576 ] || { cat $d; exit 1; }
	done' || fail "relay, $1: the guest believes in a disk of that many sectors"
}

# worker_of BACKEND GUEST: the process that serves it.
worker_of() {
	in_domain "$1" 'virtio-grantctl -j' | tr -d ' \n' |
		sed 's/"guest":/\n&/g' |
		sed -n "s/^\"guest\":$(domid "$2"),.*\"worker_pid\":\([0-9]*\).*/\1/p" |
		head -n 1
}

attack_relay() {
	local disk how worker

	in_domain G1 'rmmod vg_victim'
	in_domain G2 'rm -f /tmp/stop'
	load G2 relay n_process n_inflight /dev/vda 0 16384
	step "the relay page: garbage, replays, unasked answers, lies"
	for how in garbage replay unasked lies; do
		relay_attack "$how" "$RELAY_S"
	done
	worker=$(worker_of DomD G1)
	in_domain DomD "kill -STOP $worker"
	step "the relay page: another device, a configuration that never settles, of ones, none"
	toy_attack console 12 'refused: a device of type 3 (console)'
	in_domain G1 '[ ! -e /sys/bus/platform/devices/2000000.virtio/driver ]' ||
		fail "the guest has a driver for a console"
	toy_attack unsettled 12 'device failed: its configuration never settles'
	toy_attack ones 12 'device failed: a disk can'
	toy_attack mute 20 'device failed: the backend does not answer'
	step "the relay page: silence"
	in_domain -t 60 G1 'cd /sys/bus/platform/drivers/virtio-grant-mmio
		echo 2000200.virtio >unbind; echo 2000200.virtio >bind; echo $?
		dmesg | grep -i virtio | tail -n 2' ||
		fail "silence: the guest's vCPU stands still"
	in_domain DomD "kill -CONT $worker"

	step "without the attacker the device works again"
	bind_again G1 2000000
	bind_again G1 2000200
	has_disk G1 vda vdb
	for disk in vda vdb; do
		fio_verify G1 "$disk" "--ioengine=libaio --direct=1 --iodepth=16 \
			--size=2m --rw=randrw --bsrange=512-64k --blockalign=512"
	done
	step "the neighbour noticed nothing"
	still_well G2 relay
	no_trouble G1 G2
}

# ---- the bus ---------------------------------------------------------------------

# bus_rebind WHAT: of G1's device on the bus, in the background, from a second on:
# "virtio", whose driver asks by the same page; or "bus", which grants another one.
bus_rebind() {
	in_domain G1 "rm -f /tmp/rebound; ( sleep 1
		case $1 in
		virtio)
			cd /sys/bus/virtio/drivers/virtio_blk
			dev=\$(basename /sys/bus/xen/devices/virtio_grant-${bus_front##*/}/*-bus/virtio*) ;;
		*)
			cd /sys/bus/xen/drivers/virtio_grant_bus
			dev=virtio_grant-${bus_front##*/} ;;
		esac
		echo \$dev >unbind; echo \$dev >bind
		echo \$? >/tmp/rebound ) >/dev/null 2>&1 &"
}

# bus_beside HOW SECONDS: hostile words in the page while its worker answers, and the
# guest's driver is bound anew, which is when there is much to ask.
bus_beside() {
	local attacker

	bus_rebind virtio
	attack DomD "bus-$1" "guest=$(domid G1) bus $1 $bus_front $bus_back $2" &
	attacker=$!
	sleep 2
	in_domain -t 20 G1 'echo alive' ||
		fail "bus, $1: the guest does not answer meanwhile"
	wait "$attacker" || fail "bus, $1: the attack"
	retry 60 in_domain G1 'test -e /tmp/rebound' ||
		fail "bus, $1: the guest's driver hangs"
	say "bus, $1: the driver's probe ends with status $(in_domain G1 'cat /tmp/rebound')"
	in_domain -t 20 G1 'echo alive' || fail "bus, $1: the guest does not answer"
	# As whoever administers the guest would.
	bus_rebind bus
	retry 30 in_domain G1 'test -e /tmp/rebound' ||
		fail "bus, $1: the guest's driver can't be bound again"
	retry 60 bus_works || fail "bus, $1: the device does not work again:" \
		"$(in_domain G1 'dmesg | grep -i virtio | tail -n 2')"
}

# bus_works: G1's disk there can be read.
bus_works() {
	in_domain G1 'disk=$(grep -lx bus /sys/block/vd*/serial | cut -d/ -f4) &&
		dd if=/dev/$disk of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null'
}

# bus_toy HOW SECONDS TEXT: the attacker is the backend, and the daemon is gone.  TEXT
# is what the guest has to say of it; none: its driver is bound twice, and whatever it
# says is good.
bus_toy() {
	in_domain G1 "rm -f /tmp/said; dmesg -c >/dev/null
		echo 6 >/sys/module/virtio_grant/parameters/wait_s
		( cd /sys/bus/xen/drivers/virtio_grant_bus
		dev=virtio_grant-${bus_front##*/}
		times=0
		has_said() {
			[ -n '$3' ] && dmesg | grep -q -F '$3'
		}
		until has_said || { [ -z '$3' ] && [ \$times -ge 2 ]; }; do
			[ ! -e \$dev ] || echo \$dev >unbind
			echo \$dev >bind
			n=0
			until has_said || [ \$n -ge 8 ]; do
				sleep 1; n=\$((n + 1))
			done
			times=\$((times + 1))
		done
		echo said >/tmp/said ) >/dev/null 2>&1 & :" 2>/dev/null
	attack DomD "bus-$1" "guest=$(domid G1) bus $1 $bus_front $bus_back $2"
	retry 20 in_domain G1 'test -e /tmp/said' ||
		fail "bus, $1: the guest does not say '$3', but:" \
			"$(in_domain G1 'dmesg | grep -i virtio | tail -n 3')"
	in_domain G1 'for d in /sys/block/vd*/size; do
		[ ! -e $d ] || [ $(cat $d) -le 1048576 ] || { cat $d; exit 1; }
	done
	! grep -l 0x0003 /sys/bus/virtio/devices/*/device' ||
		fail "bus, $1: the guest believes in such a device"
}

attack_bus() {
	local how

	in_domain G1 '! lsmod | grep -q vg_victim || rmmod vg_victim'
	bus_nodes_of G1 bus
	step "the bus: the front's nodes"
	attack DomD bus-front "guest=$(domid G1) bus front $bus_front $bus_back 1"
	in_domain G2 'rm -f /tmp/stop'
	load G2 bus n_process n_inflight /dev/vda 0 16384
	for how in garbage replay sequence lies flood; do
		step "the bus: $how in the message page"
		bus_beside "$how" "$BUS_S"
	done
	step "the neighbour noticed nothing"
	still_well G2 bus
	step "the bus: a backend of the attacker's own"
	# Of a domain that is taken over, the daemon need not be left alive.
	end_daemon DomD virtio-grantd KILL
	bus_toy console 20 'refused: the backend has type 3 (console)'
	bus_toy short 20 'no device of type 2'
	bus_toy greedy 20 ''
	bus_toy unsettled 20 'device failed: its configuration never settles'
	bus_toy ones 20 'device failed: a disk can'
	bus_toy mute 30 'device failed: the backend does not answer'
	in_domain -t 20 G1 'echo alive' || fail "bus: the guest does not answer"

	step "without the attacker the device works again"
	start_backend DomD
	in_domain G1 'echo 90 >/sys/module/virtio_grant/parameters/wait_s'
	bus_rebind bus
	# Not before: what works until then goes away under whoever uses it.
	retry 60 in_domain G1 'test -e /tmp/rebound' ||
		fail "bus: the guest's driver can't be bound again"
	retry 60 bus_works || fail "bus: the device does not work again:" \
		"$(in_domain G1 'dmesg | grep -i virtio | tail -n 2')"
	fio_verify G1 "$(in_domain G1 'grep -lx bus /sys/block/vd*/serial | cut -d/ -f4')" \
		"--ioengine=libaio --direct=1 --iodepth=16 \
		--size=2m --rw=randrw --bsrange=512-64k --blockalign=512"
	no_trouble G1 G2
}

# bind_again NAME ADDRESS: its driver, to that device.  The first probes find
# what the attacker has left in the relay page, that the backend is gone; they
# make the broker ask it whether that is so (backend/relay/page.h), though not more
# often than every ten seconds if it did not answer before.
bind_again() {
	in_domain -t 60 "$1" "cd /sys/bus/platform/drivers/virtio-grant-mmio
		[ ! -e $2.virtio ] || echo $2.virtio >unbind
		n=0
		until echo $2.virtio >bind && [ -e $2.virtio ]; do
			n=\$((n + 1))
			[ \$n -lt $(slow 30) ] || exit 1
			sleep 1
		done 2>/dev/null
		echo $2.virtio: bound, \$n probes before that failed" ||
		fail "$1: the device at 0x$2 can't be bound again:" \
			"$(in_domain "$1" 'dmesg | grep -i virtio | tail -n 1')"
}
