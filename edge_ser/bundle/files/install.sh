#!/bin/sh
# Installs edge-ser from the files beside this script; no network is used.
#
#   ./install.sh [--prefix DIR] [--python PYTHON] [--no-service] [--start]
#   ./install.sh --uninstall [--prefix DIR] [--keep-packs]
#
# What is installed: PREFIX/releases/ID (a virtual environment), PREFIX/current (a link to the one
# in use), PREFIX/bin/edge-ser, PREFIX/packs, PREFIX/etc, and as root with systemd the unit
# edge-ser.service. A release is complete before the link moves to it; the one before stays.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=/opt/edge-ser
python=
service=auto
start=no
uninstall=no
keep_packs=no
units=${EDGE_SER_UNITS:-/etc/systemd/system}

say() { printf 'edge-ser: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }

while [ $# -gt 0 ]; do
    case "$1" in
        --prefix|--python)
            [ $# -gt 1 ] || fail "$1 needs a value"
            if [ "$1" = --prefix ]; then prefix=$2; else python=$2; fi
            shift ;;
        --no-service) service=no ;;
        --start) start=yes ;;
        --uninstall) uninstall=yes ;;
        --keep-packs) keep_packs=yes ;;
        -h|--help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) fail "unknown option $1; see --help" ;;
    esac
    shift
done
case "$prefix" in
    /) fail "--prefix /: choose a folder of its own" ;;
    /*) ;;
    *) prefix=$(pwd)/$prefix ;;
esac
case "$prefix" in
    *[!A-Za-z0-9/._@+-]*) fail "--prefix $prefix: letters, digits and . _ @ + - only, please" ;;
esac

has_systemd() { [ "$(id -u)" = 0 ] && [ -d "$units" ]; }
runs_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }

uninstall() {
    [ -d "$prefix" ] || fail "nothing is installed in $prefix"
    if has_systemd && grep -qs "$prefix/bin/edge-ser" "$units/edge-ser.service"; then
        if runs_systemd; then systemctl disable --now edge-ser.service || true; fi
        rm -f "$units/edge-ser.service"
        if runs_systemd; then systemctl daemon-reload; fi
    fi
    if [ "$(readlink /usr/local/bin/edge-ser 2>/dev/null)" = "$prefix/bin/edge-ser" ]; then
        rm -f /usr/local/bin/edge-ser
    fi
    ours="current releases bin edge-ser.service install.sh .install-lock"
    if [ "$keep_packs" = no ]; then ours="$ours packs etc"; fi
    for name in $ours; do rm -rf "${prefix:?}/$name"; done
    rmdir "$prefix" 2>/dev/null ||
        say "kept: $(cd "$prefix" && find . -mindepth 1 -maxdepth 1 -printf '%f ')in $prefix"
    say "removed from $prefix"
}

if [ "$uninstall" = yes ]; then
    uninstall
    exit 0
fi

[ -f "$here/bundle.env" ] || fail "this is no unpacked bundle: $here/bundle.env is missing"
# shellcheck source=/dev/null
. "$here/bundle.env"

# ---- everything that can be known wrong is found before anything is written
machine=$(uname -m)
[ "$machine" = "$MACHINE" ] ||
    fail "$BUNDLE is for $MACHINE, this machine is $machine; get the bundle for it"

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
bits_of() { "$1" -c 'import struct; print(8 * struct.calcsize("P"))' 2>/dev/null; }
seen=
choose_python() {
    for candidate in ${python:-python3 $(for v in $PYTHONS; do echo "python$v"; done)}; do
        found=$(version_of "$candidate") || continue
        seen="$seen $candidate ($found)"
        for wanted in $PYTHONS; do
            if [ "$found" = "$wanted" ] && [ "$(bits_of "$candidate")" = 64 ]; then
                python=$candidate
                python_version=$found
                return 0
            fi
        done
    done
    fail "$BUNDLE is for Python $PYTHONS (64 bit); found:${seen:- none}; install one or name it with --python"
}
choose_python

(cd "$here" && sha256sum --quiet -c SHA256SUMS >&2) ||
    fail "the bundle is damaged (see above); nothing was installed, copy it again"

mkdir -p "$prefix" 2>/dev/null || fail "$prefix cannot be made; become root (sudo) or use --prefix DIR"
(: >"$prefix/.install-lock") 2>/dev/null ||
    fail "$prefix cannot be written to; become root (sudo) or use --prefix DIR"
free_kb=$(df -Pk "$prefix" | awk 'NR == 2 { print $4 }')
[ "$free_kb" -ge "$NEED_KB" ] ||
    fail "$prefix has $((free_kb / 1024)) MB free, up to $((NEED_KB / 1024)) MB are needed; make room or use --prefix DIR"

exec 9>"$prefix/.install-lock"
if command -v flock >/dev/null; then
    flock -n 9 || fail "another installation is running in $prefix; nothing was changed"
fi

# ---- a release beside the others, complete before anybody sees it
id="$BUNDLE-py$python_version-$(sha256sum "$here/SHA256SUMS" | cut -c1-12)"
release=$prefix/releases/$id
mkdir -p "$prefix/releases" "$prefix/bin" "$prefix/etc" "$prefix/packs"
for old in "$prefix"/releases/*; do # left by an installation that was killed
    if [ -d "$old" ] && [ ! -f "$old/complete" ]; then rm -rf "$old"; fi
done

in_release() { PYTHONPATH='' PYTHONNOUSERSITE=1 "$release/bin/python" "$@"; }
pip_install() {
    in_release "$(echo "$here"/wheels/pip-*.whl)/pip" install --quiet --no-index --no-cache-dir \
        --isolated --disable-pip-version-check --no-compile --find-links "$here/wheels" "$@" >&2
}

discard() { # what is not complete goes at once, for it may be what fills the disk
    if [ ! -f "$release/complete" ]; then rm -rf "$release"; fi
}
trap discard EXIT
trap 'exit 130' INT TERM HUP

if [ ! -f "$release/complete" ]; then
    say "installing $BUNDLE for $python ($python_version) in $release"
    options=--without-pip
    if [ "$SYSTEM_PACKAGES" = yes ]; then options="$options --system-site-packages"; fi
    # shellcheck disable=SC2086
    "$python" -m venv $options "$release" >&2 ||
        fail "$python cannot make a virtual environment; apt install python3-venv"
    pip_install --no-deps --ignore-installed -r "$here/requirements-$python_version.txt" ||
        fail "the wheels cannot be installed in $prefix (see above); nothing was changed"
    site=$(in_release -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    for package in $COMPILED; do
        PATH=$PATH:/usr/local/cuda/bin
        if command -v nvcc >/dev/null; then
            say "compiling $package with $(command -v nvcc); this takes minutes"
            pip_install --no-deps --no-build-isolation "$package" ||
                say "$package does not compile here: $ENGINE cannot be used, ONNX Runtime can"
        else
            say "no nvcc here, so $package is not compiled: $ENGINE cannot be used, ONNX Runtime can"
        fi
    done
    # Not earlier: compiling needs the headers of numpy.
    in_release -m edge_ser.bundle.lean "$site" >&2
    in_release -m compileall -q "$site" >/dev/null || true
    in_release -I -m edge_ser run demo >/dev/null ||
        fail "the new release does not run (see above); what was in use before still is"
    sync # everything in it is on the disk before the mark that says so
    : >"$release/complete"
    sync
fi

# ---- switch
write() { # standard input to file $1, whole or not at all
    cat >"$1.new"
    if [ $# -gt 1 ]; then chmod "$2" "$1.new"; fi
    mv -f "$1.new" "$1"
}
write "$prefix/bin/edge-ser" 755 <<EOF
#!/bin/sh
# The release in use; packs and engines stand outside of it.
export EDGE_SER_PACKS="\${EDGE_SER_PACKS:-$prefix/packs}" PYTHONDONTWRITEBYTECODE=1
exec "$prefix/current/bin/python" -I -m edge_ser "\$@"
EOF
ln -sfn "releases/$id" "$prefix/current.new"
mv -Tf "$prefix/current.new" "$prefix/current"
sync
cp "$here/install.sh" "$prefix/install.sh.new" && mv -f "$prefix/install.sh.new" "$prefix/install.sh"
[ -f "$prefix/etc/edge-ser.env" ] || write "$prefix/etc/edge-ser.env" <"$here/edge-ser.env"
if [ -f "$here/trusted.pem" ] && [ ! -f "$prefix/packs/trusted.pem" ]; then
    write "$prefix/packs/trusted.pem" <"$here/trusted.pem"
fi
for pack in "$here"/packs/*.tar; do
    EDGE_SER_PACKS=$prefix/packs "$prefix/bin/edge-ser" pack install "$pack" >&2 ||
        say "pack $(basename "$pack") was not put to use (see above); the one before still is"
done

# ---- service
groups=
for group in $GROUPS_WANTED; do
    if getent group "$group" >/dev/null 2>&1; then groups="$groups $group"; fi
done
build="# $TARGET computes on the CPU: no engine has to be built"
timeout=3min
if [ -n "$ENGINE" ]; then
    # The service builds engines only if edge-ser.env asks for the backend.
    build="ExecStartPre=/bin/sh -c 'case \"\$\$EDGE_SER_SERVE\" in *--backend*$ENGINE*) exec $prefix/bin/edge-ser build --backend $ENGINE;; esac'"
    timeout=45min
fi
devices='DevicePolicy=closed
DeviceAllow=char-alsa rw
ProtectClock=yes'
if [ -n "$ENGINE" ]; then
    devices='# The devices of a GPU have other names on every board, so access goes by group.'
fi
sed -e "s|@PREFIX@|$prefix|g" -e "s|@GROUPS@|${groups# }|" -e "s|@TIMEOUT@|$timeout|" \
    "$here/edge-ser.service.in" |
    awk -v build="$build" -v devices="$devices" \
        '$0 == "@BUILD@" { print build; next } $0 == "@DEVICES@" { print devices; next } { print }' |
    write "$prefix/edge-ser.service" 644
if [ "$service" = auto ] && has_systemd; then
    case "$prefix" in
        /home/*|/root/*|/tmp/*) say "no service: $prefix is out of its reach (ProtectHome, PrivateTmp)" ;;
        *)
            cp "$prefix/edge-ser.service" "$units/edge-ser.service.new"
            mv -f "$units/edge-ser.service.new" "$units/edge-ser.service"
            if [ "$prefix" = /opt/edge-ser ] && [ ! -e /usr/local/bin/edge-ser ]; then
                ln -s "$prefix/bin/edge-ser" /usr/local/bin/edge-ser
            fi
            if runs_systemd; then
                systemctl daemon-reload
                if [ "$start" = yes ]; then systemctl enable --now edge-ser.service; fi
            fi
            say "service: systemctl enable --now edge-ser; settings: $prefix/etc/edge-ser.env" ;;
    esac
fi

# ---- only the release before this one is kept
previous=$(cd "$prefix/releases" && find . -mindepth 1 -maxdepth 1 ! -name "$id" -printf '%T@ %f\n' |
    sort -rn | head -n 1 | cut -d' ' -f2)
for old in "$prefix"/releases/*; do
    case "$(basename "$old")" in "$id"|"$previous") ;; *) rm -rf "$old" ;; esac
done
say "installed; try: $prefix/bin/edge-ser doctor"
