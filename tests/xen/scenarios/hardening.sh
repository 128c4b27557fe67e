# SPDX-License-Identifier: GPL-2.0-or-later
#
# docs/hardening.md, item by item, in a set-up that follows it: every command
# there says so.  Then some of it is undone, and the command must notice.  The
# daemons run under what their units restrict (units/confine.c).
#
# rig: kernels 6.12
# rig: needs backend modules program:vg-confine
# rig: timeout 300

. /vg/in/dom0/virtio.sh

# item NUMBER-PATTERN or words of its title: its file.
item() {
	grep -l -- "^# .*$1" /vg/in/hardening/* | head -n 1
}

# check FILE: run where it says.
check() {
	case "$1" in
	*.dom0.*) bash "$1" ;;
	*.driver.*) in_domain -t 30 DomD "( $(cat "$1")
		)" ;;
	*.guest.*) in_domain -t 30 G1 "( $(cat "$1")
		)" ;;
	*) fail "where does $1 run?" ;;
	esac
}

# holds TITLE, broken TITLE: the item's command says so.
holds() {
	check "$(item "$1")" || fail "it does not hold: $1"
}

broken() {
	if check "$(item "$1")"; then
		fail "its command does not notice: $1"
	fi
	say "noticed when it is not so: $(head -n 1 "$(item "$1")" | sed 's/^# //')"
}

under() {
	[ ! -s "/vg/in/units/$1" ] || echo "vg-confine $2"
}

step "the domains and the daemons, as docs/hardening.md wants them"
VG_BROKER_UNDER=$(under virtio-grant-broker /vg/in/units/virtio-grant-broker)
start_broker
start_driver_domain DomD cmdline=lockdown=integrity max_grant_frames=16 \
	max_maptrack_frames=256
in_domain DomD 'modprobe brd rd_nr=1 rd_size=32768
	mount -t securityfs none /sys/kernel/security'
VG_BACKEND_UNDER=$(under virtio-grantd /run/rules)
[ -z "$VG_BACKEND_UNDER" ] || push DomD /vg/in/units/virtio-grantd /run/rules
start_backend DomD
start_ours G1 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]"

step "what is not done yet is noticed"
broken "No module can be loaded"
in_domain DomD 'modprobe xen-privcmd'
broken "no /dev/xen/privcmd"
in_domain DomD 'rmmod xen-privcmd; echo 1 >/proc/sys/kernel/modules_disabled'

step "every item"
passed=0
skipped=0
for file in /vg/in/hardening/*; do
	title=$(head -n 1 "$file" | sed 's/^# //')
	case "$file" in
	*.flask|*.systemd)
		say "not here: $title"
		skipped=$((skipped + 1)) ;;
	*)
		check "$file" || fail "${file##*/}: it does not hold: $title"
		passed=$((passed + 1)) ;;
	esac
done
result items_verified "$passed"
result items_not_run "$skipped"

step "what is undone is noticed"
target="/local/domain/$(domid DomD)/target"
xenstore-write "$target" "$(domid G1)"
broken "no target"
xenstore-rm "$target"
xenstore-control quota set nodes 100000
broken "xenstored has quotas"
xenstore-control quota set nodes 1000
xenstore-write "/libxl/$(domid G1)/device/virtio_disk/51712/grant_usage" 0
broken "grant_usage=1"
xenstore-write "/libxl/$(domid G1)/device/virtio_disk/51712/grant_usage" 1
in_domain DomD 'chmod 666 /dev/ram0 /dev/xen/gntdev /run/virtio-grant/grantd.sock'
broken "Images can't be read"
broken "The devices are root's"
broken "Only root can ask the daemon"
in_domain DomD 'chmod 600 /dev/ram0 /dev/xen/gntdev /run/virtio-grant/grantd.sock'
chmod 666 /run/virtio-grant/broker.sock
broken "Only root can ask the broker"
chmod 600 /run/virtio-grant/broker.sock
holds "no target"
holds "xenstored has quotas"
holds "Images can't be read"

step "the daemons work under the restrictions of their units"
if [ -n "$VG_BACKEND_UNDER" ]; then
	for status in "/proc/$(cat /run/virtio-grant/virtio-grant-broker.pid)/status"; do
		expect "2 1 0000000000000000" "$(awk '/^Seccomp:|^NoNewPrivs:|^CapEff:/ {
			v[$1] = $2 } END { print v["Seccomp:"], v["NoNewPrivs:"], v["CapEff:"] }' \
			$status)" "the broker's seccomp, no_new_privs and capabilities"
	done
	expect "2 1" "$(in_domain DomD 'awk "/^Seccomp:|^NoNewPrivs:/ { v[\$1] = \$2 }
		END { print v[\"Seccomp:\"], v[\"NoNewPrivs:\"] }" \
		/proc/$(cat /run/virtio-grant/virtio-grantd.pid)/status')" \
		"virtio-grantd's seccomp and no_new_privs"
else
	say "not run: this machine has no systemd-analyze to expand the units"
fi
fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=8m \
	--rw=randrw --bsrange=512-256k --blockalign=512"
no_trouble G1 DomD
stop_guest G1
create_guest G2 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]" ||
	fail "no second guest: $(grep -m 1 error /vg/log/G2.xl)"
destroy_guest G2
