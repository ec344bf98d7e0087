#!/usr/bin/env bash
# Writes what makes this bootstrap node this one into an archive: configuration, keys and the data of etcd.

set -euo pipefail

readonly PROGRAM=backup.sh
BASE_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
readonly BASE_DIR
VERSION=$(sed -n 's/^VERSION=//p' "$BASE_DIR/product.txt")
readonly VERSION

# shellcheck source=scripts/common.sh
. "$BASE_DIR/common.sh"

usage() {
    cat <<END
usage: backup.sh [--backup-file FILE] [-v | --verbose] [-l FILE | --log-file FILE]

Back up this bootstrap node: $CONFIG_DIR, with the keys of its authorities; the keys of Salt's master and its
minions; a snapshot of etcd. Whoever reads the archive can pass for this node. The media are not in it.

  --backup-file FILE   write the archive there (default: a new file in $BACKUP_DIR, of which the $BACKUPS_KEPT
                       newest are kept; what was written with this option stays)
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
        *)
            common_option "$@"
            shift $((WORDS - 1))
            ;;
    esac
    shift
done

RETRY_HINT="Mend the cause and run $BASE_DIR/$PROGRAM again."
start backup
[ -r "$BOOTSTRAP_CONFIG" ] || fail "$BOOTSTRAP_CONFIG: cannot be read. Is this the bootstrap node? bootstrap.sh makes one."
back_up "$BACKUP_FILE"
