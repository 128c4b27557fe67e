# SPDX-License-Identifier: GPL-2.0-or-later
#
# The verbs that scenarios are written in (tests/xen/README.md lists them).
# Runs in dom0, in bash.  What a verb returns non-zero for, ends the scenario,
# unless the scenario catches it (`if`, `||`).

# The scenario's variables, and VG_ARCH: arm64 or x86.
[ ! -r /vg/in/env ] || . /vg/in/env
VG_ARCH="${VG_ARCH:-arm64}"

# Limits are of a machine that does nothing else; here they are what slow() makes
# of them.
VG_TIMEOUT_S="${VG_TIMEOUT_S:-180}"	# of one in_domain
VG_BOOT_S="${VG_BOOT_S:-180}"		# until a domain's agent answers
VG_STEP=start
VG_RUN="${VG_RUN:-/run/vg}"

. "${BASH_SOURCE[0]%/*}/pace.sh"
mkdir -p "$VG_RUN"

# ---- telling the host ----------------------------------------------------

_tell() {
	local line="$*"

	# In one write: the host reads while this is written.
	printf '%s\n' "${line//$'\n'/ }" >>/vg/progress
}

# step TEXT: a line of progress, and the name of the place where it failed.
step() {
	VG_STEP="$*"
	printf '%s\n' "$VG_STEP" >"$VG_RUN/step"
	printf '\n== %s\n' "$VG_STEP"
	_tell STEP "$VG_STEP"
}

# say TEXT: a line on the host's terminal.
say() {
	printf '%s\n' "$*"
	_tell SAY "$*"
}

# result KEY VALUE: kept in the run's result.json.  A number stays a number.
result() {
	printf '%s = %s\n' "$1" "$2"
	_tell RESULT "$1" "$2"
}

# The first verdict counts.
_verdict() {
	if (set -o noclobber; echo "$1" >"$VG_RUN/verdict") 2>/dev/null; then
		_tell "$@"
	fi
}

pass() {
	_verdict PASS
	exit 0
}

# fail WHY: ends the scenario.
fail() {
	echo "FAIL: $*" >&2
	_verdict FAIL "$(cat "$VG_RUN/step" 2>/dev/null || echo start): $*"
	exit 1
}

# skip WHY: ends it without a verdict on what it tests.
skip() {
	echo "SKIP: $*" >&2
	_verdict SKIP "$*"
	exit 0
}

_failed() {
	local status="$1" command="$2" place="$3" i

	case $- in
	*e*) ;;
	*) return 0 ;;	# the scenario has said "set +e"
	esac
	# The scenario's own line says more than the library's.
	for i in "${!BASH_SOURCE[@]}"; do
		if [ "${BASH_SOURCE[$i]##*/}" = scenario.sh ]; then
			place="line ${BASH_LINENO[$((i - 1))]}"
			command=$(sed -n "${place#line }s/^[ \t]*//p" \
				/vg/in/scenario.sh)
			break
		fi
	done
	# Of a subshell's failure, its parent will speak.
	[ "$BASH_SUBSHELL" -eq 0 ] || exit "$status"
	trap - ERR
	fail "$place: \`$command' gave status $status"
}

# What a domain is asked when the scenario has failed.
_AUTOPSY='dmesg | tail -n 100; ps -o pid,stat,args | grep -v "\]$"
for pid in /proc/[0-9]*; do
	grep -q "^State:.D" $pid/status || continue
	echo "blocked: $(cat $pid/comm)"; cat $pid/stack
done
free -m; cat /proc/interrupts'

_finish() {
	local name

	trap - ERR
	set +e
	[ "$BASHPID" = "$$" ] || return 0
	[ -e "$VG_RUN/verdict" ] ||
		_verdict FAIL "$(cat "$VG_RUN/step"): it ended early:" \
			"$(tail -n 1 /vg/log/scenario.log)"
	if grep -q FAIL "$VG_RUN/verdict"; then
		# Xen's own view: timers, run queues, domains and their vCPUs
		# with their virtual timers, event channels.
		xl debug-keys a
		xl debug-keys r
		xl debug-keys q
		xl debug-keys e
	fi
	{
		xl list
		xl vcpu-list
		dmesg
		cat /proc/interrupts
		ps -o pid,stat,wchan,args | grep -v "\]$"
	} >/vg/log/dom0.log 2>&1
	xl dmesg >/vg/log/xen.log 2>&1
	if [ -S /run/virtio-grant/broker.sock ]; then
		timeout "$(slow 10)" virtio-grantctl status >/vg/log/grantctl.log 2>&1
	fi
	xenstore-ls -fp >/vg/log/xenstore.log 2>&1
	for name in $(xl list 2>/dev/null | awk 'NR > 2 { print $1 }'); do
		grep -q FAIL "$VG_RUN/verdict" && timeout "$(slow 30)" vg-call \
			"$(domid "$name")" "$name" run 15 "$_AUTOPSY" \
			>"/vg/log/$name.autopsy" 2>&1
		xl destroy "$name"
	done
	sync
}

# ---- limits --------------------------------------------------------------

# pace: in tenths (pace.sh), the highest that was seen in this run.
pace() {
	local pace

	read -r pace 2>/dev/null <"$VG_RUN/pace" || pace=10
	echo "$pace"
}

# slow SECONDS: the limit that this is here and now.
slow() {
	pace_limit "$1" "$(pace)"
}

# _raise_pace PACE: the host's limit follows, too.
_raise_pace() {
	[ "$1" -gt "$(pace)" ] || return 0
	# In one step: others may read it.
	echo "$1" >"$VG_RUN/pace.$BASHPID"
	mv "$VG_RUN/pace.$BASHPID" "$VG_RUN/pace"
	_tell PACE "$1"
}

# How long a bit of work takes, in microseconds.
_work_us() {
	local began=${EPOCHREALTIME/[.,]/} i

	for ((i = 0; i < 20000; i++)); do
		:
	done
	echo $((${EPOCHREALTIME/[.,]/} - began))
}

# set_pace PACE: what dom0's boot says, and how long that bit takes at that pace.
set_pace() {
	local us again

	echo "${1:-10}" >"$VG_RUN/pace"
	us=$(_work_us)
	again=$(_work_us)
	echo "$((us < again ? us : again)) ${1:-10}" >"$VG_RUN/work"
}

# Other work may have come to the machine after it had booted.
_look_at_pace() {
	local us pace

	read -r us pace 2>/dev/null <"$VG_RUN/work" || return 0
	_raise_pace "$(pace_of $(($(_work_us) * pace)) $((us * 10)))"
}

# expect WANT GOT WHAT
expect() {
	[ "$1" = "$2" ] || fail "$3: expected '$1', got '$2'"
}

# retry SECONDS COMMAND...: until it succeeds; status 1 if it never did, of which
# the last try was after the time.
retry() {
	local seconds="$1" began=$SECONDS looked='' late=''

	shift
	until "$@"; do
		[ -z "$late" ] || return 1
		if [ $((SECONDS - began)) -ge "$(slow "$seconds")" ]; then
			[ -n "$looked" ] || _look_at_pace
			looked=1
			[ $((SECONDS - began)) -lt "$(slow "$seconds")" ] ||
				late=1
		fi
		sleep 0.3
	done
}

# together COMMAND...: each a string, all at once; fails if one of them does.
together() {
	local command pid pids='' bad=0

	for command; do
		( eval "$command" ) &
		pids="$pids $!"
	done
	for pid in $pids; do
		wait "$pid" || bad=1
	done
	return "$bad"
}

# together_booting COMMAND...: the same for what starts domains, but one after the
# other on x86, where two that boot at once take more than twice as long.
together_booting() {
	local command

	if [ "$VG_ARCH" != x86 ]; then
		together "$@"
		return
	fi
	for command; do
		eval "$command"
	done
}

# ---- domains -------------------------------------------------------------

# domid NAME
domid() {
	xl domid "$1" 2>/dev/null
}

# console NAME: the path of its console's log (the host has it as
# build/xen/SCENARIO/console/guest-NAME.log).
console() {
	printf '/vg/console/guest-%s.log\n' "$1"
}

# _kernel NAME: sets $files, the directory with its Image and initrd.  On x86 that
# is a copy in memory: libxl reads in small pieces, each of which traps several
# times, and there that is slow.
_kernel() {
	local room=

	files="/vg/in/kernel/$1"
	[ -r "$files/Image" ] ||
		fail "the scenario does not say '# rig: kernels ... $1'"
	[ "$VG_ARCH" = x86 ] || return 0
	files="/run/kernel/$1"
	# Several may ask at once, and busybox has no flock.
	until mkdir "$VG_RUN/kernel.lock" 2>/dev/null; do
		sleep 0.2
	done
	[ -d "$files" ] || {
		mkdir -p "$files.new" &&
			cp "/vg/in/kernel/$1"/{Image,initrd} "$files.new/" &&
			mv "$files.new" "$files"
	} || room=no
	rmdir "$VG_RUN/kernel.lock"
	[ -z "$room" ] || fail "no room for kernel $1 in dom0's memory"
}

_write_config() {
	local name="$1" kind="$2" word kernel=6.12 mem=256 vcpus=1 cmdline='' \
		modprobe=xen-blkfront extra='' console='console=hvc0 ' type=pvh files

	shift 2
	[ "$kind" = guest ] || {
		mem=512
		modprobe=xen-blkfront,xen-blkback,xen-evtchn,xen-gntdev
		extra='driver_domain=1
'
		case "${VG_XEN_VARIANT:-} $*" in
		flask*seclabel=*) ;;
		flask*)
			extra="$extra"'seclabel="system_u:system_r:vg_driver_t"
' ;;
		esac
	}
	for word; do
		case "$word" in
		kernel=*) kernel="${word#*=}" ;;
		mem=*) mem="${word#*=}" ;;
		vcpus=*) vcpus="${word#*=}" ;;
		cmdline=*) cmdline="${word#*=}" ;;
		modprobe=*) modprobe="$modprobe,${word#*=}" ;;
		type=*) type="${word#*=}" ;;
		*) extra="$extra$word
" ;;
		esac
	done
	# One of hvc's is the kernel's; the rig talks over the first in any case.
	case "$cmdline" in
	*console=*) console='' ;;
	esac
	_kernel "$kernel"
	# Where Xen loses timers of vCPUs that move (run.sh): driver domains stay with
	# dom0.
	case "$VG_ARCH:${VG_XEN_VARIANT:-}:$kind" in
	arm64:stock:driver) extra="$extra"'cpus="0"
' ;;
	arm64:stock:*) extra="$extra"'cpus="1"
' ;;
	esac
	# On Arm there is one type.  The clock as it is: an emulated one would trap.
	case "$VG_ARCH:$type" in
	x86:pvh) extra="$extra"'type="pvh"
tsc_mode="native"
' ;;
	x86:*) extra="$extra"'type="'"$type"'"
' ;;
	*:pvh) ;;
	*) fail "there is no type=$type on $VG_ARCH" ;;
	esac
	cat >"/vg/log/$name.cfg" <<-EOC
	name="$name"
	kernel="$files/Image"
	ramdisk="$files/initrd"
	memory=$mem
	vcpus=$vcpus
	cmdline="${console}rdinit=/init loglevel=5 panic=-1 vg.name=$name vg.modprobe=$modprobe $cmdline"
	on_crash="preserve"
	on_reboot="restart"
	$extra
	EOC
}

# create_guest NAME [WORDS]: only `xl create`, whose status it returns and
# whose output is in /vg/log/NAME.xl.  Words as for start_guest.
create_guest() {
	local name="$1" status=0

	_write_config "$name" "${VG_KIND:-guest}" "${@:2}"
	echo "-- xl create $name"
	xl create "/vg/log/$name.cfg" >"/vg/log/$name.xl" 2>&1 || status=$?
	cat "/vg/log/$name.xl"
	return "$status"
}

# create_again NAME [WORDS]: after a create_guest that failed, once more, if all that
# was wrong are the 10 s that libxl gives a backend on any machine
# (LIBXL_INIT_TIMEOUT; rc -9 is ERROR_TIMEDOUT).
create_again() {
	grep -q -E 'unable to add device .* rc -9$' "/vg/log/$1.xl" || return 1
	say "$1: its backend took more than libxl's 10 s: once more"
	xl destroy "$1" 2>/dev/null || :
	retry 30 _is_gone "$1" || return 1
	create_guest "$@"
}

# _call WORDS...: vg-call, whose own limits follow the pace, too.
_call() {
	VG_PACE="$(pace)" vg-call "$@"
}

# wait_guest NAME: until its agent answers.
wait_guest() {
	local id

	id=$(domid "$1") || fail "domain $1 is not there"
	_call "$id" "$1" ping "$(slow "$VG_BOOT_S")" ||
		fail "$1 did not come up (its console: $(console "$1"))"
}

# start_guest NAME [kernel=6.12] [mem=256] [vcpus=1] [cmdline=...]
# [modprobe=a,b] [lines of xl configuration...]
start_guest() {
	local began

	began=$(now_ms)
	create_guest "$@" || create_again "$@" ||
		fail "xl create $1: $(grep -m 1 error "/vg/log/$1.xl")"
	wait_guest "$1"
	# A kernel that checks itself, or systemd, is slow on any machine.
	case " $* ${VG_INIT:-}" in
	*" kernel=debug "*|*systemd) ;;
	*) _raise_pace "$(pace_of $(($(now_ms) - began)) "$VG_PACE_GUEST_MS")" ;;
	esac
}

# start_driver_domain NAME [words as above]: unprivileged, no target, with the
# drivers a backend needs and without privcmd.
start_driver_domain() {
	VG_KIND=driver start_guest "$@"
	in_domain "$1" 'setsid vbd-hotplug </dev/null >/run/vbd-hotplug.log 2>&1 &'
}

# in_domain [-t SECONDS] NAME COMMAND: run by its shell; the output and the
# exit status are the command's (124: took too long, 125: no answer).
in_domain() {
	local seconds="$VG_TIMEOUT_S" id

	if [ "$1" = -t ]; then
		seconds="$2"
		shift 2
	fi
	id=$(domid "$1") || {
		echo "domain $1 is not there" >&2
		return 125
	}
	_call "$id" "$1" run "$(slow "$seconds")" "$2"
}

# pull NAME PATH DEST and push NAME SRC PATH: small files, over the console.
pull() {
	_call "$(domid "$1")" "$1" get "$2" >"$3"
}

push() {
	_call "$(domid "$1")" "$1" put "$3" <"$2"
}

_is_gone() {
	! domid "$1" >/dev/null
}

# stop_guest NAME: an orderly shutdown, as xl asks for it.
stop_guest() {
	xl shutdown "$1" >/dev/null || fail "xl shutdown $1"
	retry "$VG_TIMEOUT_S" _is_gone "$1" || fail "$1 did not shut down"
}

# destroy_guest NAME
destroy_guest() {
	xl destroy "$1" || fail "xl destroy $1"
	retry 30 _is_gone "$1" || fail "$1 is still there"
}

_is_other_domain() {
	local id

	id=$(domid "$1") && [ "$id" != "$2" ]
}

# reboot_guest NAME: an orderly reboot, and wait until it is up again.
reboot_guest() {
	local old

	old=$(domid "$1") || fail "domain $1 is not there"
	xl reboot "$1" >/dev/null || fail "xl reboot $1"
	retry "$VG_TIMEOUT_S" _is_other_domain "$1" "$old" ||
		fail "$1 did not reboot"
	wait_guest "$1"
}

# ---- the project's daemons -----------------------------------------------

_answers() {
	in_domain "$1" "test -S /run/virtio-grant/$2.sock"
}

# _unit_start PROGRAM LOG [OPTIONS]: the commands that start its unit, if systemd is
# the first process ("# rig: init systemd").
_unit_start() {
	local dropin="/run/systemd/system/$1.service.d"

	cat <<-EOC
	mkdir -p $dropin
	cat >$dropin/rig.conf <<-EOF
	[Service]
	ExecStart=
	ExecStart=/usr/sbin/$1 ${*:3}
	StandardOutput=append:$2
	StandardError=append:$2
	EOF
	systemctl daemon-reload && systemctl start $1
	EOC
}

# start_broker [OPTIONS]: in dom0; its log is /vg/log/broker.log.
start_broker() {
	mkdir -p /run/virtio-grant
	if [ "${VG_INIT:-}" = systemd ]; then
		eval "$(_unit_start virtio-grant-broker /vg/log/broker.log "$@")" ||
			fail "systemctl start: $(tail -n 1 /vg/log/broker.log)"
		return
	fi
	setsid virtio-grant-broker "$@" >>/vg/log/broker.log 2>&1 </dev/null &
	retry 20 test -S /run/virtio-grant/broker.sock ||
		fail "the broker did not start: $(tail -n 1 /vg/log/broker.log)"
}

# stop_broker [SIGNAL]
stop_broker() {
	kill "-${1:-TERM}" "$(cat /run/virtio-grant/virtio-grant-broker.pid)"
}

# start_backend DOMAIN [OPTIONS]: virtio-grantd there; "dom0" for dom0 itself.
# Its log is on that domain's console, and in its /run/virtio-grantd.log
# (dom0's: /vg/log/grantd.log).
start_backend() {
	local domain="$1" command

	shift
	if [ "${VG_INIT:-}" = systemd ]; then
		if [ "$domain" = dom0 ]; then
			eval "$(_unit_start virtio-grantd /vg/log/grantd.log "$@")"
		else
			in_domain "$domain" "$(_unit_start virtio-grantd \
				/run/virtio-grantd.log "$@")"
		fi || fail "systemctl start in $domain: $(backend_log "$domain" | tail -n 1)"
		return
	fi
	if [ "$domain" = dom0 ]; then
		mkdir -p /run/virtio-grant
		setsid virtio-grantd "$@" >>/vg/log/grantd.log 2>&1 </dev/null &
		retry 20 test -S /run/virtio-grant/grantd.sock ||
			fail "grantd did not start: $(tail -n 1 /vg/log/grantd.log)"
		return
	fi
	printf -v command ' %q' virtio-grantd "$@"
	in_domain "$domain" "mkdir -p /run/virtio-grant
		( setsid $command 2>&1 </dev/null |
			tee -a /run/virtio-grantd.log >/dev/hvc0 ) &"
	retry 30 _answers "$domain" grantd ||
		fail "grantd did not start in $domain:" \
			"$(in_domain "$domain" 'tail -n 1 /run/virtio-grantd.log')"
}

# stop_backend DOMAIN [SIGNAL]
stop_backend() {
	local command="kill -${2:-TERM} \$(cat /run/virtio-grant/virtio-grantd.pid)"

	if [ "$1" = dom0 ]; then
		eval "$command"
	else
		in_domain "$1" "$command"
	fi
}

# backend_log DOMAIN: its log so far.
backend_log() {
	if [ "$1" = dom0 ]; then
		cat /vg/log/grantd.log
	else
		in_domain "$1" 'cat /run/virtio-grantd.log'
	fi
}

# ---- disks ---------------------------------------------------------------

# host_disk NAME: dom0's device for the image that "# rig: disk NAME ..." made.
host_disk() {
	local dev

	for dev in /sys/block/vd*; do
		if [ "$(cat "$dev/serial" 2>/dev/null)" = "$1" ]; then
			printf '/dev/%s\n' "${dev##*/}"
			return 0
		fi
	done
	fail "the scenario has no '# rig: disk $1 ...'"
}

# virtio_disk TARGET VDEV BACKEND [access=rw] [format=raw]: one element of
# xl's disk list, for our backend in that domain.
virtio_disk() {
	# The target comes last: it takes all that follows it.
	printf "'vdev=%s,access=%s,specification=virtio,backendtype=standalone,backend=%s,grant_usage=1,format=%s,target=%s'" \
		"$2" "${4:-rw}" "$3" "${5:-raw}" "$1"
}

# virtio_device TYPE BACKEND: one element of xl's virtio list, of that device ID
# (hexadecimal).
virtio_device() {
	printf "'type=virtio,device%s,transport=mmio,backend=%s,grant_usage=1'" \
		"$1" "$2"
}

# pv_disk TARGET VDEV [BACKEND]: the same for Xen's PV block.
pv_disk() {
	printf "'vdev=%s,access=rw,backendtype=phy,format=raw%s,target=%s'" \
		"$2" "${3:+,backend=$3}" "$1"
}

# ---- counting ------------------------------------------------------------

# has_perf: does this Xen count?  Debian's own does not.
has_perf() {
	xenperf -f >/dev/null 2>&1
}

_need_perf() {
	has_perf || skip "this Xen has no performance counters"
}

perf_reset() {
	_need_perf
	xenperf -r >/dev/null
}

# perf_read NAME: one of Xen's performance counters, summed over CPUs, e.g.
# "trap: guest data abort" (these are the MMIO traps).
perf_read() {
	_need_perf
	xenperf -f 2>/dev/null | awk -v name="$1" '
		{
			at = index($0, "T=")
			label = substr($0, 1, at - 1)
			sub(/ +$/, "", label)
			if (at && label == name) {
				$0 = substr($0, at + 2)
				print $1
				found = 1
				exit
			}
		}
		END { exit !found }'
}
