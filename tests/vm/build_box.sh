#!/bin/bash
# Build a Vagrant box for libvirt from this host's own package sources: build_box.sh OUT.box WHEELS
#
# Root, on Debian. WHEELS is a directory with the wheels that go into the box's /opt/venv. The box has no boot loader:
# qemu starts its kernel directly. The disk is made from a directory, so no loop device and no mount is needed.
set -euo pipefail
[ $# = 2 ] && [ "$(id -u)" = 0 ] || { echo "usage, as root: $0 OUT.box WHEELS" >&2; exit 2; }
out=$(realpath -m "$1") wheels=$(realpath "$2")
size=8 # GiB
. /etc/os-release
[ "$ID" = debian ] || { echo "the box is built from the host's own packages, and this host is no Debian" >&2; exit 1; }
architecture=$(dpkg --print-architecture)
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$(dirname "$out")/box.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work"
root=$work/root

# The ssh key that every Vagrant knows: the machine has no network but the host's own end of a private bridge.
public_key() {
    local file
    for file in $(find / -xdev -path '*/keys/vagrant.pub' -size -4k 2>/dev/null); do
        cat "$file" && return
    done
    echo "Vagrant's public key is not on this machine" >&2 && return 1
}

packages() {
    printf '%s,' "linux-image-cloud-$architecture" systemd-sysv dbus udev openssh-server sudo rsync python3 \
        python3-venv iproute2 iptables nftables kmod procps iputils-ping busybox-static uidmap libseccomp2 \
        libnftables1 strace ca-certificates curl docker.io linux-libc-dev
    echo runc
}

# This distribution's sources and download settings as apt itself understands them on the host.
install_system() {
    apt-get indextargets --format '$(ORIGIN)|deb $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        sed -n 's/^Debian|//p' | sort -u >"$work/sources.list"
    apt-config dump --format '%F "%v";%n' Acquire | grep -v -e '""' -e IndexTargets -e '^Acquire "' >"$work/apt.conf" || true
    mmdebstrap --quiet --mode=root --variant=minbase --format=directory \
        --include="$(packages)" --aptopt='Apt::Install-Recommends "false"' --aptopt="$work/apt.conf" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$VERSION_CODENAME" "$root" "$work/sources.list"
}

configure() {
    echo minidock-vm >"$root/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 minidock-vm\n' >"$root/etc/hosts"
    echo '/dev/vda / ext4 rw,noatime 0 1' >"$root/etc/fstab"
    : >"$root/etc/machine-id"
    chroot "$root" useradd -m -s /bin/bash -G sudo,docker vagrant
    echo 'vagrant ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/vagrant"
    install -d -m 700 "$root/home/vagrant/.ssh"
    public_key >"$root/home/vagrant/.ssh/authorized_keys"
    chroot "$root" chown -R vagrant: /home/vagrant/.ssh
    printf 'UseDNS no\nPasswordAuthentication no\n' >"$root/etc/ssh/sshd_config.d/minidock.conf"
    printf '[Match]\nName=eth*\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n' \
        >"$root/etc/systemd/network/80-dhcp.network"
    chroot "$root" systemctl -q enable systemd-networkd ssh
    # docker.io is there for its command line; nothing may wait for the network or tidy up beside a test.
    chroot "$root" systemctl -q mask docker.service docker.socket containerd.service \
        systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
        e2scrub_reap.service dpkg-db-backup.timer fstrim.timer getty@tty1.service
    rm -f "$root"/usr/{,s}bin/{dockerd,docker-proxy,containerd*,ctr}
    printf '%s\n' overlay veth bridge br_netfilter nf_tables nft_chain_nat nft_masq fuse \
        >"$root/etc/modules-load.d/minidock.conf"
    printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/minidock.conf"
}

install_libraries() {
    cp -r "$wheels" "$root/var/cache/wheels"
    chroot "$root" python3 -m venv /opt/venv
    chroot "$root" sh -c '/opt/venv/bin/pip -q install --no-index --no-deps /var/cache/wheels/*.whl'
    chroot "$root" /opt/venv/bin/python3 -m compileall -q -j 0 /opt/venv/lib || true
    rm -rf "$root/var/cache/wheels"
}

# The kernel has ext4 built in and needs the drivers of its disk only.
pack_initrd() {
    local kernel=$1 tree=$work/initrd module number=10
    mkdir -p "$tree"/{bin,proc,dev,newroot,modules}
    cp "$root/bin/busybox" "$tree/bin/sh"
    for name in mount umount insmod usleep poweroff switch_root; do ln -s sh "$tree/bin/$name"; done
    for module in $(for name in virtio_pci virtio_mmio virtio_blk; do
        chroot "$root" modprobe -S "$kernel" --show-depends $name; done |
        sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++'); do
        cp "$root$module" "$tree/modules/$((number++))-$(basename "$module")"
    done
    cat >"$tree/init" <<'INIT'
#!/bin/sh
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in /modules/*; do insmod "$module"; done
tries=0
while [ ! -b /dev/vda ]; do
    tries=$((tries + 1))
    [ $tries -lt 1200 ] || { echo "no disk"; poweroff -f; }
    usleep 50000
done
mount -t ext4 -o ro /dev/vda /newroot
umount /proc
mount -o move /dev /newroot/dev
exec switch_root /newroot /sbin/init
INIT
    chmod +x "$tree/init"
    (cd "$tree" && find . | cpio -o -H newc --quiet -R 0:0) >"$work/box/initrd.img"
}

pack_box() {
    local kernel
    kernel=$(basename "$root"/lib/modules/*)
    mkdir "$work/box"
    cp "$root/boot/vmlinuz-$kernel" "$work/box/vmlinuz"
    pack_initrd "$kernel"
    rm -f "$root"/boot/{initrd,vmlinuz}* "$root"/initrd* "$root"/vmlinuz*
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
    truncate -s "${size}G" "$work/disk"
    # With its journal: the tests cut the power.
    mke2fs -q -t ext4 -m 0 -d "$root" "$work/disk"
    qemu-img convert -O qcow2 "$work/disk" "$work/box/box.img"
    rm "$work/disk"
    echo "{\"provider\": \"libvirt\", \"format\": \"qcow2\", \"virtual_size\": $size}" >"$work/box/metadata.json"
    cat >"$work/box/Vagrantfile" <<'BOX'
Vagrant.configure("2") do |config|
  config.vm.guest = :debian
  config.ssh.insert_key = false
  config.vm.provider :libvirt do |machine|
    # Emulated, a processor is slow enough: no page is cleared twice, and the time is read from the processor. (Left
    # to itself the kernel finds the emulated counter unstable and asks the HPET, a device access for each reading.)
    machine.kernel = File.join(__dir__, "vmlinuz")
    machine.initrd = File.join(__dir__, "initrd.img")
    machine.cmd_line = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet panic=1 mitigations=off init_on_alloc=0 tsc=reliable"
  end
end
BOX
    tar -C "$work/box" --sparse -cf "$work/packed" metadata.json Vagrantfile vmlinuz initrd.img box.img
    mv "$work/packed" "$out"
    echo "$out: kernel $kernel, $(du -h "$out" | cut -f1), $SECONDS s"
}

install_system
mkdir -p "$root/etc/systemd/journald.conf.d"
configure
install_libraries
pack_box
