#!/bin/bash
# Run a command beside a libvirtd of its own, and leave nothing behind however it ends.
#
#   libvirtd.sh SCRATCH COMMAND [ARGUMENT...]      (root; SCRATCH: an empty directory on a disk)
#
# The libvirtd, its virtual machines, bridges, dnsmasq, firewall rules and this command live in new mount, network, pid
# and ipc namespaces: whoever dies in whatever way, the kernel takes the rest down with process 1 of the pid namespace.
# A libvirtd of the machine's own is neither needed nor touched: its /etc, /run and /var directories are covered here.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
    [ $# -ge 2 ] && [ "$(id -u)" = 0 ] || { echo "usage, as root: $0 SCRATCH COMMAND [ARGUMENT...]" >&2; exit 2; }
    # unshare(1) blocks SIGTERM, so this shell takes signals in its place. With --pdeathsig unshare ends with this
    # shell even when that is killed, with --kill-child process 1 ends with unshare, and with that the rest.
    setpriv --pdeathsig KILL unshare --mount --net --pid --ipc --fork --kill-child=KILL "$0" --inside "$@" <&0 &
    # Whoever waits for us after a signal finds nothing left: process 1 ends last, and unshare after it.
    end() {
        local first
        first=$(cat "/proc/$child/task/$child/children" 2>/dev/null || true)
        kill -KILL ${first:-$child} 2>/dev/null || true
        wait "$child" || true
        exit "$1"
    }
    child=$!
    trap 'end 143' TERM HUP
    trap 'end 130' INT
    code=0
    wait "$child" || code=$?
    exit $code
fi
scratch=$(realpath "$2")
shift 2
PATH=$PATH:/usr/sbin:/sbin

mount -t proc proc /proc
# A sysfs shows the network of the process that mounted it, and libvirt looks for its bridges there.
mkdir -p "$scratch"/{cgroup,etc,var,cache,log}
mount --rbind /sys/fs/cgroup "$scratch/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$scratch/cgroup" /sys/fs/cgroup
umount -l "$scratch/cgroup"
ip link set lo up

cp -a /etc/libvirt/. "$scratch/etc/"
rm -f "$scratch"/etc/qemu/networks/autostart/* "$scratch"/etc/qemu/autostart/*
# As root: the account libvirt-qemu may not open a /dev/kvm of mode 0600, and then libvirt probes qemu anew at each call,
# 4 s each time. Neither udev nor virtlogd need to run.
cat >>"$scratch/etc/qemu.conf" <<'CONF'
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
CONF
mkdir -p /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
cp -a /var/lib/libvirt/dnsmasq "$scratch/var/" 2>/dev/null || true
mkdir -p "$scratch"/var/{images,boot,dnsmasq,network,qemu} "$scratch"/cache/qemu "$scratch"/log/qemu
mount --bind "$scratch/etc" /etc/libvirt
mount --bind "$scratch/var" /var/lib/libvirt
mount --bind "$scratch/cache" /var/cache/libvirt
mount --bind "$scratch/log" /var/log/libvirt
mount -t tmpfs tmpfs /run/libvirt

libvirtd --pid-file "$scratch/libvirtd.pid" >"$scratch/libvirtd.log" 2>&1 &
for _ in $(seq 300); do
    virsh -q -c qemu:///system version >/dev/null 2>&1 && break
    kill -0 $! 2>/dev/null || break
    sleep 0.2
done
virsh -q -c qemu:///system version >/dev/null || { cat "$scratch/libvirtd.log" >&2; echo "libvirtd did not start" >&2; exit 1; }
"$@"
