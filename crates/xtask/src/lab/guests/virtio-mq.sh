#!/bin/sh
#% about = "barewire on virtio cards with several queues: QEMU's, and served ones that steer by flow and by RSS"
#% modules = ["vfio_pci", "vfio_iommu_type1"]
#% programs = ["barewire"]
#% cards = [
#%   { device = "virtio-net-pci,disable-legacy=on,iommu_platform=on,mq=on", cable = "a" },
#%   { device = "virtio-net-pci,disable-legacy=on,iommu_platform=on,mq=on,packed=on", cable = "b" },
#%   { device = "served:virtio-net:pairs=2", wire = "generator:packets=50000,flows=64" },
#%   { device = "served:virtio-net:pairs=2,with=RSS,with=RING_PACKED", wire = "generator:packets=50000,flows=64" },
#% ]
#% iommu = "intel"
#% timeout = 600
. /lab/steps.sh
. /lab/barewire.sh
. /lab/virtio.sh

hugepages 64
bound vfio-pci

step "QEMU's, whose cables have one queue"
# a datagram cable has no more, whatever the card offers
says "1 to 1 on this device" barewire forward "$(card 0)" "$(card 1)" --queues 2
exchanged
