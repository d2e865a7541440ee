# What the findings share: a temporary directory, public servers and crates in it, and how a result is compared.
#
# FINDINGS_SERVERS=DIR  where scripts/references has put its servers already (else they are fetched into the temporary directory)
# FINDINGS_TARGET=DIR   what cargo has built before (else all is built in the temporary directory, which takes a minute or two)

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/finding-XXXXXX")
pids=() changed=0

finish() {
    local pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null || true
    done
    rm -rf "$dir"
}
trap finish EXIT

servers=${FINDINGS_SERVERS:-}
need_servers() {
    if [ -z "$servers" ]; then
        CARGO_TARGET_DIR=$dir "$root/scripts/references"
        servers=$dir/references
    fi
    command -v redis-cli > /dev/null || { echo "redis-cli is missing (Debian: redis-tools)" >&2; exit 2; }
}

# start NAME: runs redis-8.10, redis-8.2 or valkey-9.1 on a free port of loopback, which is left in $port.
start() {
    local program=$servers/$1/redis-server
    [ -x "$program" ] || program=$servers/$1/valkey-server
    [ -x "$program" ] || { echo "$1 cannot be had here" >&2; exit 2; }
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    mkdir -p "$dir/run-$port"
    (cd "$dir/run-$port" && exec "$program" --port "$port" --bind 127.0.0.1 --save '' --appendonly no) > "$dir/run-$port/log" 2>&1 &
    pids+=($!)
    for _ in $(seq 200); do
        [ "$(redis-cli -p "$port" ping 2> /dev/null)" = PONG ] && return
        sleep 0.05
    done
    echo "$1 does not answer" >&2
    exit 2
}

# rust NAME 'DEPENDENCIES' < main.rs: builds a program with these lines of [dependencies], and runs it in the temporary directory.
rust() {
    local project=$dir/$1
    mkdir -p "$project/src"
    cat > "$project/src/main.rs"
    printf '[package]\nname = "finding-%s"\nversion = "0.0.0"\nedition = "2024"\n[dependencies]\n%s\n[workspace]\n' "$1" "$2" > "$project/Cargo.toml"
    (cd "$project" && CARGO_TARGET_DIR=${FINDINGS_TARGET:-$dir/target} cargo run --quiet)
}

# expect WHAT WANTED FOUND
expect() {
    if [ "$2" = "$3" ]; then
        echo "as seen: $1: $3"
    else
        echo "CHANGED: $1: seen was: $2; now: $3"
        changed=1
    fi
}

# The last line of each finding.
verdict() {
    exit "$changed"
}
