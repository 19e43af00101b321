#!/bin/sh
#% about = "Linux's virtio_net on served virtio devices, two by two, cabled with each other"
#% options = "virtio_pci.force_legacy=1"
#% modules = ["virtio_pci", "virtio_net", "8021q"]
#% programs = ["ip", "ethtool", "ping"]
#% cards = [
#%     { device = "served:virtio-net:pairs=2,with=RSS", cable = "a" },
#%     { device = "served:virtio-net:pairs=2", cable = "a" },
#%     { device = "served:virtio-net:with=RING_PACKED", cable = "b" },
#%     { device = "served:virtio-net:with=RING_PACKED,shuffled,without=MRG_RXBUF", cable = "b" },
#%     { device = "served:virtio-net:transitional", cable = "c" },
#%     { device = "served:virtio-net:transitional,without=EVENT_IDX,without=INDIRECT_DESC", cable = "c" },
#% ]
#% timeout = 600
. /lab/steps.sh
. /lab/pair.sh

# Frames of all kinds between the two interfaces.
traffic() {
    pings 300 18
    pings 300 1472
    udp 1000 8
    udp 1000 1472
    udp 100 20000
    tcp 20000000
    tcp_back 20000000
}

# What a device can be told while it runs.
settings() {
    offloads off
    tcp 10000000
    tcp_back 4000000
    udp 500 1472
    offloads on
    mtu 9000
    pings 100 8972
    tcp 10000000
    mtu 1500
    both ip link set % promisc on
    both ip link set % allmulticast on
    pings 50 1472
    both ip link set % promisc off
    both ip link set % allmulticast off
    must ip link set "$one" address 02:00:00:00:01:01
    pings 50 1472
    both ethtool -i %
    both ethtool -g %
    both ethtool -S %
}

# Frames with a tag, which the device lets in once it was told the number.
tagged() {
    both ip link add link % name tagged type vlan id 5
    must ip addr add 10.0.5.1/24 dev tagged
    must far ip addr add 10.0.5.2/24 dev tagged
    must ip link set tagged up
    must far ip link set tagged up
    pings 100 1472 10.0.5.2
    tcp 4000000 10.0.5.2
    must ip link del tagged
    must far ip link del tagged
}

make_far
must modprobe virtio_pci
must modprobe virtio_net

step "split rings, two pairs of queues"
place_both 0 1
traffic
settings
tagged
both ethtool -L % combined 2
link_is_up
traffic
both ethtool -x %
both ethtool -G % rx 64 tx 64
link_is_up
pings 50 1472
both ip link set % down
bring_up
pings 50 1472
remove_both

step "packed rings"
place_both 2 3
traffic
settings
tagged
remove_both

step "the legacy interface"
place_both 4 5
traffic
settings
tagged
remove_both

step "driver unbound and bound"
for index in 0 1; do
    address=$(card $index)
    echo "$address" >/sys/bus/pci/drivers/virtio-pci/unbind
    echo "$address" >/sys/bus/pci/drivers/virtio-pci/bind
done
place_both 0 1
traffic
remove_both
