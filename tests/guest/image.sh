#!/usr/bin/env bash
# image.sh FOLDER: makes the guest's root file system, and takes its two kernels out of it.
#
# Debian 13 from the mirror that the host's own apt uses: `root.ext4`, and for each of `stock` and `backports`
# NAME.vmlinuz and NAME.initrd. Must run as root.
set -euo pipefail

readonly FOLDER=$1
# More than Debian and two kernels need, in MiB; the file is sparse.
readonly SIZE=1500
readonly INCLUDE=dbus,gcc,initramfs-tools,libc6-dev,linux-image-cloud-amd64,systemd-sysv,udev

# Origin and label tell Debian's own archive from its security updates and from everybody else's.
# shellcheck disable=SC2016 # these are apt's variables
mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
    sed -n 's/^Debian|Debian|//p' | head -n 1)
[[ -n $mirror ]] || {
    echo "image.sh: apt knows no mirror of Debian here; run apt-get update" >&2
    exit 1
}

scratch=$(mktemp --directory)
trap 'rm -rf --one-file-system "$scratch"' EXIT
root=$scratch/root

# The initramfs needs no more than the way to the root file system. The older kernel comes with the packages; the
# newer one is added, and the older stays.
cat >"$scratch/prepare" <<'HOOK'
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/guest"
printf '%s\n' virtio_pci virtio_blk ext4 >"$1/etc/initramfs-tools/modules"
HOOK
cat >"$scratch/finish" <<'HOOK'
set -eu
chroot "$1" apt-get install --quiet --yes --no-install-recommends --target-release trixie-backports \
    linux-image-cloud-amd64
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/usr/share/doc "$1"/usr/share/man "$1"/usr/share/locale
# Nobody logs in.
for unit in serial-getty@ttyS0 getty@tty1 systemd-logind; do ln -s /dev/null "$1/etc/systemd/system/$unit.service"; done
cat >"$1/etc/systemd/system/guest.service" <<'UNIT'
[Unit]
Description=The cases
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mkdir -p /payload && mount /dev/vdb /payload && exec bash /payload/inside.sh'
ExecStopPost=/bin/systemctl --force poweroff
StandardOutput=tty
StandardError=inherit
TTYPath=/dev/ttyS1
TimeoutStartSec=infinity
UNIT
mkdir -p "$1/etc/systemd/system/multi-user.target.wants"
ln -s ../guest.service "$1/etc/systemd/system/multi-user.target.wants/"
HOOK

mmdebstrap --quiet --variant=minbase --include="$INCLUDE" \
    --essential-hook="sh $scratch/prepare \"\$1\"" --customize-hook="sh $scratch/finish \"\$1\"" \
    trixie "$root" "deb $mirror trixie main" "deb $mirror trixie-backports main"

# By version, the older first.
mapfile -t versions < <(find "$root/boot" -name 'vmlinuz-*' -printf '%f\n' | sed 's/^vmlinuz-//' | sort --version-sort)
((${#versions[@]} == 2)) || {
    echo "image.sh: two kernels were expected in the image; found: ${versions[*]}" >&2
    exit 1
}
names=(stock backports)
for index in 0 1; do
    cp "$root/boot/vmlinuz-${versions[index]}" "$FOLDER/${names[index]}.vmlinuz"
    cp "$root/boot/initrd.img-${versions[index]}" "$FOLDER/${names[index]}.initrd"
done
rm -rf "$root"/boot/*
truncate --size="${SIZE}M" "$scratch/root.ext4"
mke2fs -q -F -t ext4 -d "$root" "$scratch/root.ext4"
# Last, and at once: what is there is whole.
cp --sparse=always "$scratch/root.ext4" "$FOLDER/root.ext4.new"
mv "$FOLDER/root.ext4.new" "$FOLDER/root.ext4"
