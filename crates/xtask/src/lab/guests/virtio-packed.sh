#!/bin/sh
#% about = "barewire on two of QEMU's virtio cards with packed rings, by vfio behind an IOMMU"
#% modules = ["vfio_pci", "vfio_iommu_type1"]
#% programs = ["barewire"]
#% cards = [
#%   { device = "virtio-net-pci,disable-legacy=on,iommu_platform=on,packed=on", cable = "a" },
#%   { device = "virtio-net-pci,disable-legacy=on,iommu_platform=on,packed=on,mrg_rxbuf=off,event_idx=off,in_order=on", cable = "b" },
#% ]
#% iommu = "intel"
#% timeout = 600
. /lab/steps.sh
. /lab/barewire.sh
. /lab/virtio.sh

hugepages 64
bound vfio-pci

step "polling"
exchanged

step "by interrupts"
exchanged --mode interrupt

step "adapting"
exchanged --mode adaptive
