# SPDX-License-Identifier: GPL-2.0-or-later
#
# Our disk and Xen's PV block over the same kind of RAM disk, of the same
# driver domain, in the same guest, in turns.  Times are an emulation's; the
# ratios and the traps per I/O are what counts.  The bound: at 4k and depth 16
# at least 3 times what the reference backend did when it was set, 0.04 of PV
# block.
#
# rig: kernels 6.12
# rig: needs backend modules
# rig: timeout 300
# rig: long

. /vg/in/dom0/virtio.sh

ROUNDS="${ROUNDS:-3}"
RUN_S="${RUN_S:-2}"

step "the daemons, and a guest with both kinds of disk"
start_broker
start_driver DomD -d on
perf_reset
start_ours G1 "disk=[$(virtio_disk /dev/ram0 xvda DomD),$(pv_disk /dev/ram1 xvdb DomD)]"
has_disk G1 xvdb
# The device's set-up is made of traps: so the counter counts.
result traps_of_setup "$(traps)"
[ "$(traps)" -gt 20 ] || fail "Xen's counter of traps stands still"

# measure KIND DEVICE WORKLOAD RW BS_KIB DEPTH
measure() {
	local out traps

	perf_reset
	out=$(in_domain -t 60 G1 "fio --name=m --filename=/dev/$2 --direct=1 \
		--ioengine=libaio --rw=$4 --bs=$5k --iodepth=$6 --size=30m \
		--time_based --runtime=$RUN_S --norandommap --randrepeat=0 \
		--output-format=terse --terse-version=3") || fail "fio on $2"
	traps=$(traps)
	# Terse, version 3: 6 and 47 are KiB, 8 and 49 IOPS, 7 and 48 KiB/s.
	awk -F';' -v kind="$1" -v what="$3" -v bs="$5" -v traps="$traps" \
		'/^3;/ { print kind, what, $8 + $49, ($7 + $48) / 1024,
			traps / (($6 + $47) / bs) }' <<<"$out" >>/vg/out/perf.txt
}

for round in $(seq "$ROUNDS"); do
	step "round $round"
	while read -r what rw bs depth; do
		if [ $((round % 2)) = 1 ]; then
			measure ours vda "$what" "$rw" "$bs" "$depth"
			measure pv xvdb "$what" "$rw" "$bs" "$depth"
		else
			measure pv xvdb "$what" "$rw" "$bs" "$depth"
			measure ours vda "$what" "$rw" "$bs" "$depth"
		fi </dev/null
	done <<-EOW
	4k_randread_qd16 randread 4 16
	4k_randwrite_qd16 randwrite 4 16
	64k_randread_qd16 randread 64 16
	64k_randwrite_qd16 randwrite 64 16
	4k_randread_qd1 randread 4 1
	EOW
done
cat /vg/out/perf.txt

# column KIND WHAT N: the median of that column.
column() {
	awk -v kind="$1" -v what="$2" -v n="$3" \
		'$1 == kind && $2 == what { print $n }' /vg/out/perf.txt |
		sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# The rounds' ratios, and their median.
ratio() {
	awk -v what="$1" '$2 == what {
		n[$1]++
		v[$1, n[$1]] = $3
	} END { for (i = 1; i <= n["ours"]; i++)
		print v["ours", i] / v["pv", i] }' /vg/out/perf.txt |
		sort -g | awk '{ v[NR] = $1 } END { printf "%.3f\n", v[int((NR + 1) / 2)] }'
}

step "the medians"
slow=
for what in 4k_randread_qd16 4k_randwrite_qd16 64k_randread_qd16 \
		64k_randwrite_qd16 4k_randread_qd1; do
	r=$(ratio "$what")
	say "$(printf '%-20s ours %6.0f IOPS %6.1f MiB/s, PV block %6.0f: ratio %s, traps per I/O %.3f' \
		"$what" "$(column ours "$what" 3)" "$(column ours "$what" 4)" \
		"$(column pv "$what" 3)" "$r" "$(column ours "$what" 5)")"
	result "iops_ours_$what" "$(column ours "$what" 3)"
	result "iops_pv_$what" "$(column pv "$what" 3)"
	result "ratio_$what" "$r"
	result "traps_per_io_$what" "$(column ours "$what" 5)"
	case "$what" in
	4k*qd16)
		awk "BEGIN { exit !($r >= 3 * 0.04) }" || slow="$slow $what" ;;
	esac
done
[ -z "$slow" ] || fail "below 3 x 0.04 of PV block:$slow"
