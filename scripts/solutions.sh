#!/usr/bin/env bash
# Adds Solutions to this bootstrap node, or removes them, and says what is to run of them in the cluster.

set -euo pipefail

readonly PROGRAM=solutions.sh
BASE_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
readonly BASE_DIR
VERSION=$(sed -n 's/^VERSION=//p' "$BASE_DIR/product.txt")
readonly VERSION
# What tells how to reach the cluster, and with which rights.
readonly ADMIN_CONFIG=/etc/kubernetes/admin.conf

# shellcheck source=scripts/common.sh
. "$BASE_DIR/common.sh"

usage() {
    cat <<END
usage: solutions.sh COMMAND [OPTION]...

  import           serve the images of Solutions from this bootstrap node
    -a, --archive FILE       an ISO file, or a folder with the same content; may be given several times
    --key FILE               the public key that the Solutions must be signed by
                             (default: $MEDIUM_KEY)
    --insecure               import them whoever made or changed them
  unimport         do so no longer
    -a, --archive FILE       as it stands in $SOLUTIONS_CONFIG; may be given several times

in the cluster:
  activate         deploy the CRDs of a version
    -n, --name NAME          the Solution
    -V, --version VERSION    (default: latest)
  deactivate       go back on that
    -n, --name NAME          the Solution
  create-env       create an Environment, or one more namespace in it
    -n, --name NAME          the Environment
    -N, --namespace NAME     (default: the name of the Environment)
    -d, --description TEXT   what it is for
  delete-env       destroy everything in an Environment, or in one of its namespaces
    -n, --name NAME          the Environment
    -N, --namespace NAME     only this one
  add-solution     deploy the Operator of a version in an Environment
    -n, --name NAME          the Environment
    -s, --solution NAME      the Solution
    -V, --version VERSION    the version
    -N, --namespace NAME     (default: the name of the Environment)
  delete-solution  delete it from there
    -n, --name NAME          the Environment
    -s, --solution NAME      the Solution
    -N, --namespace NAME     (default: the name of the Environment)

with every command:
  -l, --log-file FILE  write the log there (default: $LOG_DIR/solutions.log)
  -v, --verbose        show the output of every step
  -h, --help           show this text

exit codes:
  0  the Solutions are as they should be
  1  a step failed; mend what it says and run this again
  2  misuse
END
}

# What a command takes: all its options, and those it must be given.
readonly -A TAKEN=(
    [import]='archive key insecure' [unimport]='archive'
    [activate]='name version' [deactivate]='name'
    [create-env]='name namespace description' [delete-env]='name namespace'
    [add-solution]='name solution version namespace' [delete-solution]='name solution namespace'
)
readonly -A NEEDED=(
    [import]='archive' [unimport]='archive'
    [activate]='name' [deactivate]='name'
    [create-env]='name' [delete-env]='name'
    [add-solution]='name solution version' [delete-solution]='name solution'
)

COMMAND='' ARCHIVES=()
declare -A GIVEN=()

# take OPTION VALUE: keep the value of an option, which the command must know.
take() {
    case " ${TAKEN[$COMMAND]} " in
        *" $1 "*) ;;
        *) misuse "$COMMAND takes no --$1" ;;
    esac
    if [ "$1" = archive ]; then
        # The configuration has absolute paths.
        ARCHIVES+=("$(realpath --no-symlinks --canonicalize-missing -- "$2")")
    elif [ -n "${GIVEN[$1]-}" ]; then
        misuse "--$1 is given twice"
    fi
    GIVEN[$1]=$2
}

parse() {
    case ${1-} in
        -h | --help)
            usage
            exit 0
            ;;
        '') misuse 'a command is needed' ;;
    esac
    COMMAND=$1
    [ -n "${TAKEN[$COMMAND]-}" ] || misuse "unknown command $COMMAND"
    shift
    local option
    while [ $# -gt 0 ]; do
        case $1 in
            -a | --archive) option=archive ;;
            --key) option=key ;;
            --insecure) option=insecure ;;
            -n | --name) option=name ;;
            -V | --version) option=version ;;
            -s | --solution) option=solution ;;
            -N | --namespace) option=namespace ;;
            -d | --description) option=description ;;
            *)
                common_option "$@"
                shift "$WORDS"
                continue
                ;;
        esac
        case $option in
            insecure) take insecure yes ;;
            *)
                value_of "$@"
                take "$option" "$2"
                shift
                ;;
        esac
        shift
    done
    for option in ${NEEDED[$COMMAND]}; do
        [ -n "${GIVEN[$option]-}" ] || misuse "$COMMAND needs --$option"
    done
    check_names
}

# Names in Kubernetes are labels of RFC 1123.
check_names() {
    local option
    for option in name namespace solution; do
        [[ ${GIVEN[$option]-a} =~ ^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$ ]] \
            || misuse "--$option ${GIVEN[$option]}: is not of small letters, digits and dashes"
    done
}

# open_archive PATH: the folder of its content. An ISO file is mounted for this alone, with nothing on it allowed to run.
open_archive() {
    local folder=$1
    if [ -f "$1" ]; then
        folder=$(mktemp -d "$WORK_DIR/medium.XXXXXX")
        # Within a substitution bash takes no notice of set -e.
        mount -o ro,loop,nosuid,nodev,noexec -t iso9660 -- "$1" "$folder" || fail "$1: cannot be mounted"
    fi
    [ -d "$folder" ] || fail "$1: there is no such file or folder"
    printf '%s\n' "$folder"
}

close_archives() {
    local folder
    for folder in "$WORK_DIR"/medium.*; do
        ! mountpoint --quiet -- "$folder" || umount -- "$folder"
    done
}

# know_minion: the Solutions are in the pillar of the bootstrap node's minion alone; its name is in bootstrap.yaml.
know_minion() {
    local minion
    configure_salt unknown
    minion=$(ask metalk8s_bootstrap.minion) || fail "$minion"
    printf '%s\n' "$minion" >"$WORK_DIR/minion"
}

# use_configuration [FILE]: of this minion, with FILE in place of solutions.yaml.
use_configuration() {
    configure_salt "$(cat -- "$WORK_DIR/minion")" '' "$@"
}

# judge_archive PATH: whether it may be imported, together with the others.
judge_archive() {
    local folder verdict other bases=()
    # The step is a process of its own, which ends with this function.
    trap close_archives EXIT
    folder=$(open_archive "$1")
    if [ -n "${GIVEN[insecure]-}" ]; then
        printf '= %s\n' 'not verified, as --insecure says'
    else
        verify_medium "$folder" "${GIVEN[key]-}" \
            || fail 'Where you know what it is and want it all the same: --insecure'
    fi
    for other in "${ARCHIVES[@]}"; do
        [ "$other" = "$1" ] && continue
        other=$(open_archive "$other")
        bases+=("$other")
    done
    [ -e "$WORK_DIR/minion" ] || know_minion
    use_configuration
    verdict=$(ask metalk8s_solutions.judge "$folder" "${bases[@]}") || fail "${verdict//"$folder"/"$1"}"
    printf '= %s\n' "$verdict"
}

# The configuration as it will be, in a file of its own until it is what the host has.
change_configuration() {
    local answer
    [ ! -e "$SOLUTIONS_CONFIG" ] || cp -- "$SOLUTIONS_CONFIG" "$CHANGED"
    [ -e "$WORK_DIR/minion" ] || know_minion
    use_configuration "$CHANGED"
    if [ "$COMMAND" = import ]; then
        ask metalk8s_solutions.add "$CHANGED" "${ARCHIVES[@]}"
    else
        [ -e "$CHANGED" ] || fail "$SOLUTIONS_CONFIG: is not there: no Solution was imported"
        answer=$(ask metalk8s_solutions.remove "$CHANGED" "${ARCHIVES[@]}") || fail "$answer"
    fi
    answer=$(ask metalk8s_solutions.check) || fail "$answer"
    printf '= Solutions: %s\n' "$answer"
}

serve() {
    use_configuration "$CHANGED"
    apply sls metalk8s.solutions.available || go_back
    unmount_left "${ARCHIVES[@]}"
}

go_back() {
    printf '\n%s\n\n' "That failed. Back to what $SOLUTIONS_CONFIG says:"
    use_configuration
    if apply sls metalk8s.solutions.available && unmount_left "${ARCHIVES[@]}"; then
        fail '' "The images of before are served again, and $SOLUTIONS_CONFIG is as it was."
    fi
    fail '' "That failed, too. $SOLUTIONS_CONFIG is as it was."
}

keep_configuration() {
    # Replaced as a whole: whoever reads it at this moment reads the one or the other.
    cp -- "$CHANGED" "$SOLUTIONS_CONFIG.new"
    mv -- "$SOLUTIONS_CONFIG.new" "$SOLUTIONS_CONFIG"
}

change_archives() {
    local archive
    [ -r "$BOOTSTRAP_CONFIG" ] \
        || fail "$BOOTSTRAP_CONFIG: cannot be read. Is this the bootstrap node? bootstrap.sh makes one."
    if [ "$COMMAND" = import ]; then
        for archive in "${ARCHIVES[@]}"; do
            step "Verify $archive" judge_archive "$archive"
        done
    fi
    step 'Check the configuration' change_configuration
    step 'Serve the images' serve
    keep_configuration
}

# No formula of this version reaches a cluster: the medium does not bring Kubernetes up yet.
need_cluster() {
    [ -r "$ADMIN_CONFIG" ] || fail "$PROGRAM: $COMMAND needs a cluster, and there is none: $ADMIN_CONFIG is not there."
    fail "$PROGRAM: $COMMAND: MetalK8s $VERSION cannot do this yet; it has import and unimport."
}

RETRY_HINT="Mend the cause and run $PROGRAM again: what is done is not done twice."
parse "$@"
start solutions
CHANGED=$WORK_DIR/solutions.yaml
case $COMMAND in
    import | unimport) change_archives ;;
    *) need_cluster ;;
esac
