#!/bin/sh
#% about = "cards that are killed and unplugged under barewire: an error that names them, the other goes on"
#% modules = ["vfio_pci", "vfio_iommu_type1"]
#% programs = ["barewire"]
#% cards = [
#%   { device = "served", wire = "generator" },
#%   { device = "served", wire = "generator" },
#%   { device = "served", wire = "generator:rate=2kpps" },
#%   { device = "served", wire = "generator:rate=2kpps" },
#% ]
#% iommu = "intel"
#% timeout = 420
. /lab/steps.sh
. /lab/barewire.sh

hugepages 64
# what a card is called before any of them goes
for index in 0 1 2 3; do
    eval "card$index=$(card $index)"
done
must barewire bind "$card0" "$card1" "$card2" "$card3" vfio-pci

# begin CARD CARD OPTIONS…: forwards in the background, and waits until frames are on their way.
begin() {
    local one=$1 two=$2 before
    shift 2
    before=$(wire "$two" delivered)
    barewire forward "$(eval echo "\$card$one")" "$(eval echo "\$card$two")" -d 12 --json "$@" \
        >/tmp/forward.json 2>/tmp/said 3>&- &
    pid=$!
    until_true 60 has_more "$two" $((before + 1000))
}

has_more() { [ "$(wire "$1" delivered)" -gt "$2" ]; }

# went_on LOST COUNT: the other port has taken so many frames until the end, and the error names the
# lost one.
went_on() {
    local status=0 taken
    # the kernel tries for a minute to reset a card that does not answer
    wait $pid || status=$?
    tail -n 5 /tmp/said
    tail -n 1 /tmp/forward.json
    [ $status = 1 ] || fail "the exit status is $status"
    grep -q "error: .*$1" /tmp/said || fail "the error does not name $1"
    taken=$(sed -n 's/.*"rx_packets":\([0-9]*\).*/\1/p' /tmp/forward.json)
    [ "$taken" -gt "$2" ] || fail "the other port has stopped at $taken frames"
    until_true 5 free_hugepages_are 64
}

step "forward"
forward 60000
for index in 0 1; do
    [ "$(wire $index delivered)" -ge 60000 ] || fail "not all came to card $index"
done
unharmed 0 1
nothing_left 64

step "a card that is unplugged"
begin 2 3
# Linux takes it out; were it taken out of its slot, QEMU would crash over the card's MSI-X table
must sh -c "echo 1 >/sys/bus/pci/devices/$card2/remove"
went_on "$card2" 8000
[ ! -e "/sys/bus/pci/devices/$card2" ] || fail "the card is still there"

step "a card that is killed"
begin 0 1
host kill 0
went_on "$card0" 8000
