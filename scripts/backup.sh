#!/usr/bin/env bash
# Writes what makes this bootstrap node this one into an archive: configuration and certificate authorities.

set -euo pipefail

readonly PROGRAM=backup.sh
BASE_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
readonly BASE_DIR
VERSION=$(sed -n 's/^VERSION=//p' "$BASE_DIR/product.txt")
readonly VERSION

# shellcheck source=scripts/common.sh
. "$BASE_DIR/common.sh"

readonly BACKUP_DIR=/var/lib/metalk8s

usage() {
    cat <<END
usage: backup.sh [--backup-file FILE] [-v | --verbose] [-l FILE | --log-file FILE]

Back up this bootstrap node: $CONFIG_DIR, with the keys of its authorities. Whoever reads the archive can pass for this
node. The media are not in it, nor the data of etcd: that is the other members' to give, once Kubernetes runs.

  --backup-file FILE   write the archive there (default: a new file in $BACKUP_DIR)
  -l, --log-file FILE  write the log there (default: $LOG_DIR/backup.log)
  -v, --verbose        show the output of every step
  -h, --help           show this text

exit codes:
  0  the archive is written
  1  a step failed; mend what it says and run this again
  2  misuse
END
}

BACKUP_FILE=''
while [ $# -gt 0 ]; do
    case $1 in
        --backup-file)
            value_of "$@"
            BACKUP_FILE=$2
            shift
            ;;
        -l | --log-file)
            value_of "$@"
            LOG_FILE=$2
            shift
            ;;
        -v | --verbose) VERBOSE=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) misuse "unknown argument $1" ;;
    esac
    shift
done

# write_backup FILE: for root alone from its first byte on, and never half of it under its name.
write_backup() {
    [ -r "$BOOTSTRAP_CONFIG" ] || fail "$BOOTSTRAP_CONFIG: cannot be read. Is this the bootstrap node?"
    [ ! -e "$1" ] || fail "$1: is there already. Name another file: --backup-file FILE"
    mkdir -p -- "$(dirname -- "$1")"
    part=$(mktemp "$1.XXXXXX")
    # The step is a process of its own; its trap sees no local variable.
    trap 'rm -f -- "$part"' EXIT
    printf 'VERSION=%s\n' "$VERSION" >"$WORK_DIR/backup.txt"
    tar --create --gzip --file "$part" --numeric-owner \
        --directory "$WORK_DIR" backup.txt --directory "$(dirname -- "$CONFIG_DIR")" "$(basename -- "$CONFIG_DIR")"
    sync -- "$part"
    mv -- "$part" "$1"
    printf '= %s\n' "$1"
}

RETRY_HINT="Mend the cause and run $BASE_DIR/$PROGRAM again."
start backup
BACKUP_FILE=${BACKUP_FILE:-$BACKUP_DIR/metalk8s-backup_$(date --utc +%Y%m%d_%H%M%S).tar.gz}
step 'Write the archive' write_backup "$BACKUP_FILE"
