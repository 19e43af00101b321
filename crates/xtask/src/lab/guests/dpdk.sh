#!/bin/sh
#% about = "DPDK's testpmd on two served cards under vfio-pci, behind an IOMMU"
#% modules = ["vfio_pci", "vfio_iommu_type1"]
#% programs = ["testpmd"]
#% cards = [{ device = "served", cable = "a" }, { device = "served", cable = "a" }]
#% iommu = "intel"
#% memory = 1024
#% timeout = 420
. /lab/steps.sh

# start_pmd OPTIONS…: testpmd on both cards, waiting for commands.
start_pmd() {
    # a pipe that this shell keeps open at both ends, so that opening it waits for nobody
    rm -f /tmp/pmd.in /tmp/pmd.out
    mkfifo /tmp/pmd.in
    : >/tmp/pmd.out
    exec 4<>/tmp/pmd.in
    LD_PRELOAD=/usr/libexec/coreutils/libstdbuf.so _STDBUF_O=L \
        dpdk-testpmd --lcores '0@(0-1),1@1' -n 1 --in-memory --no-telemetry --iova-mode=va \
        -d /usr/lib/dpdk -a "$(card 0)" -a "$(card 1)" -- \
        -i --total-num-mbufs=8192 "$@" </tmp/pmd.in >/tmp/pmd.out 2>&1 3>&- &
    pmd=$!
    said=0
    wait_for_prompt "testpmd $*"
    # what has come before forwarding starts is to be counted too
    pmd set flush_rx off
    links_up
}

# wait_for_prompt WHAT: what testpmd has printed since the last one goes to /tmp/said.
wait_for_prompt() {
    local left=600
    until tail -c +$((said + 1)) /tmp/pmd.out | grep -q '^testpmd> '; do
        left=$((left - 1))
        kill -0 $pmd 2>/dev/null || { cat /tmp/pmd.out; fail "testpmd has ended: $1"; }
        [ $left -gt 0 ] || { cat /tmp/pmd.out; fail "testpmd does not answer: $1"; }
        sleep 0.1
    done
    tail -c +$((said + 1)) /tmp/pmd.out >/tmp/said
    said=$(wc -c </tmp/pmd.out)
    cat /tmp/said
    echo
}

# pmd COMMAND…: has testpmd do it.
pmd() {
    echo "$*" >&4
    wait_for_prompt "$*"
}

links_up() {
    local left=100
    while :; do
        pmd show port info all
        [ "$(grep -c 'Link status: up' /tmp/said)" != 2 ] || return 0
        left=$((left - 1))
        [ $left -gt 0 ] || fail "a link stays down"
        sleep 0.2
    done
}

stop_pmd() {
    echo quit >&4
    until_true 30 ended $pmd
    exec 4>&-
}

ended() {
    ! kill -0 "$1" 2>/dev/null
}

step "bind"
echo 192 >/proc/sys/vm/nr_hugepages
[ "$(cat /proc/sys/vm/nr_hugepages)" = 192 ] || fail "no hugepages"
must modprobe vfio_pci
for index in 0 1; do
    address=$(card $index)
    echo vfio-pci >"/sys/bus/pci/devices/$address/driver_override"
    echo "$address" >/sys/bus/pci/drivers_probe
    [ -e "/sys/bus/pci/drivers/vfio-pci/$address" ] || fail "vfio-pci does not bind $address"
done

# count NAME PORT: a number of the port's statistics, as testpmd has just shown them.
count() {
    sed -n "/statistics for port $2 /,/^ *####*$/s/.*$1: *\([0-9]*\).*/\1/p" /tmp/said | head -n 1 |
        grep . || fail "testpmd shows no $1 of port $2"
}

# Both ways, what one port has sent the other has received, missed or refused, but for what the
# wire has dropped.
in_is_out() {
    local way from to sent taken dropped
    sleep 1
    pmd show port stats all
    for way in "0 1" "1 0"; do
        from=${way% *}
        to=${way#* }
        sent=$(count TX-packets $from)
        taken=$(($(count RX-packets $to) + $(count RX-missed $to) + $(count RX-errors $to)))
        dropped=$(wire_dropped $from)
        echo "port $from sent $sent, port $to took $taken, the wire dropped $dropped"
        [ "$sent" -gt 0 ] || fail "port $from sent nothing"
        [ "$sent" = $((taken + dropped)) ] ||
            fail "port $from sent $sent frames, port $to took $taken, the wire dropped $dropped"
    done
}

# took PORT: how many frames the program has got from all queues of the port, in both stretches.
# With more than one queue testpmd tells this for each.
took() {
    cat /tmp/stopped /tmp/drained |
        sed -n "/Stats for RX Port= $1\//,/RX-packets/s/.*RX-packets: *\([0-9]*\).*/\1/p" |
        awk '{ sum += $1 } END { print sum + 0 }'
}

# wire_dropped PORT: of the frames that it has sent since forwarding began.
wire_dropped() {
    local all
    all=$(host counters "$1" | tr ' ' '\n' | sed -n 's/^wire.full_dropped=//p')
    echo $((all - $(cat "/tmp/dropped.$1")))
}

# forward MODE SECONDS: what comes in goes out of the other port; the first frames are made here.
# What is still under way at the end is taken in, so that every frame is counted somewhere.
forward() {
    local port
    for port in 0 1; do
        echo 0 >"/tmp/dropped.$port"
        wire_dropped $port >/tmp/dropped
        mv /tmp/dropped "/tmp/dropped.$port"
    done
    pmd clear port stats all
    pmd set fwd "$1"
    pmd start tx_first 4
    sleep "$2"
    pmd stop
    cp /tmp/said /tmp/stopped
    pmd set fwd rxonly
    pmd set verbose "${verbose-0}"
    pmd start
    cp /tmp/said /tmp/drained
    sleep 1
    pmd stop
    cat /tmp/said >>/tmp/drained
    pmd set verbose 0
    in_is_out
    [ "$(count RX-packets 0)" -gt 100 ] || fail "nothing was forwarded"
}

step "io forwarding"
start_pmd
pmd show port info all
forward io 3

step "csum forwarding"
pmd port stop all
for port in 0 1; do
    pmd csum set ip hw $port
    pmd csum set udp hw $port
    pmd csum set tcp hw $port
done
pmd port start all
forward csum 3
! grep -q 'Bad-[a-z0-9]*csum: [1-9]' /tmp/stopped || fail "checksums are wrong"

step "MAC and VLAN"
forward mac 2
pmd port stop all
pmd tx_vlan set 0 5
pmd tx_vlan set 1 5
pmd port start all
pmd vlan set filter on 0
pmd vlan set filter on 1
pmd vlan set strip on 0
pmd vlan set strip on 1
pmd rx_vlan add 5 0
pmd rx_vlan add 5 1
# this mode asks for the tag in every frame
verbose=1
forward mac 2
verbose=0
grep -q 'VLAN tci=0x5' /tmp/drained || fail "no tag was put in and taken out"
pmd port stop all
pmd tx_vlan reset 0
pmd tx_vlan reset 1
pmd port start all
pmd vlan set filter off 0
pmd vlan set filter off 1
pmd vlan set strip off 0
pmd vlan set strip off 1

step "port stop and start"
for port in 0 1; do
    pmd port stop $port
    pmd port start $port
done
forward io 2

# The X550's firmware may need the link for management, so the driver leaves the PHY on there.
if [ "$(cat "/sys/bus/pci/devices/$(card 0)/device")" != 0x1563 ]; then
    step "link bounce"
    pmd set link-down port 0
    sleep 1
    pmd show port info 0
    grep -q 'Link status: down' /tmp/said || fail "port 0 still has a link"
    # a thread of the driver looks for other speeds meanwhile, and could undo what comes next
    sleep 4
    pmd set link-up port 0
    links_up
    forward io 2
fi
stop_pmd

step "RSS on two queues"
start_pmd --rxq=2 --txq=2 --rss-udp --rss-ip
# per-queue counters: those of queue 1 into the second
pmd set stat_qmap rx 0 1 1
pmd set stat_qmap rx 1 1 1
pmd clear port xstats all
forward flowgen 2
for port in 0 1; do
    [ "$(took $port)" = "$(count RX-packets $port)" ] ||
        fail "port $port has delivered $(count RX-packets $port), testpmd has got $(took $port)"
done
pmd show port xstats 0
for queue in 0 1; do
    grep -q "rx_q${queue}_packets: [1-9]" /tmp/said || fail "queue $queue of port 0 got nothing"
done
stop_pmd

step "MTU 9000"
start_pmd --max-pkt-len=9018 --enable-scatter --tx-offloads=0x8000
pmd show port info 0
pmd port stop all
pmd port config mtu 0 8000
pmd port config mtu 1 8000
pmd port start all
pmd set txpkts 2000,2000,2000,1000
forward io 2
stop_pmd
