#!/usr/bin/env bash
# Adds media to this bootstrap node, or removes them: ISO files or folders of MetalK8s, in any version.

set -euo pipefail

readonly PROGRAM=iso-manager.sh
BASE_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
readonly BASE_DIR
VERSION=$(sed -n 's/^VERSION=//p' "$BASE_DIR/product.txt")
readonly VERSION

# shellcheck source=scripts/common.sh
. "$BASE_DIR/common.sh"

usage() {
    cat <<END
usage: iso-manager.sh [-a FILE]... [-r FILE]... [--key FILE] [-d] [-v] [-l FILE]

Add media to this bootstrap node, or remove them: its registry, its package repositories and its Salt environments are
then those of all media together. Without -a and -r, bring what is served in line with the archives in
$BOOTSTRAP_CONFIG

  -a, --archive FILE   add an ISO file, or a folder with the same content; may be given several times
  -r, --remove FILE    remove one, as it stands in $BOOTSTRAP_CONFIG; may be given several times
  --key FILE           the public key that the added media must be signed by
                       (default: $MEDIUM_KEY)
  -d, --dry-run        say what would change, and change nothing
  -l, --log-file FILE  write the log there (default: $LOG_DIR/iso-manager.log)
  -v, --verbose        show the output of every step
  -h, --help           show this text

exit codes:
  0  what is served is as it should be
  1  a step failed; mend what it says and run this again
  2  misuse
END
}

ADDED=() REMOVED=() KEY='' IS_DRY=''
while [ $# -gt 0 ]; do
    case $1 in
        -a | --archive)
            value_of "$@"
            # The configuration has absolute paths.
            ADDED+=("$(realpath --no-symlinks --canonicalize-missing -- "$2")")
            shift
            ;;
        -r | --remove)
            value_of "$@"
            REMOVED+=("$(realpath --no-symlinks --canonicalize-missing -- "$2")")
            shift
            ;;
        --key)
            value_of "$@"
            KEY=$2
            shift
            ;;
        -d | --dry-run) IS_DRY=yes ;;
        *)
            common_option "$@"
            shift $((WORDS - 1))
            ;;
    esac
    shift
done

# verify_archive PATH: an ISO file is mounted for this alone, with nothing on it allowed to run.
verify_archive() {
    local folder=$1
    if [ -f "$1" ]; then
        folder=$WORK_DIR/medium
        mkdir -p "$folder"
        mount -o ro,loop,nosuid,nodev,noexec -t iso9660 -- "$1" "$folder"
        # The step is a process of its own, which ends with this function.
        trap 'umount -- "$WORK_DIR/medium"' EXIT
    fi
    [ -d "$folder" ] || fail "$1: there is no such file or folder"
    verify_medium "$folder" "$KEY"
}

# The configuration as it will be, in a file of its own until all of it is found good.
change_configuration() {
    local path left
    cp -- "$BOOTSTRAP_CONFIG" "$WORK_DIR/bootstrap.yaml"
    configure_own_salt "$WORK_DIR/bootstrap.yaml"
    # By a run that failed before it unmounted them.
    left=$(ask metalk8s_archives.left "${REMOVED[@]}") || fail "$left"
    for path in "${ADDED[@]}"; do
        ask metalk8s_bootstrap.add_archive "$WORK_DIR/bootstrap.yaml" "$path"
    done
    for path in "${REMOVED[@]}"; do
        [[ $left$'\n' != *" $path"$'\n'* ]] || continue
        ask metalk8s_bootstrap.remove_archive "$WORK_DIR/bootstrap.yaml" "$path"
    done
    check_configuration "$WORK_DIR/bootstrap.yaml"
}

keep_configuration() {
    # Replaced as a whole: whoever reads it at this moment reads the one or the other.
    cp --preserve=mode,ownership -- "$BOOTSTRAP_CONFIG" "$BOOTSTRAP_CONFIG.new"
    cat -- "$WORK_DIR/bootstrap.yaml" >"$BOOTSTRAP_CONFIG.new"
    mv -- "$BOOTSTRAP_CONFIG.new" "$BOOTSTRAP_CONFIG"
}

RETRY_HINT="Mend the cause and run $PROGRAM again: what is done is not done twice."
start iso-manager
[ -r "$BOOTSTRAP_CONFIG" ] || fail "$BOOTSTRAP_CONFIG: cannot be read. Is this the bootstrap node? bootstrap.sh makes one."
for archive in "${ADDED[@]}"; do
    step "Verify $archive" verify_archive "$archive"
done
step 'Check the configuration' change_configuration
if [ -n "$IS_DRY" ]; then
    step 'Ask what would change' apply sls metalk8s.archives.served test=True
    exit 0
fi
keep_configuration
step 'Serve the archives' apply sls metalk8s.archives.served
[ ${#REMOVED[@]} -eq 0 ] || step 'Unmount what was removed' unmount_left "${REMOVED[@]}"
