#!/bin/sh
#% about = "Linux's ixgbe on two served cards, cabled with each other"
#% modules = ["ixgbe", "8021q"]
#% programs = ["ip", "ethtool", "ping"]
#% cards = [{ device = "served", cable = "a" }, { device = "served", cable = "a" }]
#% timeout = 600
. /lab/steps.sh
. /lab/pair.sh

driver=ixgbe

step "link up"
make_far
must modprobe $driver
place_both
speed=$(ethtool "$one" | sed -n 's/.*Speed: //p')
[ "$speed" = 10000Mb/s ] || fail "the link has $speed"

step "ping"
pings 300 18
pings 300 1472

step "UDP"
udp 1000 8
udp 1000 1472
udp 200 20000

step "TCP, 20 MB each way"
tcp 20000000
tcp_back 20000000

step "TCP and UDP without offloads"
offloads off
tcp 20000000
tcp_back 4000000
udp 500 1472
offloads on

step "MTU 9000"
mtu 9000
pings 200 8972
# longer than the MTU: in two pieces
must ping -c 100 -i 0.01 -W 10 -q -s 9000 10.0.0.2
tcp 20000000
udp 500 8972
mtu 1500

step "VLAN"
both ip link add link % name tagged type vlan id 5
must ip addr add 10.0.5.1/24 dev tagged
must far ip addr add 10.0.5.2/24 dev tagged
must ip link set tagged up
must far ip link set tagged up
pings 100 1472 10.0.5.2
tcp 4000000 10.0.5.2
# tags made and taken off by software
both ethtool -K % rxvlan off txvlan off
link_is_up
pings 100 1472 10.0.5.2
both ethtool -K % rxvlan on txvlan on
link_is_up
must ip link del tagged
must far ip link del tagged

step "counters"
. /lab/counters.sh
snapshot before
pings 100 1000
tcp 4000000
udp 100 100
snapshot after
counters_agree

step "self-test"
must ethtool -t "$one" offline
link_is_up
must far ethtool -t "$two" offline
link_is_up
pings 50 1472

step "settings"
both ethtool -i %
both ethtool -g %
both ethtool -G % rx 256 tx 128
link_is_up
pings 50 1472
both ethtool -L % combined 2
link_is_up
tcp 2000000
both ethtool -C % rx-usecs 50
both ethtool -A % autoneg off rx off tx off
link_is_up
pings 50 1472
both ethtool -x %
both ethtool -d % raw on
both ethtool -e % offset 0 length 64
# a module, where there is a cage for one
if ethtool "$one" | grep -q 'Port: FIBRE'; then
    both ethtool -m %
fi
both ip link set % promisc on
both ip link set % allmulticast on
pings 50 1472
both ip link set % promisc off
both ip link set % allmulticast off
must ip link set "$one" address 02:00:00:00:01:01
pings 50 1472

step "interface down and up"
both ip link set % down
bring_up
pings 50 1472

step "driver unbound and bound"
for index in 0 1; do
    address=$(card $index)
    echo "$address" >/sys/bus/pci/drivers/$driver/unbind
    echo "$address" >/sys/bus/pci/drivers/$driver/bind
done
place_both
pings 50 1472

step "module reloaded"
must rmmod $driver
must modprobe $driver
place_both
pings 50 1472
tcp 4000000

step "flood while the wire drops"
snapshot before
host hold 1 2000
must lab-guest udp-flood 10.0.0.2 9 20000 1000
until_true 30 pings 1 18
snapshot after
counters_agree
sent=$(grown 0 driver tx_pkts_nic)
taken=$(grown 1 driver rx_pkts_nic)
missed=$(grown 1 driver rx_missed_errors)
dropped=$(grown 0 model wire.full_dropped)
[ "$dropped" -gt 0 ] || fail "the wire dropped nothing"
[ "$sent" = $((taken + missed + dropped)) ] ||
    fail "$sent frames sent, but $taken taken, $missed missed and $dropped dropped"
pings 50 1472
