#!/usr/bin/env bash
# Adds nodes to this bootstrap node, or removes them: their minions join the Salt master that runs here.

set -euo pipefail

readonly PROGRAM=nodes.sh
BASE_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
readonly BASE_DIR
VERSION=$(sed -n 's/^VERSION=//p' "$BASE_DIR/product.txt")
readonly VERSION

# shellcheck source=scripts/common.sh
. "$BASE_DIR/common.sh"

usage() {
    cat <<END
usage: nodes.sh COMMAND [OPTION]...

  invite           write a program that makes another host a node, when root runs it there
    -n, --name NAME          of the node and its minion
    -o, --output FILE        the program (default: join-NAME.sh)
  accept           let a node in whose minion waits, and bring it in line
    -n, --name NAME          of the node
    -f, --fingerprint TEXT   of its key, as the program printed it there
  remove           let it in no longer
    -n, --name NAME          of the node
  list             the nodes that are in, and those that wait

with every command:
  -l, --log-file FILE  write the log there (default: $LOG_DIR/nodes.log)
  -v, --verbose        show the output of every step
  -h, --help           show this text

exit codes:
  0  it is done
  1  a step failed; mend what it says and run this again
  2  misuse
END
}

readonly -A TAKEN=([invite]='NAME OUTPUT' [accept]='NAME FINGERPRINT' [remove]=NAME [list]='')
readonly -A NEEDED=([invite]=NAME [accept]='NAME FINGERPRINT' [remove]=NAME [list]='')
COMMAND='' NAME='' OUTPUT='' FINGERPRINT=''
while [ $# -gt 0 ]; do
    case $1 in
        -n | --name)
            value_of "$@"
            NAME=$2
            shift
            ;;
        -o | --output)
            value_of "$@"
            OUTPUT=$2
            shift
            ;;
        -f | --fingerprint)
            value_of "$@"
            FINGERPRINT=$2
            shift
            ;;
        -*)
            common_option "$@"
            shift $((WORDS - 1))
            ;;
        *)
            [ -z "$COMMAND" ] || misuse "unknown argument $1"
            COMMAND=$1
            ;;
    esac
    shift
done
[ -n "$COMMAND" ] || misuse 'a command is needed'
[ -n "${NEEDED[$COMMAND]+known}" ] || misuse "unknown command $COMMAND"
for option in NAME OUTPUT FINGERPRINT; do
    [[ -z ${!option} || " ${TAKEN[$COMMAND]} " = *" $option "* ]] || misuse "$COMMAND takes no --${option,,}"
done
for option in ${NEEDED[$COMMAND]}; do
    [ -n "${!option}" ] || misuse "$COMMAND needs --${option,,}"
done
# salt-key takes patterns, too.
[[ -z $NAME || $NAME =~ ^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$ ]] || misuse "'$NAME' is not the name of a node"

check_name() {
    [ "$NAME" != "$BOOTSTRAP" ] || fail "$NAME is this bootstrap node itself."
}

# keys STATE: the minions whose keys are in a folder of the master.
keys() {
    find "$MASTER_DIR/pki/$1" -type f -printf '%f\n' 2>/dev/null | sort | paste --serial --delimiters=' '
}

# The program is join.sh with what it must know of this node before its first line.
write_invitation() {
    local address authority signer master
    address=$(ask metalk8s_network.control_plane_ip) || fail "$address"
    [ ! -e "$MASTER_DIR/pki/minions/$NAME" ] || fail "$NAME is in already. To let it join anew: nodes.sh remove --name $NAME"
    # Not where they are written: in the arguments of a program, bash takes no notice of a failure.
    authority=$(cat -- "$CONFIG_DIR/pki/repositories/ca.crt")
    signer=$(cat -- "$BASE_DIR/signing-key.asc")
    master=$(cat -- "$MASTER_DIR/pki/master.pub")
    part=$(mktemp -- "$1.XXXXXX")
    # The step is a process of its own; its trap sees no local variable.
    trap 'rm -f -- "$part"' EXIT
    {
        printf '#!/usr/bin/env bash\n# Made by MetalK8s %s on %s, for the host %s.\n\n' "$VERSION" "$BOOTSTRAP" "$NAME"
        printf 'readonly %s=%q\n' VERSION "$VERSION" NAME "$NAME" MASTER "$address" \
            PACKAGES_URL "https://$address:8080/metalk8s-$VERSION" \
            AUTHORITY "$authority" SIGNING_KEY "$signer" MASTER_KEY "$master" \
            REPOSITORIES "$(cd "$BASE_DIR/packages" && printf '%s\n' */*/)"
        tail --lines=+2 -- "$BASE_DIR/common.sh"
        tail --lines=+2 -- "$BASE_DIR/join.sh"
    } >"$part"
    chmod 0755 "$part"
    mv -- "$part" "$1"
    printf '= %s\n' "$1"
}

accept_key() {
    local found waiting=$MASTER_DIR/pki/minions_pre/$NAME
    [ ! -e "$MASTER_DIR/pki/minions/$NAME" ] || return 0
    [ -e "$waiting" ] ||
        fail "No minion of the name $NAME waits. Waiting: $(keys minions_pre)" "First run the program of nodes.sh invite there."
    found=$(fingerprint "$waiting")
    [ "$found" = "$FINGERPRINT" ] || fail "The minion that waits as $NAME has a key with another fingerprint:" "$found" \
        "If you read it wrong, try again. Else another host pretends to be $NAME: nodes.sh remove --name $NAME"
    on_master salt-key --no-color --yes --accept "$NAME"
}

synchronize_minion() {
    await_minion "$NAME"
    on_master salt --no-color "$NAME" saltutil.sync_all
    on_master salt --no-color "$NAME" mine.update
}

apply_highstate() {
    local code=0 log=$WORK_DIR/states
    on_master salt --no-color --timeout=300 --state-output=mixed_id "$NAME" state.highstate >"$log" || code=$?
    report_states "$log" "$code"
}

remove_key() {
    [ -n "$(find "$MASTER_DIR/pki" -type f -path "*/minions*/$NAME")" ] || fail "No minion has the name $NAME."
    on_master salt-key --no-color --yes --delete "$NAME"
}

list_keys() {
    printf '= in: %s\n= waiting: %s\n' "$(keys minions)" "$(keys minions_pre)"
}

RETRY_HINT="Mend the cause and run $BASE_DIR/$PROGRAM again."
start nodes
[ -r "$BOOTSTRAP_CONFIG" ] || fail "$BOOTSTRAP_CONFIG: cannot be read. Is this the bootstrap node? bootstrap.sh makes one."
configure_salt unknown
BOOTSTRAP=$(ask metalk8s_bootstrap.minion) || fail "$BOOTSTRAP"
configure_salt "$BOOTSTRAP"
case $COMMAND in
    invite)
        check_name
        OUTPUT=$(realpath -- "${OUTPUT:-join-$NAME.sh}")
        step 'Write the program' write_invitation "$OUTPUT"
        printf 'Carry it to the host %s, run it there as root, and go on as it says.\n' "$NAME"
        ;;
    accept)
        check_name
        step 'Accept the key of its minion' accept_key
        step 'Synchronize its minion' synchronize_minion
        step 'Apply the highstate there' apply_highstate
        step 'Wait for its minion' await_minion "$NAME"
        ;;
    remove)
        check_name
        step 'Remove the key of its minion' remove_key
        ;;
    list) step 'List the minions' list_keys ;;
esac
