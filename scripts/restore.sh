#!/usr/bin/env bash
# Makes this host the bootstrap node that an archive of backup.sh was taken from.

set -euo pipefail

readonly PROGRAM=restore.sh
BASE_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
readonly BASE_DIR
VERSION=$(sed -n 's/^VERSION=//p' "$BASE_DIR/product.txt")
readonly VERSION

# shellcheck source=scripts/common.sh
. "$BASE_DIR/common.sh"

usage() {
    cat <<END
usage: restore.sh --backup-file FILE [--apiserver-node-ip IP] [--key FILE] [-v | --verbose] [-l FILE | --log-file FILE]

Put back what an archive of backup.sh holds, on a host that is no node yet. Then run bootstrap.sh, which makes it the
bootstrap node with the same authorities, keys and data: all that the archive's bootstrap.yaml names must be here.

  --backup-file FILE   the archive
  --apiserver-node-ip IP  a node of the control plane, whose etcd this host joins; refused, since this version does not
                       run Kubernetes yet
  --key FILE           the public key that the medium must be signed by; the archive's own is not believed before
  -l, --log-file FILE  write the log there (default: $LOG_DIR/restore.log)
  -v, --verbose        show the output of every step
  -h, --help           show this text

exit codes:
  0  the archive is unpacked; what is to be run next is printed
  1  a step failed; mend what it says and run this again
  2  misuse
END
}

BACKUP_FILE='' KEY=''
while [ $# -gt 0 ]; do
    case $1 in
        --backup-file)
            value_of "$@"
            BACKUP_FILE=$2
            shift
            ;;
        --apiserver-node-ip) misuse "$1: this version does not run Kubernetes yet; leave it out" ;;
        --key)
            value_of "$@"
            KEY=$2
            shift
            ;;
        *)
            common_option "$@"
            shift $((WORDS - 1))
            ;;
    esac
    shift
done
[ -n "$BACKUP_FILE" ] || misuse '--backup-file is missing'

# check_backup FILE: that it is ours, of this version, and writes nowhere else.
check_backup() {
    local members other made_by
    members=$(tar --list --gzip --file "$1") || fail "$1: is not an archive that can be read."
    other=$(grep -vE "^(backup\.txt|etcd\.db|(${CONFIG_DIR#/}|${MASTER_DIR#/}/pki|${MINION_KEYS#/})(/.*)?)\$" <<<"$members" || :)
    [ -z "$other" ] || fail "$1: holds what no backup holds:" "$other"
    ! grep -qE '(^|/)\.\.(/|$)' <<<"$members" || fail "$1: leaves its own folder."
    for other in backup.txt "${BOOTSTRAP_CONFIG#/}" etcd.db; do
        grep -qxF "$other" <<<"$members" || fail "$1: holds no ${other##*/}."
    done
    made_by=$(tar --extract --gzip --to-stdout --file "$1" backup.txt | sed -n 's/^VERSION=//p')
    [ "$made_by" = "$VERSION" ] ||
        fail "$1: is of version $made_by, this medium of $VERSION. Run restore.sh of that version."
    for other in "$BOOTSTRAP_CONFIG" "$ETCD_DIR/member"; do
        [ ! -e "$other" ] || fail "$other: is there already. Restore on a host that is no node yet."
    done
}

# unpack_backup FILE: beside its place first. bootstrap.yaml comes last: without it, this can be run again.
unpack_backup() {
    local place
    mkdir -p -- "$BACKUP_DIR"
    folder=$(mktemp -d "$BACKUP_DIR/restore.XXXXXX")
    # The step is a process of its own; its trap sees no local variable.
    trap 'rm -rf -- "$folder"' EXIT
    tar --extract --gzip --file "$1" --directory "$folder" --numeric-owner --same-permissions
    # From it etcd gets its data, before it starts for the first time.
    install --directory --mode=0700 -- "$ETCD_DIR"
    install --mode=0644 -- "$folder/etcd.db" "$ETCD_DIR/metalk8s-restore.db"
    mv -- "$folder$BOOTSTRAP_CONFIG" "$folder/last"
    for place in "$MASTER_DIR/pki" "$MINION_KEYS" "$CONFIG_DIR"; do
        mkdir -p -- "$place"
        cp --archive -- "$folder$place/." "$place/"
    done
    # From another file system it would not come as a whole.
    cp --archive -- "$folder/last" "$BOOTSTRAP_CONFIG.new"
    mv -- "$BOOTSTRAP_CONFIG.new" "$BOOTSTRAP_CONFIG"
}

RETRY_HINT="Mend the cause and run $BASE_DIR/$PROGRAM again."
start restore
step 'Verify the medium' verify_medium "$BASE_DIR" "$KEY"
step 'Check the archive' check_backup "$BACKUP_FILE"
step 'Unpack it' unpack_backup "$BACKUP_FILE"
conclude "The backup is unpacked. Now run: $BASE_DIR/bootstrap.sh${KEY:+ --key $KEY}"
