#!/bin/sh
#% about = "barewire on two of QEMU's virtio cards under vfio-pci by iommufd, in mixes of options"
#% kernel = "own"
#% programs = ["barewire"]
#% cards = [
#%   { device = "virtio-net-pci,disable-legacy=on,iommu_platform=on,in_order=on,indirect_desc=off", cable = "a" },
#%   { device = "virtio-net-pci,disable-legacy=on,iommu_platform=on,packed=on,mq=on,event_idx=off,indirect_desc=off", cable = "b" },
#% ]
#% iommu = "intel"
#% timeout = 600
. /lab/steps.sh
. /lab/barewire.sh
. /lab/virtio.sh

hugepages 64
ways=/tmp/ways

step "bind"
bound vfio-pci
shows "/dev/iommu can be opened" barewire doctor "$(card 0)"

step "polling"
exchanged -v 2>$ways
cat $ways
grep -q "open through VFIO and iommufd" $ways || fail "it went another way"

step "by interrupts"
exchanged --mode interrupt

step "unbind"
must barewire unbind "$(card 0)" "$(card 1)"
