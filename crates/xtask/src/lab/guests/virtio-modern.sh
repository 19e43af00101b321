#!/bin/sh
#% about = "barewire on two of QEMU's virtio cards, modern, split rings: by vfio behind an IOMMU, by uio"
#% modules = ["vfio_pci", "vfio_iommu_type1", "uio_pci_generic"]
#% programs = ["barewire"]
#% cards = [
#%   { device = "virtio-net-pci,disable-legacy=on,iommu_platform=on,ats=on", cable = "a" },
#%   { device = "virtio-net-pci,disable-legacy=on,iommu_platform=on,mrg_rxbuf=off,event_idx=off,rx_queue_size=1024", cable = "b" },
#% ]
#% iommu = "intel"
#% options = "iommu=pt"
#% timeout = 600
. /lab/steps.sh
. /lab/barewire.sh
. /lab/virtio.sh

hugepages 64

step "by vfio, polling"
bound vfio-pci
exchanged

step "by vfio, by interrupts"
exchanged --mode interrupt

step "by uio, polling"
must barewire unbind "$(card 0)" "$(card 1)"
bound uio_pci_generic
exchanged
