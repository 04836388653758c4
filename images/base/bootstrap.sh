#!/bin/sh
# Makes the base image of the lab from Debian's packages and writes it, a tar, to stdout.
# Used only if no registry has the image named in `reference`. Needs mmdebstrap (Debian, Ubuntu).
#
#   images/base/bootstrap.sh | docker import - my-base
#
# Nothing of this machine gets into it: no host name, no resolver, no mirror, no time zone.
set -eu
suite=bookworm
# usrmerge would bring all of Perl (46 MB) to merge folders that are already merged here.
exec mmdebstrap --quiet --variant=apt --format=tar --components=main \
    --include=usr-is-merged,hostname \
    --setup-hook='for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d"; [ -e "$1/$d" ] || ln -s "usr/$d" "$1/$d"; done' \
    --setup-hook='printf "Package: usrmerge\nPin: release *\nPin-Priority: -1\n" > "$1/etc/apt/preferences.d/lab"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Languages "none"' \
    --customize-hook='rm -f "$1/etc/apt/preferences.d/lab"' \
    --customize-hook='rm -f "$1/etc/hostname" "$1/etc/resolv.conf" "$1/etc/machine-id"' \
    --customize-hook='rm -rf "$1/var/log" "$1/var/cache/debconf/"*-old; mkdir "$1/var/log"' \
    "$suite" - \
    "deb http://deb.debian.org/debian $suite main" \
    "deb http://deb.debian.org/debian $suite-updates main" \
    "deb http://deb.debian.org/debian-security $suite-security main"
