#!/bin/sh
#% about = "barewire waiting for interrupts of served cards under vfio-pci: MSI-X, a vector for each queue"
#% modules = ["vfio_pci", "vfio_iommu_type1"]
#% programs = ["barewire"]
#% cards = [
#%   { device = "served", wire = "generator:packets=60000,rate=4kpps" },
#%   { device = "served", wire = "generator:packets=60000,rate=4kpps" },
#%   { device = "served", wire = "generator:packets=60000,rate=4kpps,flows=64" },
#%   { device = "served", wire = "generator:packets=60000,rate=4kpps,flows=64" },
#% ]
#% iommu = "intel"
#% timeout = 300
. /lab/steps.sh
. /lab/barewire.sh

hugepages 96
for index in 0 1 2 3; do
    must barewire bind "$(card $index)" vfio-pci
done

# interrupts CARD: how many of each vector have come, a line each.
interrupts() {
    grep "vfio-msix.*$(card "$1")" /proc/interrupts | awk '{ print $2 + $3 }'
}

# watch NAME CARD: keeps its last count of interrupts; vectors that are going do not count.
watch() {
    interrupts "$2" >/tmp/now || true
    [ "$(wc -l </tmp/now)" -lt "$(wc -l <"/tmp/$1")" ] || mv /tmp/now "/tmp/$1"
}

# watched CARD CARD VECTORS OPTIONS…: forwards 60,000 frames each way, with rings that hold what
# comes while a guest on a busy machine stands still. Each card must have so many vectors, the last
# of which is the link's, and the others must have interrupted.
watched() {
    local one=$1 two=$2 vectors=$3 pid name
    shift 3
    echo "+ barewire forward $*"
    barewire forward "$(card "$one")" "$(card "$two")" -n 60000 -d 120 --ring 4096 --json "$@" \
        >/tmp/forward.json 3>&- &
    pid=$!
    : >/tmp/one
    : >/tmp/two
    while kill -0 $pid 2>/dev/null; do
        watch one "$one"
        watch two "$two"
        sleep 1
    done
    must wait $pid
    tail -n 1 /tmp/forward.json
    for name in one two; do
        echo "interrupts of each vector:" $(cat /tmp/$name)
        [ "$(grep -c . /tmp/$name)" = "$vectors" ] || fail "not $vectors vectors"
        head -n $((vectors - 1)) /tmp/$name | while read -r count; do
            [ "$count" -gt 50 ] || fail "frames were met without interrupts"
        done
    done
    note "$* $(head -n 1 /tmp/one) interrupts"
    [ -z "$(interrupts "$one")" ] || fail "vectors are left"
    carried 60000 "$one" "$two"
    nothing_left 96 "$one" "$two"
}

step "sleeping until there is an interrupt"
watched 0 1 2 --mode interrupt

step "adapting, on two queues"
watched 2 3 3 --mode adaptive --queues 2
