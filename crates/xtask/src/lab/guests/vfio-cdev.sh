#!/bin/sh
#% about = "barewire on two served cards under vfio-pci by iommufd, as an ordinary user"
#% kernel = "own"
#% programs = ["barewire"]
#% cards = [
#%   { device = "served", wire = "generator:packets=60000" },
#%   { device = "served", wire = "generator:packets=60000" },
#% ]
#% iommu = "intel"
#% timeout = 300
. /lab/steps.sh
. /lab/barewire.sh

make_user
hugepages 64
one=$(card 0)
two=$(card 1)

step "bind"
must barewire bind "$one" "$two" vfio-pci
# the nodes of groups stay root's: what follows goes by the devices' own
must chown ada /dev/iommu /dev/vfio/devices/vfio*
ulimit -l unlimited
shows "/dev/iommu can be opened" as_user barewire doctor "$one"

step "forward"
runner=as_user
forward 60000 -v 2>/tmp/said
cat /tmp/said
grep -q "open through VFIO and iommufd" /tmp/said || fail "it went another way"
carried 60000 0 1
nothing_left 64

step "a killed process"
killed as_user barewire forward "$one" "$two"
nothing_left 64

step "unbind"
must barewire unbind "$one" "$two"
