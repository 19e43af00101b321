# Two network interfaces joined by a cable: `one` here, `two` in the network namespace `far`.
# After steps.sh: `. /lab/pair.sh`.

near() { "$@"; }
far() { ip netns exec far "$@"; }

# Makes the namespace. IPv6 is off in both: it talks by itself, and counters could not be compared.
make_far() {
    echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
    must ip netns add far
    far sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
}

# place_both [FIRST SECOND]: gives the interfaces of cards 0 and 1, or others, which may still be
# coming, their places and addresses.
place_both() {
    until_true 30 has_interface "${1-0}"
    until_true 30 has_interface "${2-1}"
    one=$(interface "${1-0}")
    two=$(interface "${2-1}")
    must ip link set "$two" netns far
    must ip addr add 10.0.0.1/24 dev "$one"
    must far ip addr add 10.0.0.2/24 dev "$two"
    bring_up
}

has_interface() {
    [ -n "$(interface "$1")" ]
}

# Takes both interfaces off the network again.
remove_both() {
    must ip addr flush dev "$one"
    both ip link set % down
    must far ip link set "$two" netns 1
}

bring_up() {
    both ip link set % up
    link_is_up
}

link_is_up() {
    until_true 30 near grep -q 1 "/sys/class/net/$one/carrier"
    until_true 30 far grep -q 1 "/sys/class/net/$two/carrier"
}

# both COMMAND…: for both interfaces, whose name stands for %.
both() {
    at near "$one" "$@"
    at far "$two" "$@"
}

at() {
    local where=$1 name=$2
    shift 2
    # shellcheck disable=SC2046 # words without spaces
    must "$where" $(echo "$@" | sed "s/%/$name/g")
}

# pings COUNT SIZE [ADDRESS]: in one piece each, and none may be lost.
pings() {
    must ping -c "$1" -i 0.005 -W 10 -q -M do -s "$2" "${3-10.0.0.2}"
}

# tcp BYTES [ADDRESS]: from here to there.
tcp() {
    far lab-guest tcp-serve 7000 &
    must lab-guest tcp-send "${2-10.0.0.2}" 7000 "$1"
    must wait $!
}

# tcp_back BYTES: from there to here.
tcp_back() {
    lab-guest tcp-serve 7001 &
    must far lab-guest tcp-send 10.0.0.1 7001 "$1"
    must wait $!
}

# udp COUNT SIZE [ADDRESS]: there and back.
udp() {
    far lab-guest udp-echo 7000 &
    must lab-guest udp-ask "${3-10.0.0.2}" 7000 "$1" "$2"
    must wait $!
}

# Both interfaces with this MTU.
mtu() {
    both ip link set % mtu "$1"
    link_is_up
}

# Checksums, segmentation and merging by both cards: on or off.
offloads() {
    both ethtool -K % rx "$1" tx "$1" sg "$1" tso "$1" gso "$1" gro "$1"
    link_is_up
}
