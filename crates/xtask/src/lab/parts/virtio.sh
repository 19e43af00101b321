# Two of QEMU's virtio cards, between which the program forwards while the lab plays both far ends.
# After barewire.sh: `. /lab/virtio.sh`.

# bound DRIVER: both cards.
bound() {
    must barewire bind "$(card 0)" "$(card 1)" "$1"
    [ "$1" != vfio-pci ] || shows "virtio-net, by vfio" barewire devices
}

# exchanged OPTIONS…: forwards with them, until the lab has had 50,000 frames each way, checked.
exchanged() {
    local frames=50000 pid answer left=600
    echo "+ barewire forward $*"
    "${runner-run}" barewire forward "$(card 0)" "$(card 1)" -d 600 --json "$@" >/tmp/forward.json 3>&- &
    pid=$!
    until_true 30 masters 0
    until_true 30 masters 1
    sleep 1
    host exchange 0 1 $frames >/dev/null
    while answer=$(host exchanged 0); do
        case $answer in
        *done*) break ;;
        esac
        kill -0 $pid 2>/dev/null || fail "the program has ended: $(tail -n 3 /tmp/forward.json)"
        left=$((left - 1))
        [ $left -gt 0 ] || fail "not done in time: $answer"
        sleep 1
    done
    case $answer in
    *done*) ;;
    *) fail "the exchange failed" ;;
    esac
    # a runner is another process
    kill -INT "$(pidof barewire)"
    must wait $pid
    tail -n 1 /tmp/forward.json
    echo "$answer"
    grep -q '"driver":"virtio-net"' /tmp/forward.json || fail "another driver forwarded"
    nothing_left 64
}
