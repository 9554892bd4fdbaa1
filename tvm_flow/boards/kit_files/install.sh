#!/bin/sh
# Installs the RPC server of this kit on the board it was made for (@BOARD@), and on a board with
# systemd, as root, starts it as a service. Safe to repeat.
#
#   sudo TRACKER=192.168.1.10:9190 ./install.sh --listen 192.168.1.20
set -eu

UNIT=tvm-flow-board.service
UNITS=/etc/systemd/system

@CHECKS@

usage() {
    cat <<EOF
usage: TRACKER=HOST:PORT ./install.sh [--listen ADDRESS] [--prefix DIR] [--no-service]
  TRACKER            where the tracker runs, as the board sees it
  --listen ADDRESS   the board's own address that clients connect to (default: 127.0.0.1, which
                     only this board itself can reach)
  --prefix DIR       where to install (default: /opt/tvm-flow)
  --no-service       only copy; do not install the systemd service
EOF
}

prefix=/opt/tvm-flow
listen=127.0.0.1
service=yes
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --no-service) service=no; shift ;;
        --listen | --prefix)
            [ $# -ge 2 ] || die "$1 needs a value" "see ./install.sh --help" 2
            if [ "$1" = --listen ]; then listen=$2; else prefix=$2; fi
            shift 2 ;;
        *) die "unknown argument $1" "see ./install.sh --help" 2 ;;
    esac
done
tracker=${TRACKER:-}
case $tracker in
    *[!][A-Za-z0-9.:_%-]* | :* | *:) die "TRACKER=$tracker is not HOST:PORT" "see ./install.sh --help" 2 ;;
    *:*) ;;
    *) die "no tracker is named" "TRACKER=HOST:PORT ./install.sh" 2 ;;
esac
case $listen in
    *[!][A-Za-z0-9.:_%-]* | '') die "--listen $listen is not an address" "see ./install.sh --help" 2 ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
check_machine "$here/board_server" "tvm-flow board-kit TARGET -o DIR"

# ---- copy; a server that runs keeps its old files until it is restarted
mkdir -p "$prefix/lib" || die "cannot write to $prefix" "run it with sudo, or choose --prefix"
for file in board_server lib/libtvm_runtime.so lib/libtvm_ffi.so; do
    cp "$here/$file" "$prefix/$file.new" || die "cannot write to $prefix" "free some space"
    chmod 755 "$prefix/$file.new"
    mv -f "$prefix/$file.new" "$prefix/$file"
done
printf 'TRACKER=%s\nLISTEN=%s\n' "$tracker" "$listen" >"$prefix/board.conf"
echo "installed in $prefix"
case $listen in
    127.* | localhost | ::1 | '[::1]')
        echo "note: the server will listen on $listen only; other machines need --listen ADDRESS" ;;
    *)
        echo "WARNING: whoever reaches $listen port 9090 can run any code on this board: keep it in a trusted network" ;;
esac

# ---- start it
if [ "$service" = yes ] && [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ]; then
    sed "s|/opt/tvm-flow|$prefix|g" "$here/$UNIT" >"$UNITS/$UNIT.new"
    mv -f "$UNITS/$UNIT.new" "$UNITS/$UNIT"
    systemctl daemon-reload
    systemctl enable --quiet "$UNIT"
    systemctl restart "$UNIT"
    echo "service $UNIT is $(systemctl is-active "$UNIT" || true); its log: journalctl -u $UNIT"
else
    echo "no service was installed (that needs root and systemd). Start the server with:"
    echo "  $prefix/board_server --tracker $tracker --host $listen @OPTIONS@"
fi
