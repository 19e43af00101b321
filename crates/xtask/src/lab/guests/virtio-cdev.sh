#!/bin/sh
#% about = "barewire on two of QEMU's virtio cards under vfio-pci by iommufd, as an ordinary user"
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

make_user
hugepages 64

step "bind"
bound vfio-pci
# the nodes of groups stay root's: what follows goes by the devices' own
must chown ada /dev/iommu /dev/vfio/devices/vfio*
ulimit -l unlimited
shows "/dev/iommu can be opened" as_user barewire doctor "$(card 0)"
runner=as_user

step "polling"
exchanged -v 2>/tmp/said
cat /tmp/said
grep -q "open through VFIO and iommufd" /tmp/said || fail "it went another way"

step "by interrupts"
exchanged --mode interrupt

step "unbind"
must barewire unbind "$(card 0)" "$(card 1)"
