# What every guest's script begins with: `. /lab/steps.sh`.
# File descriptor 3 is the line to the lab; see control.rs.
set -eu

# busybox's shell takes its own commands before those in PATH
ip() { /usr/bin/ip "$@"; }
ping() { /usr/bin/ping "$@"; }
modprobe() { /sbin/modprobe "$@"; }
rmmod() { /sbin/rmmod "$@"; }

# step TEXT: says what comes next.
step() {
    echo "== $*"
    echo "step $*" >&3
}

# note TEXT: something to show beside the verdict.
note() {
    echo "note: $*"
    echo "note $*" >&3
}

# fail TEXT: ends the guest with a reason.
fail() {
    echo "FAILED: $*"
    echo "fail $*" >&3
    exit 1
}

# must COMMAND…: runs it; its failure is the guest's.
must() {
    echo "+ $*"
    "$@" || fail "$* ($?)"
}

# until_true SECONDS COMMAND…: waits until it succeeds.
until_true() {
    local left=$(($1 * 10))
    shift
    until "$@"; do
        left=$((left - 1))
        [ $left -gt 0 ] || fail "waited in vain: $*"
        sleep 0.1
    done
}

# host VERB…: has the lab do something; prints its answer.
host() {
    local answer word
    echo "ask $*" >&3
    read -r -t 60 answer <&3 || fail "the lab does not answer: $*"
    word=${answer%% *}
    [ "$word" = ok ] || fail "the lab: $answer"
    echo "${answer#ok}"
}

# card N: the PCI address of the N-th network card, in the order of the guest's head.
card() {
    local device count=0
    for device in /sys/bus/pci/devices/*; do
        case $(cat "$device/class") in
        0x0200*)
            if [ $count = "$1" ]; then
                basename "$device"
                return
            fi
            count=$((count + 1))
            ;;
        esac
    done
    fail "there is no network card $1"
}

# interface N: the network interface of the N-th card; nothing while it has none.
interface() {
    local device
    device=/sys/bus/pci/devices/$(card "$1")
    # a virtio driver's is one further down
    ls "$device/net" 2>/dev/null || ls "$device"/virtio*/net 2>/dev/null || true
}
