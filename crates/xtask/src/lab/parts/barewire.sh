# What guests with the program barewire have in common. After steps.sh: `. /lab/barewire.sh`.

# An ordinary user, who owns nothing.
make_user() {
    echo 'root:x:0:0::/root:/bin/sh' >/etc/passwd
    echo 'ada:x:1000:1000::/tmp:/bin/sh' >>/etc/passwd
    chmod 755 /root
    chmod 1777 /tmp
}

as_user() { su -s /bin/sh ada -c "$*"; }

# hugepages NUMBER: of 2 MiB.
hugepages() {
    echo "$1" >/proc/sys/vm/nr_hugepages
    [ "$(cat /proc/sys/vm/nr_hugepages)" = "$1" ] || fail "no $1 hugepages"
}

# says TEXT COMMAND…: it must fail, and say so.
says() {
    local text=$1
    shift
    echo "+ $* (is to say: $text)"
    if "$@" >/tmp/said 2>&1; then
        cat /tmp/said
        fail "$* did not fail"
    fi
    cat /tmp/said
    grep -qF -- "$text" /tmp/said || fail "$* did not say: $text"
}

# shows TEXT COMMAND…: it must succeed, and say so.
shows() {
    local text=$1
    shift
    echo "+ $* (is to show: $text)"
    "$@" >/tmp/said 2>&1 || {
        cat /tmp/said
        fail "$* ($?)"
    }
    cat /tmp/said
    grep -qF -- "$text" /tmp/said || fail "$* did not show: $text"
}

# wire CARD NAME: what the far end of a card has counted.
wire() {
    host counters "$1" | tr ' ' '\n' | sed -n "s/^wire\.$2=//p"
}

# forward FRAMES OPTIONS…: between cards 0 and 1, until so many frames have come from each far end.
forward() {
    local frames=$1
    shift
    must "${runner-run}" barewire forward "$(card 0)" "$(card 1)" -n "$frames" -d 120 --json "$@" \
        >/tmp/forward.json
    tail -n 1 /tmp/forward.json
    note "$(sed -n 's/.*"mpps":\([0-9]*\.[0-9]\{0,3\}\).*/\1 Mpps/p' /tmp/forward.json)"
}

run() { "$@"; }

# carried FRAMES CARD…: so many have left the far end of each card, and so many have come to it, in
# order, unharmed, and no others.
carried() {
    local frames=$1 card name count
    shift
    for card in "$@"; do
        for name in offered delivered; do
            count=$(wire "$card" $name)
            [ "$count" = "$frames" ] || fail "card $card: $name is $count, not $frames"
        done
    done
    unharmed "$@"
}

# unharmed CARD…: what has come to their far ends was in order and whole.
unharmed() {
    local card name count
    for card in "$@"; do
        for name in lost reordered duplicated corrupted foreign; do
            count=$(wire "$card" $name)
            [ "$count" = 0 ] || fail "card $card: $name is $count"
        done
    done
}

# The command register of a card's configuration space.
command_of() { od -An -tu2 -j4 -N2 "/sys/bus/pci/devices/$(card "$1")/config" | tr -d ' '; }

# masters CARD: whether it may do DMA.
masters() { [ $(($(command_of "$1") & 4)) != 0 ]; }

# nothing_left HUGEPAGES [CARD CARD]: neither card (0 and 1 if not said) may do DMA, no process has
# a device, all hugepages are free.
nothing_left() {
    local index
    for index in "${2-0}" "${3-1}"; do
        ! masters "$index" || fail "card $index may still do DMA"
    done
    until_true 5 free_hugepages_are "$1"
    ! ls -l /proc/[0-9]*/fd 2>/dev/null | grep -E 'vfio|iommu|/dev/uio|resource[0-9]|barewire-dma' ||
        fail "descriptors are left"
    ! grep -E 'vfio|resource[0-9]|barewire-dma' /proc/[0-9]*/maps || fail "mappings are left"
}

free_hugepages_are() {
    [ "$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages)" = "$1" ]
}

# killed COMMAND…: runs it until the cards may do DMA, and kills it the hard way.
killed() {
    local pid
    echo "+ $* (killed)"
    "$@" 3>&- &
    pid=$!
    until_true 30 masters 0
    until_true 30 masters 1
    kill -9 "$(pidof barewire)"
    wait $pid || true
    until_true 10 ended "$(pidof barewire || echo $pid)"
}

ended() { ! kill -0 "$1" 2>/dev/null; }
