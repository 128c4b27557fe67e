# SPDX-License-Identifier: GPL-2.0-or-later
#
# docs/hardening.md, item by item, in a set-up that follows it: every command
# there says so.  Then some of it is undone, and the command must notice.  Debian's
# systemd runs the daemons, by their units.
#
# rig: kernels 6.12
# rig: needs backend modules
# rig: init systemd
# rig: cmdline loglvl=warning/info
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

# show UNIT PROPERTY: where it runs.
show() {
	if [ "$1" = virtio-grantd ]; then
		in_domain DomD "systemctl show --value -p $2 $1"
	else
		systemctl show --value -p "$2" "$1"
	fi
}

step "the domains and the daemons, as docs/hardening.md wants them"
start_broker
start_driver_domain DomD cmdline=lockdown=integrity max_grant_frames=16 \
	max_maptrack_frames=256
in_domain DomD 'modprobe brd rd_nr=1 rd_size=32768'
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
	if [[ $file == *.flask && ${VG_XEN_VARIANT:-} != flask ]]; then
		say "not without FLASK: $title"
		skipped=$((skipped + 1))
		continue
	fi
	check "$file" || fail "${file##*/}: it does not hold: $title"
	passed=$((passed + 1))
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
for unit in virtio-grant-broker virtio-grantd; do
	expect "yes" "$(show "$unit" NoNewPrivileges)" "$unit: NoNewPrivileges"
	expect "active notify" "$(show "$unit" ActiveState) $(show "$unit" Type)" \
		"$unit"
done
expect "2 1 0000000000000000" "$(awk '/^Seccomp:|^NoNewPrivs:|^CapEff:/ {
		v[$1] = $2 } END { print v["Seccomp:"], v["NoNewPrivs:"], v["CapEff:"] }' \
	"/proc/$(show virtio-grant-broker MainPID)/status")" \
	"the broker's seccomp, no_new_privs and capabilities"
expect "2 1" "$(in_domain DomD 'awk "/^Seccomp:|^NoNewPrivs:/ { v[\$1] = \$2 }
	END { print v[\"Seccomp:\"], v[\"NoNewPrivs:\"] }" \
	/proc/$(systemctl show --value -p MainPID virtio-grantd)/status')" \
	"virtio-grantd's seccomp and no_new_privs"
# Who is in the unit's control group can open what it needs, and nothing else.
devices='for dev in $1; do
		[ -c "$dev" ] || { echo "there is no $dev"; continue; }
		(echo $BASHPID >"/sys/fs/cgroup/system.slice/$0.service/cgroup.procs"
			: <"$dev") 2>/dev/null && echo "${dev##*/}"
	done'
expect "privcmd gntalloc evtchn xenbus null" "$(echo $(bash -c "$devices" \
	virtio-grant-broker "/dev/xen/privcmd /dev/xen/gntalloc /dev/xen/evtchn
	/dev/xen/xenbus /dev/xen/gntdev /dev/kmsg /dev/hvc0 /dev/null"))" \
	"devices for the broker"

step "systemd starts them again, under verified load"
( while [ ! -e /run/enough ]; do
	fio_verify G1 vda "--ioengine=libaio --direct=1 --iodepth=16 --size=8m \
		--rw=randrw --bsrange=512-256k --blockalign=512"
	echo pass >>/run/passes
done ) &
load=$!
for unit in virtio-grantd virtio-grant-broker virtio-grantd; do
	sleep "$(slow 2)"
	if [ "$unit" = virtio-grantd ]; then
		in_domain DomD 'systemctl kill -s KILL --kill-whom=main virtio-grantd'
	else
		systemctl kill -s KILL --kill-whom=main "$unit"
	fi
done
sleep "$(slow 2)"
touch /run/enough
wait "$load" || fail "the load failed"
result passes "$(wc -l </run/passes)"
expect "2 1" "$(show virtio-grantd NRestarts) $(show virtio-grant-broker NRestarts)" \
	"restarts"
no_trouble G1 DomD

step "what can't be started, says so"
cp /run/systemd/system/virtio-grant-broker.service.d/rig.conf /run/rig.conf
systemctl stop virtio-grant-broker
sed -i 's,^ExecStart=/.*,& --poll=never,' \
	/run/systemd/system/virtio-grant-broker.service.d/rig.conf
systemctl daemon-reload
if systemctl start virtio-grant-broker; then
	fail "systemctl start succeeds with a wrong option"
fi
expect "failed 2" "$(show virtio-grant-broker ActiveState) $(
	show virtio-grant-broker ExecMainStatus)" "the broker with a wrong option"
cp /run/rig.conf /run/systemd/system/virtio-grant-broker.service.d/rig.conf
systemctl daemon-reload
systemctl start virtio-grant-broker

step "another guest"
stop_guest G1
create_guest G2 "disk=[$(virtio_disk /dev/ram0 xvda DomD)]" ||
	fail "no second guest: $(grep -m 1 error /vg/log/G2.xl)"
destroy_guest G2
in_domain DomD 'systemctl stop virtio-grantd'
systemctl stop virtio-grant-broker
expect "inactive inactive" "$(show virtio-grantd ActiveState) $(
	show virtio-grant-broker ActiveState)" "both, stopped"
