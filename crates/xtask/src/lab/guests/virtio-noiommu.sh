#!/bin/sh
#% about = "barewire between a served 82599 and one of QEMU's virtio cards, under vfio-pci without an IOMMU"
#% kernel = "own"
#% programs = ["barewire"]
#% cards = [
#%   { device = "served", cable = "a" },
#%   { device = "virtio-net-pci,disable-legacy=on,rx_queue_size=512", cable = "b" },
#% ]
#% timeout = 600
. /lab/steps.sh
. /lab/barewire.sh
. /lab/virtio.sh

hugepages 64
echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode

step "bind"
bound vfio-pci
shows "no IOMMU confines it" barewire doctor "$(card 1)"

step "polling"
exchanged

step "by interrupts"
exchanged --mode interrupt

step "unbind"
must barewire unbind "$(card 0)" "$(card 1)"
