# Compares what a driver has counted with what the model has, over a stretch of traffic.
# After pair.sh: `. /lab/counters.sh`.

# The driver's name for a counter, and the register that the model counts in.
counted="
rx_pkts_nic GPRC
rx_bytes_nic GORC
tx_pkts_nic GPTC
tx_bytes_nic GOTC
multicast MPRC
broadcast BPRC
rx_missed_errors MPC
rx_no_dma_resources QPRDC
rx_crc_errors CRCERRS
rx_long_length_errors ROC
rx_short_length_errors RUC
"

# snapshot NAME: writes down all counters at a quiet moment.
snapshot() {
    sleep 1
    near ethtool -S "$one" >"/tmp/$1.0.driver"
    far ethtool -S "$two" >"/tmp/$1.1.driver"
    for index in 0 1; do
        host counters $index | tr ' ' '\n' >"/tmp/$1.$index.model"
    done
}

# counter NAME CARD WHO WHICH: a number from a snapshot. The model has one for each queue or
# buffer, where a register has one, and leaves out those that are 0.
counter() {
    if [ "$3" = model ]; then
        awk -F= -v name="$4" '$1 == name || index($1, name "[") == 1 { sum += $2 }
            END { print sum + 0 }' "/tmp/$1.$2.model"
    else
        sed -n "s/^ *$4: *//p" "/tmp/$1.$2.$3" | head -n 1 | grep . ||
            fail "the $3 of card $2 has no counter $4"
    fi
}

# grown CARD WHO WHICH: by how much it grew between the snapshots before and after.
grown() {
    echo $(($(counter after "$1" "$2" "$3") - $(counter before "$1" "$2" "$3")))
}

# Both count the same in both cards.
counters_agree() {
    local index driver model
    for index in 0 1; do
        echo "$counted" | while read -r driver model; do
            [ -n "$driver" ] || continue
            ours=$(grown $index model "statistics.$model")
            theirs=$(grown $index driver "$driver")
            echo "card $index: $driver $theirs, $model $ours"
            [ "$ours" = "$theirs" ] ||
                fail "card $index counted $ours $model, its driver $theirs $driver"
        done || exit 1
    done
}
