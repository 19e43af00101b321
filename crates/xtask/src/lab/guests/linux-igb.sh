#!/bin/sh
#% about = "Linux's igb on two igb of QEMU, cabled: shows that the lab itself works"
#% modules = ["igb"]
#% programs = ["ip", "ethtool", "ping"]
#% cards = [{ device = "igb", cable = "a" }, { device = "igb", cable = "a" }]
. /lab/steps.sh
. /lab/pair.sh

step "link"
make_far
must modprobe igb
place_both

step "ping"
pings 100 1472

step "TCP"
tcp 8000000

step "UDP"
udp 200 1472
