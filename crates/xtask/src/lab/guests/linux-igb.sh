#!/bin/sh
#% about = "Linux's igb on two igb of QEMU, cabled: shows that the lab itself works"
#% modules = ["igb", "8021q"]
#% programs = ["ip", "ethtool", "ping"]
#% cards = [{ device = "igb", cable = "a" }, { device = "igb", cable = "a" }]
. /lab/steps.sh

step "load the driver"
must modprobe igb
one=$(interface 0)
two=$(interface 1)
must ip netns add far
must ip link set "$two" netns far
must ip addr add 10.0.0.1/24 dev "$one"
must ip netns exec far ip addr add 10.0.0.2/24 dev "$two"
must ip link set "$one" up
must ip netns exec far ip link set "$two" up

step "link"
until_true 20 grep -q 1 "/sys/class/net/$one/carrier"

step "ping"
must ping -c 50 -i 0.02 -W 5 -q 10.0.0.2

step "TCP"
ip netns exec far lab-guest tcp-serve 7000 &
must lab-guest tcp-send 10.0.0.2 7000 8000000
must wait $!
