#!/bin/sh
#% about = "barewire on QEMU's virtio cards with a legacy interface: I/O ports, by uio"
#% modules = ["vfio_pci", "vfio_iommu_type1", "uio_pci_generic"]
#% programs = ["barewire"]
#% cards = [
#%   { device = "virtio-net-pci,disable-legacy=off,disable-modern=on", cable = "a" },
#%   { device = "virtio-net-pci,disable-legacy=off,disable-modern=on,mrg_rxbuf=off,any_layout=off", cable = "b" },
#% ]
#% iommu = "intel"
#% options = "iommu=pt"
#% timeout = 600
. /lab/steps.sh
. /lab/barewire.sh
. /lab/virtio.sh

hugepages 64

step "a device that goes round the IOMMU"
bound vfio-pci
says "VIRTIO_F_ACCESS_PLATFORM" barewire forward "$(card 0)" "$(card 1)"
must barewire unbind "$(card 0)" "$(card 1)"

step "by uio, polling"
bound uio_pci_generic
exchanged
