# shellcheck shell=bash
# What the scripts of the medium share; it is read by them and does nothing by itself.
#
# A script sets BASE_DIR (the folder of the medium) and PROGRAM (its name), reads its options, and calls `start` once.
# Then it calls `step NAME FUNCTION ARGUMENT...` for each thing it does.

readonly CONFIG_DIR=/etc/metalk8s
readonly BOOTSTRAP_CONFIG=$CONFIG_DIR/bootstrap.yaml
readonly SOLUTIONS_CONFIG=$CONFIG_DIR/solutions.yaml
# The key that a medium must be signed by; kept here by the first run that was given one.
readonly MEDIUM_KEY=$CONFIG_DIR/medium-key.asc
readonly LOG_DIR=/var/log/metalk8s

LOG_FILE=''
VERBOSE=''
# How to go on after a failed step.
RETRY_HINT=''
# A private folder, removed at the end.
WORK_DIR=''

misuse() {
    printf '%s: %s\nTry: %s --help\n' "$PROGRAM" "$1" "$PROGRAM" >&2
    exit 2
}

# fail MESSAGE...: each on a line; inside a step it ends the step.
fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# value_of OPTION VALUE...: refuses an option without its value.
value_of() {
    if [ $# -lt 2 ] || [ -z "$2" ]; then misuse "$1 needs a value"; fi
}

log() {
    printf '%(%Y-%m-%dT%H:%M:%S%z)T %s\n' -1 "$*" >>"$LOG_FILE"
}

# start NAME: the log, a lock against a second run, and a private folder.
start() {
    [ "$(id -u)" -eq 0 ] || fail "$PROGRAM: only root can do this."
    umask 022
    LOG_FILE=${LOG_FILE:-$LOG_DIR/$1.log}
    mkdir -p -- "$(dirname -- "$LOG_FILE")"
    (: >>"$LOG_FILE") 2>/dev/null || fail "$PROGRAM: $LOG_FILE: cannot be written. Name another file: --log-file FILE"
    exec 9>/run/metalk8s.lock
    flock --nonblock 9 || fail "$PROGRAM: another script of MetalK8s runs on this host. Wait until it has ended."
    WORK_DIR=$(mktemp -d /run/metalk8s.XXXXXX)
    trap 'rm -rf -- "$WORK_DIR"' EXIT
    trap 'interrupted 130' INT
    trap 'interrupted 143' TERM HUP
    log "$PROGRAM $BASE_DIR"
}

interrupted() {
    printf '\n%s\n' "Interrupted. $RETRY_HINT" >&2
    log interrupted
    exit "$1"
}

# step NAME FUNCTION ARGUMENT...: prints the name, how long it took, and on failure what it said and how to go on.
# A line of its output that starts with "= " is its result, which is printed too.
step() {
    local name=$1 began=$SECONDS code=0 output=$WORK_DIR/output
    shift
    log "step: $name"
    printf '> %s ...' "$name"
    # Not as a condition: in one, bash takes no notice of set -e inside the function.
    set +e
    if [ -n "$VERBOSE" ]; then
        printf '\n'
        (set -eo pipefail; "$@") 2>&1 </dev/null 9>&- | tee "$output"
        code=${PIPESTATUS[0]}
    else
        (set -eo pipefail; "$@") >"$output" 2>&1 </dev/null 9>&-
        code=$?
    fi
    set -e
    cat -- "$output" >>"$LOG_FILE"
    log "exit code $code after $((SECONDS - began)) s"
    if [ "$code" -ne 0 ]; then
        printf ' failed after %s s\n' "$((SECONDS - began))"
        explain "$name" "$output" "$code"
        exit 1
    fi
    printf ' done [%s s]\n' "$((SECONDS - began))"
    sed -n 's/^= /  /p' -- "$output"
}

explain() {
    {
        printf '\n%s failed (exit code %s)' "$1" "$3"
        if [ -z "$VERBOSE" ]; then
            printf '. It said:\n\n'
            tail -n 40 -- "$2" | sed 's/^/    /'
        fi
        printf '\nAll of it is in %s\n%s\n' "$LOG_FILE" "$RETRY_HINT"
    } >&2
}

#### Steps that several scripts have

# What a host must be, all that is missing at once.
check_host() {
    local problems=()
    [ -d /run/systemd/system ] || problems+=('systemd does not run on this host')
    [ "$(uname -m)" = x86_64 ] || problems+=("its processor is $(uname -m); the packages are for x86_64")
    os_family >/dev/null || problems+=("its operating system is $(os_name); supported: Debian 12, Enterprise Linux 9")
    [ -r "$BOOTSTRAP_CONFIG" ] || problems+=("$BOOTSTRAP_CONFIG: cannot be read; the guide says what it must hold")
    [ ${#problems[@]} -eq 0 ] || fail "${problems[@]}"
}

os_name() {
    printf '%s %s\n' "$(os_release NAME)" "$(os_release VERSION_ID)"
}

# debian or redhat: the folder in packages/.
os_family() {
    case " $(os_release ID) $(os_release ID_LIKE) $(os_release VERSION_ID)" in
        *' debian '*' 12'*) echo debian ;;
        *' rhel '*' 9'*) echo redhat ;;
        *) return 1 ;;
    esac
}

# os_release KEY: its value in os-release(5). The file is not sourced: its names could be those of ours.
os_release() {
    sed -n "s/^$1=[\"']\{0,1\}\([^\"']*\)[\"']\{0,1\}\$/\1/p" /etc/os-release
}

# verify_medium FOLDER [KEY]: nothing on a medium is used before this.
verify_medium() {
    local key=${2:-$MEDIUM_KEY}
    [ -r "$key" ] || fail "$key: cannot be read." \
        'Get the public key of whoever made the medium from somewhere else than the medium, and name it: --key FILE'
    TMPDIR=$WORK_DIR sh "$BASE_DIR/verify.sh" --key "$key" "$1"
}

# keep_key [KEY]: the next run needs not be told.
keep_key() {
    local key=${1:-$MEDIUM_KEY}
    if ! cmp --silent -- "$key" "$MEDIUM_KEY"; then
        mkdir -p "$CONFIG_DIR"
        cp -- "$key" "$WORK_DIR/key"
        chmod 0644 "$WORK_DIR/key"
        mv -- "$WORK_DIR/key" "$MEDIUM_KEY"
    fi
}

# Salt comes from the medium alone, whatever other sources this host has.
install_salt() {
    case $(os_family) in
        debian) install_salt_with_apt ;;
        redhat) install_salt_with_dnf ;;
    esac
    salt-call --version | sed 's/^/= /'
}

install_salt_with_apt() {
    local folder sources=$WORK_DIR/metalk8s.sources
    mkdir -p "$WORK_DIR/apt/lists/partial" "$WORK_DIR/apt/parts"
    # The user that apt downloads as reads these.
    chmod 0755 "$WORK_DIR" "$WORK_DIR/apt"
    for folder in "$BASE_DIR"/packages/debian/*/; do
        printf 'Types: deb\nURIs: file://%s\nSuites: ./\nSigned-By: %s\n\n' \
            "${folder%/}" "$BASE_DIR/signing-key.asc" >>"$sources"
    done
    local options=(-o "Dir::Etc::SourceList=$sources" -o "Dir::Etc::SourceParts=$WORK_DIR/apt/parts"
        -o "Dir::State::Lists=$WORK_DIR/apt/lists" -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache="
        -o "DPkg::Lock::Timeout=120")
    export DEBIAN_FRONTEND=noninteractive
    # What a run that was killed left half done.
    dpkg --configure --pending
    apt-get "${options[@]}" update --error-on=any
    # Started by the highstate, once it is configured.
    systemctl mask --runtime --quiet salt-minion.service
    apt-get "${options[@]}" install --yes --no-install-recommends salt-minion
    systemctl unmask --runtime --quiet salt-minion.service
}

install_salt_with_dnf() {
    local folder
    mkdir -p "$WORK_DIR/repos"
    for folder in "$BASE_DIR"/packages/redhat/*/; do
        folder=${folder%/}
        printf '[%s]\nname=%s\nbaseurl=file://%s\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://%s\n\n' \
            "${folder##*/}" "${folder##*/}" "$folder" "$BASE_DIR/signing-key.asc" >>"$WORK_DIR/repos/metalk8s.repo"
    done
    systemctl mask --runtime --quiet salt-minion.service
    dnf --assumeyes --setopt="reposdir=$WORK_DIR/repos" --setopt=install_weak_deps=0 install salt-minion
    systemctl unmask --runtime --quiet salt-minion.service
}

# configure_salt MINION [FILE [SOLUTIONS]]: what salt-call --local needs to apply this medium's formulas, without a
# master; FILE is read in place of bootstrap.yaml, SOLUTIONS in place of solutions.yaml.
configure_salt() {
    local environment=metalk8s-$VERSION
    mkdir -p "$WORK_DIR/salt"
    cat >"$WORK_DIR/salt/minion" <<END
file_client: local
id: $1
saltenv: $environment
pillarenv: $environment
file_roots: {$environment: ['$BASE_DIR/salt']}
pillar_roots: {$environment: ['$BASE_DIR/pillar']}
# The medium's modules are used where they are: nothing is left of those of another version.
module_dirs: ['$BASE_DIR/salt']
ext_pillar_first: true
ext_pillar:
  - metalk8s: {bootstrap_config: ${2:-$BOOTSTRAP_CONFIG}}
  - metalk8s_solutions: {solutions_config: ${3:-$SOLUTIONS_CONFIG}}
cachedir: /var/cache/salt/metalk8s-local
log_file: $LOG_DIR/salt-call.log
END
}

# local_salt ARGUMENT...: salt-call with that configuration.
local_salt() {
    PYTHONWARNINGS=ignore salt-call --local --config-dir "$WORK_DIR/salt" --retcode-passthrough --log-level=warning --no-color "$@"
}

# ask FUNCTION ARGUMENT...: prints what a function of Salt answers, or all that it finds wrong.
ask() {
    local answer code=0
    answer=$(local_salt --log-level=quiet --out=txt "$@" 2>&1) || code=$?
    answer=${answer#local: }
    answer=${answer#"Error running '$1': "}
    # Of a copy, the operator knows the original.
    answer=${answer//"$WORK_DIR/bootstrap.yaml"/"$BOOTSTRAP_CONFIG"}
    printf '%s\n' "${answer//"$WORK_DIR/solutions.yaml"/"$SOLUTIONS_CONFIG"}"
    return "$code"
}

# check_configuration [FILE]: all that is wrong with bootstrap.yaml, or FILE, and the archives it names.
check_configuration() {
    local minion
    # The name of the node is in the file that is to be judged.
    configure_salt unknown "$@"
    minion=$(ask metalk8s_bootstrap.minion) || fail "$minion"
    configure_salt "$minion" "$@"
    ask metalk8s_bootstrap.check "$BASE_DIR"
}

# apply FUNCTION ARGUMENT...: of Salt's module `state`.
apply() {
    local code=0 log=$WORK_DIR/states
    local_salt --state-output=mixed_id "state.$1" "${@:2}" >"$log" || code=$?
    if [ "$code" -ne 0 ]; then
        cat -- "$log" >>"$LOG_FILE"
        show_failures "$log"
        return "$code"
    fi
    cat -- "$log"
    summarize "$log"
}

# The last lines of Salt's own summary in one; and, of a run that only tests, what would change.
summarize() {
    awk '
        /^ +ID: / { id = $0; sub(/^ +ID: /, "", id) }
        /^ +Result: None/ { print "= would change: " id }
        /^Succeeded:/ { held = $2; changed = match($0, /[( ]changed=[0-9]+/) ? substr($0, RSTART + 9, RLENGTH - 9) : 0 }
        END { printf "= %d states hold, changed: %d\n", held, changed }' "$1"
}

# What failed by itself, not what was left out because of that.
show_failures() {
    awk '
        /^----------$/ { show(); block = ""; is_inside = 1; next }
        /^  Name: / || /^Summary for / { show(); is_inside = 0 }
        is_inside { block = block $0 "\n" }
        !is_inside && !/^  Name: / { rest = rest $0 "\n" }
        function show() {
            if (block ~ /Result: False/ && block !~ /Comment: One or more requisite failed/) { printf "%s\n", block; count++ }
            block = ""
        }
        END { show(); if (!count) printf "%s", rest }' "$1"
}
