#!/bin/sh
#% about = "barewire on two served cards under uio_pci_generic and without a driver"
#% modules = ["uio_pci_generic"]
#% programs = ["barewire"]
#% cards = [
#%   { device = "served", wire = "generator:packets=60000" },
#%   { device = "served", wire = "generator:packets=60000" },
#% ]
#% timeout = 240
. /lab/steps.sh
. /lab/barewire.sh

make_user
hugepages 64
one=$(card 0)
two=$(card 1)

step "bind"
# one with a driver that gives it to programs, one without any
must barewire bind "$one" uio_pci_generic
shows "ixgbe, by uio" barewire devices
says "only root may" as_user barewire forward "$one" "$two"
says "sudo barewire forward" as_user barewire doctor "$one"
shows "ready" barewire doctor "$one"
says "vfio-pci" barewire forward "$one" "$two" --backend vfio

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
# the kernel sees to the one; the other is stopped when it is opened the next time
! masters 0 || fail "card 0 may still do DMA"
masters 1 || fail "card 1 was not left running"
must barewire forward "$one" "$two" -d 1
nothing_left 64

step "unbind"
shows "to no driver" barewire unbind "$one"
