#!/bin/bash
# Prosody 13 for the tests, on a machine that has an older one: a small Debian sid root in a folder of its own.
#
#   sid-root.sh                     make the root (about a minute, 200 MB), or do nothing when it is there; print its path
#   sid-root.sh run COMMAND...      make it when needed, then become COMMAND inside it: same pid, so that a signal to this
#                                   script's pid reaches the command
#
# The folder is $PAM_PPS_SID_ROOT, else ${XDG_CACHE_HOME:-~/.cache}/pam_pps/sid; `rm -rf` removes it without a trace.
# Inside, the command sees the machine's network, /dev, a fresh /proc, and the folders named in $PAM_PPS_BIND
# (separated by colons, at the same paths). Nothing stays mounted afterwards: the mounts live in a private namespace.
# The environment inside is new: pass variables with `env NAME=VALUE COMMAND`.
#
# Needs root, and mmdebstrap (installed from the distribution when missing). Exit status 3: not possible on this machine.
set -euo pipefail

# PAM_PPS_SID=ejabberd: a root of its own with ejabberd in it, and what its module is built with.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pam_pps
if [ "${PAM_PPS_SID:-prosody}" = ejabberd ]; then
	root=${PAM_PPS_SID_ROOT:-$cache/sid-ejabberd}
	packages=ejabberd,erlang-dev,erlang-p1-sqlite3,gcc,libc6-dev,make
else
	root=${PAM_PPS_SID_ROOT:-$cache/sid}
	packages=prosody,prosody-modules,lua-dbi-sqlite3,lua5.4,liblua5.4-dev
fi
stamp=$root/.pam_pps-complete

fail() {
	echo "sid-root: $*" >&2
	exit 3
}

# The first archive of Debian proper that this machine's own apt uses: a proxy or a mirror is then honoured.
debian_archive() {
	apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(LABEL) $(REPO_URI)' |
		awk '$1 == "Packages" && $2 == "Debian" && $3 == "Debian" { print $4; exit }'
}

make_root() {
	[ "$(id -u)" = 0 ] || fail "making a Debian root needs root"
	if ! command -v mmdebstrap >/dev/null; then
		{ apt-get update && apt-get install -y --no-install-recommends mmdebstrap; } >&2 || fail "mmdebstrap is missing"
	fi
	local archive part=$root.part.$$
	archive=$(debian_archive)
	mkdir -p "$(dirname "$root")"
	echo "sid-root: making a Debian sid root in $root" >&2
	# An archive frozen at some day has an expired Release file; its signature is still checked.
	mmdebstrap --mode=root --variant=apt --format=directory --include="$packages" \
		--aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' \
		--aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--essential-hook='printf "#!/bin/sh\nexit 101\n" > "$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
		sid "$part" "${archive:-http://deb.debian.org/debian}" >&2 || {
		rm -rf --one-file-system "$part"
		fail "the Debian sid root could not be made"
	}
	grep -qs localhost "$part/etc/hosts" || echo "127.0.0.1 localhost" >> "$part/etc/hosts"
	touch "$part/.pam_pps-complete"
	rm -rf --one-file-system "$root"
	mv "$part" "$root"
}

mkdir -p "$(dirname "$root")"
exec 9> "$root.lock"
flock 9
[ -e "$stamp" ] || make_root
exec 9>&-

if [ "${1:-}" != run ]; then
	echo "$root"
	exit 0
fi
shift
[ "$(id -u)" = 0 ] || fail "entering the root needs root"
export PAM_PPS_BIND=${PAM_PPS_BIND:-}
exec unshare --mount --propagation private /bin/sh -ec '
	root=$1
	shift
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	IFS=:
	for folder in ${PAM_PPS_BIND:-}; do
		mkdir -p "$root$folder"
		mount --rbind "$folder" "$root$folder"
	done
	unset IFS
	exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
' sh "$root" "$@"
