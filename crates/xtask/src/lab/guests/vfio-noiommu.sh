#!/bin/sh
#% about = "barewire on two served cards under vfio-pci without an IOMMU, with interrupts"
#% kernel = "own"
#% programs = ["barewire"]
#% cards = [
#%   { device = "served", wire = "generator:packets=60000" },
#%   { device = "served", wire = "generator:packets=60000" },
#% ]
#% timeout = 240
. /lab/steps.sh
. /lab/barewire.sh

hugepages 64
one=$(card 0)
two=$(card 1)

step "bind"
says "enable_unsafe_noiommu_mode" barewire bind "$one" vfio-pci
echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
must barewire bind "$one" "$two" vfio-pci
shows "no IOMMU confines it" barewire doctor "$one"

step "without hugepages"
hugepages 0
says "vm.nr_hugepages" barewire forward "$one" "$two"
hugepages 64

step "forward"
forward 60000
carried 60000 0 1
nothing_left 64

step "a killed process"
killed barewire forward "$one" "$two"
nothing_left 64

step "unbind"
must barewire unbind "$one" "$two"
