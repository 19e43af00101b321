#!/bin/sh
#% about = "barewire on two served cards under vfio-pci behind an IOMMU, as an ordinary user"
#% modules = ["vfio_pci", "vfio_iommu_type1"]
#% programs = ["barewire"]
#% cards = [
#%   { device = "served", wire = "generator:packets=60000" },
#%   { device = "served", wire = "generator:packets=60000" },
#% ]
#% iommu = "intel"
#% timeout = 300
#% broken = ["not mapped"]
. /lab/steps.sh
. /lab/barewire.sh

make_user
hugepages 64
one=$(card 0)
two=$(card 1)

step "what is missing"
shows "82599ES" barewire devices
says "sudo barewire bind $one vfio-pci" as_user barewire doctor "$one"
says "is bound to no driver" as_user barewire forward "$one" "$two" --backend vfio

step "bind"
shows "from no driver to vfio-pci" barewire bind "$one" vfio-pci
shows "chown" barewire bind "$two" vfio-pci
shows "bound to vfio-pci already" barewire bind "$two" vfio-pci
shows "ixgbe, by vfio" barewire devices
says "your user may not open /dev/vfio/" as_user barewire doctor "$one"
says "sudo chown" as_user barewire forward "$one" "$two"
shows "belongs to user 1000" \
    env SUDO_UID=1000 SUDO_GID=1000 barewire bind --mine "$one" "$two" vfio-pci
(
    ulimit -l 4096
    says "prlimit" as_user barewire doctor "$one"
    says "RLIMIT_MEMLOCK" as_user barewire forward "$one" "$two"
)
ulimit -l unlimited
shows "ready: barewire forward $one" as_user barewire doctor "$one"

step "forward"
runner=as_user
forward 60000
carried 60000 0 1
nothing_left 64

step "a killed process"
killed as_user barewire forward "$one" "$two"
nothing_left 64
shows "ready" as_user barewire doctor

step "an access outside the mapped memory"
# the IOMMU stops it: the card is told that nothing is there
must as_user lab-guest stray "$one"
nothing_left 64

step "unbind"
shows "from vfio-pci to no driver" barewire unbind "$one" "$two"
shows "ixgbe, by uio" barewire devices
