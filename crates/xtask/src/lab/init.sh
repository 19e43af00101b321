#!/usr/bin/busybox sh
# The first process of every guest: sets the system up, runs the guest's script, powers off.
busybox=/usr/bin/busybox
$busybox chmod 755 /
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
$busybox mount -t devtmpfs dev /dev
$busybox mkdir -p /dev/shm /dev/hugepages /dev/pts
$busybox mount -t tmpfs shm /dev/shm
$busybox mount -t tmpfs tmp /tmp
$busybox mount -t tmpfs run /run
$busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
# kmod's and iproute2's programs before busybox's of the same name
for name in ip depmod insmod lsmod modinfo modprobe rmmod ping; do
    if [ -e /usr/bin/$name ] || [ -e /sbin/$name ]; then rm -f /bin/$name; fi
done
echo /sbin/modprobe >/proc/sys/kernel/modprobe
[ -d /lib/modules ] && /sbin/depmod -a
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1
cd /root
/bin/sh -u /lab/guest.sh
status=$?
# a program that still drives a card would go on while the machine goes down
kill -9 -1
for _ in $(seq 50); do
    left=0
    for process in /proc/[0-9]*; do
        # processes of the kernel, and those that have ended, have no program
        readlink "$process/exe" >/dev/null 2>&1 && left=$((left + 1))
    done
    # this one has
    [ $left -gt 1 ] || break
    sleep 0.1
done
if [ $status = 0 ]; then
    echo done >&3
else
    echo "warnings of the kernel:"
    dmesg -r | grep '^<[0-4]>' | tail -n 15
    echo "fail the script ended with $status" >&3
fi
sync
poweroff -f
