#!/bin/sh
# Checks that this bundle runs on this machine and computes what the model computed. With --prefix it
# is copied there first. Safe to repeat.
set -eu

@CHECKS@

usage() {
    cat <<EOF
usage: ./install.sh [--prefix DIR]
  --prefix DIR   copy the bundle there; what DIR was before is replaced (default: stay here)
EOF
}

prefix=
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --prefix)
            [ $# -ge 2 ] || die "--prefix needs a value" "see ./install.sh --help" 2
            prefix=$2
            shift 2 ;;
        *) die "unknown argument $1" "see ./install.sh --help" 2 ;;
    esac
done

here=$(cd "$(dirname "$0")" && pwd)
check_machine "$here/runner" "tvm-flow compile MODEL --target TARGET -o DIR"
"$here/runner" --check --runs 0 || die "the bundle does not work on this machine" "copy it again" $?
[ -n "$prefix" ] || exit 0

if [ -e "$prefix" ] && ! grep -q '"tvm-flow-bundle"' "$prefix/manifest.json" 2>/dev/null; then
    die "$prefix exists and is not a bundle" "choose another --prefix" 2
fi
mkdir -p "$(dirname "$prefix")" || die "cannot write there" "run it with sudo, or choose --prefix"
rm -rf "$prefix.new" "$prefix.old"
cp -R "$here" "$prefix.new" || die "cannot write $prefix.new" "free some space, or run it with sudo"
[ ! -e "$prefix" ] || mv "$prefix" "$prefix.old"
mv "$prefix.new" "$prefix"
rm -rf "$prefix.old"
echo "installed in $prefix; run $prefix/runner --help"
