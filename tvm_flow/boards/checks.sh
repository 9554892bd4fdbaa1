die() {
    echo "error: $1. Fix: $2" >&2
    exit "${3:-1}"
}

check_glibc() {
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //')
    [ -n "$libc" ] || die "this system has no glibc" "use an image with glibc @GLIBC@ or newer"
    oldest=$(printf '%s\n%s\n' "$libc" "@GLIBC@" | sort -t . -k 1,1n -k 2,2n | head -n 1)
    [ "$oldest" = "@GLIBC@" ] ||
        die "glibc $libc is too old, @GLIBC@ is needed" "use a newer image of the system"
}

# check_machine PROGRAM COMMAND: PROGRAM runs here; COMMAND makes one for another machine.
check_machine() {
    machine=$(uname -m)
    [ "$machine" = "@ARCH@" ] || die "this machine is $machine, this is for @ARCH@" "$2"
    if [ "@GLIBC@" = musl ]; then
        [ -e "/lib/ld-musl-$machine.so.1" ] ||
            die "this system has no musl" "compile without --libc musl, or install musl"
    else
        check_glibc
    fi
    if ! said=$("$1" --help 2>&1); then
        die "${1##*/} does not start: $(echo "$said" | head -n 1)" \
            "apt-get install libstdc++6, or copy the files again"
    fi
}