#!/bin/sh
# Judges a MetalK8s medium that is mounted or copied: its signature, every digest, and that nothing is missing, added,
# or of another mode or link. Needs gpgv or gpg, sha256sum or openssl, and the usual tools of any Linux; runs nothing
# from the medium. `buildchain verify` gives the same verdicts, and also judges indexes, images and the ISO itself.
#
# This copy came with the medium: whoever can change the medium can change it. Keep one that you trust, and give it
# the folder.

set -u
unset CDPATH
LC_ALL=C
PATH=${PATH:-/usr/sbin:/usr/bin:/sbin:/bin}
export LC_ALL PATH
umask 077

# The published development key (packages/keys/development): everybody can sign with it.
development=833C8D64E36969C987D86A412743477F83FEF8E7

usage() {
    cat <<'END'
usage: verify.sh [--key FILE | --fingerprint FPR] [-q] [DIR]

Judge the medium in DIR (default: the folder of this program).

  --key FILE         trust the public keys in FILE
  --fingerprint FPR  trust the key on the medium, if this is its full fingerprint (40 hex digits)
  -q                 print nothing about a good medium

The key on the medium is never trusted by itself: get FILE or FPR from somewhere else.

verdicts: good, development key, unknown key, unsigned, corrupt
exit codes:
  0  intact, and signed by the key you named
  1  anything else that was found
  2  misuse, or a tool is missing
END
}

misuse() {
    printf 'verify.sh: %s\n' "$1" >&2
    exit 2
}

has() {
    command -v "$1" >/dev/null 2>&1
}

key='' fingerprint='' is_quiet='' dir=''
misfit='the signature does not fit the text'
while [ $# -gt 0 ]; do
    case $1 in
        --key | --fingerprint)
            [ $# -gt 1 ] || misuse "$1 needs a value; see --help"
            [ -z "$key$fingerprint" ] || misuse "give one of --key and --fingerprint, once"
            [ -n "$2" ] || misuse "$1 needs a value; see --help"
            if [ "$1" = --key ]; then key=$2; else fingerprint=$2; fi
            shift
            ;;
        -q) is_quiet=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        --)
            shift
            if [ $# -gt 1 ] || { [ $# -eq 1 ] && [ -n "$dir" ]; }; then misuse 'more than one folder; see --help'; fi
            dir=${1:-$dir}
            break
            ;;
        -*) misuse "unknown option $1; see --help" ;;
        *)
            [ -z "$dir" ] || misuse "more than one folder; see --help"
            dir=$1
            ;;
    esac
    shift
done

case $key in '' | /*) ;; *) key=$PWD/$key ;; esac
if [ -n "$key" ] && { [ ! -f "$key" ] || [ ! -r "$key" ]; }; then misuse "$key: cannot be read"; fi
if [ -n "$fingerprint" ]; then
    fingerprint=$(printf %s "$fingerprint" | tr a-f A-F)
    case $fingerprint in *[!0-9A-F]*) misuse "$fingerprint is not a fingerprint of 40 hex digits" ;; esac
    [ ${#fingerprint} -eq 40 ] || misuse "$fingerprint is not a fingerprint of 40 hex digits"
fi
if has gpg; then gpg=gpg; elif has gpgv; then gpg=gpgv; else misuse 'neither gpg nor gpgv is installed'; fi
if has openssl; then
    digest='openssl dgst -sha256 -r' # four times as fast as the sha256sum of many systems
elif has sha256sum; then
    digest=sha256sum
else
    misuse 'neither openssl nor sha256sum is installed'
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/verify.XXXXXX") || misuse 'cannot make a temporary folder; set TMPDIR'
case $work in /*) ;; *) work=$PWD/$work ;; esac
trap 'rm -rf "$work"' EXIT
trap 'exit 2' HUP INT TERM
mkdir "$work/home" || exit 2
: >"$work/faults"

[ -n "$dir" ] || dir=$(dirname -- "$0")
case $dir in -*) dir=./$dir ;; esac
cd "$dir" 2>/dev/null || misuse "$dir: is not a folder that can be read"

fault() {
    printf '%s: %s\n' "$1" "$2" >>"$work/faults"
}

# Copies a regular file of the medium; what is judged and what is used are then the same bytes.
take() {
    [ -f "$1" ] && [ ! -L "$1" ] && cat "./$1" >"$work/$1" 2>/dev/null
}

#### The signature

# Turns a file of public keys, armoured or not, into a keyring.
make_keyring() {
    : >"$2"
    blocks=$(grep -c '^-----BEGIN PGP PUBLIC KEY BLOCK-----' "$1")
    if [ "$blocks" -eq 0 ]; then
        cat "$1" >"$2"
        return
    fi
    if has base64; then decode='base64 -d'; else decode='openssl base64 -d'; fi
    number=1
    while [ "$number" -le "$blocks" ]; do
        awk -v wanted="$number" '
            { sub(/[ \t\r]+$/, "") }
            /^-----BEGIN PGP PUBLIC KEY BLOCK-----$/ { number++; is_body = 0; next }
            /^-----END/ || /^=/ { is_body = 0; next }
            $0 == "" { is_body = number == wanted; next }
            is_body { print }
        ' "$1" | $decode >>"$2" 2>/dev/null
        number=$((number + 1))
    done
}

# Whether a keyring starts with a public key (RFC 4880, section 4.2: packet tag 6).
has_key() {
    case $(od -An -tx1 -N1 "$1" | tr -d ' ') in 98 | 99 | 9a | c6) return 0 ;; esac
    return 1
}

# Writes gpg's status lines about the signature to $work/status.
check_signature() {
    if [ "$gpg" = gpgv ]; then
        gpgv --homedir "$work/home" --keyring "$1" --status-fd 3 \
            "$work/SHA256SUM.asc" "$work/SHA256SUM" 3>"$work/status" >/dev/null 2>&1
    else
        gpg --homedir "$work/home" --no-options --batch --no-tty --no-autostart --no-auto-key-retrieve \
            --no-default-keyring --keyring "$1" --trust-model always --no-auto-check-trustdb --status-fd 3 \
            --verify "$work/SHA256SUM.asc" "$work/SHA256SUM" 3>"$work/status" >/dev/null 2>&1
    fi
}

# Reads status lines (GnuPG, doc/DETAILS); prints verdict|signer|trusted|reason, or nothing if no key was at hand.
# With `given` the keys are the user's own, else they are the medium's.
read_status() {
    awk -v given="$1" -v named="$fingerprint" -v development="$development" -v misfit="$misfit" '
        function add(state, signer) { count++; states[count] = state; signers[count] = signer }
        { sub(/\r$/, "") }
        $1 != "[GNUPG:]" { next }
        $2 == "NEWSIG" { state = "" }
        $2 == "GOODSIG" { state = "valid" }
        $2 == "EXPSIG" || $2 == "EXPKEYSIG" { state = "is of an expired key, or has expired itself" }
        $2 == "REVKEYSIG" { state = "is of a revoked key" }
        $2 == "BADSIG" { add("bad", "") }
        $2 == "ERRSIG" { add("none", "") }
        $2 == "VALIDSIG" && state != "" && NF > 11 {
            add($10 == 1 || $10 == 2 || $10 == 3 ? "is over a weak digest" : state, $12)
        }
        END {
            for (i = 1; i <= count; i++) {
                if (states[i] != "none") is_known = 1
                if (states[i] == "bad") is_bad = 1
            }
            if (given && !is_known) exit
            if (!count) { print "corrupt|||holds no signature that can be read"; exit }
            if (is_bad) { print "corrupt|||" misfit; exit }
            for (i = 1; i <= count; i++)
                if (states[i] == "valid" && (given || signers[i] == named)) {
                    print (signers[i] == development ? "development key" : "good") "|" signers[i] "|yes|"
                    exit
                }
            for (i = 1; i <= count; i++)
                if (states[i] == "valid" && signers[i] == development) {
                    print "development key|" signers[i] "||is signed by a published development key"
                    exit
                }
            if (states[1] == "valid") reason = "is signed by a key that you did not name"
            else if (states[1] == "none") reason = "the signature is of a key that is not at hand"
            else reason = "the signature " states[1]
            print "unknown key|" signers[1] "||" reason
        }
    ' "$work/status"
}

judge_signature() {
    if [ ! -e SHA256SUM.asc ] && [ ! -L SHA256SUM.asc ]; then
        echo 'unsigned|||is missing: nobody vouches for this medium'
        return
    fi
    take SHA256SUM.asc || {
        echo 'corrupt|||cannot be read'
        return
    }
    if [ -n "$key" ]; then
        check_signature "$work/given.gpg"
        judgement=$(read_status yes)
        [ -z "$judgement" ] || {
            printf '%s\n' "$judgement"
            return
        }
    fi
    : >"$work/offered.gpg"
    take signing-key.asc && make_keyring "$work/signing-key.asc" "$work/offered.gpg"
    check_signature "$work/offered.gpg"
    read_status ''
}

if [ -n "$key" ]; then
    make_keyring "$key" "$work/given.gpg"
    has_key "$work/given.gpg" || misuse "$key: has no public key"
fi
if take SHA256SUM; then
    judgement=$(judge_signature)
    verdict=${judgement%%|*} rest=${judgement#*|}
    signer=${rest%%|*} rest=${rest#*|}
    is_trusted=${rest%%|*}
    [ -z "${rest#*|}" ] || printf 'SHA256SUM.asc: %s\n' "${rest#*|}" >"$work/signature"
    [ "${rest#*|}" != "$misfit" ] ||
        echo 'SHA256SUM: is not what its signature signs, or that was changed' >>"$work/signature"
else
    : >"$work/SHA256SUM"
    fault SHA256SUM 'is missing'
    verdict=corrupt signer='' is_trusted=''
fi

#### The contents

# Names that would break a list of lines; no good medium has them.
odd='*[[:cntrl:]\\]*'
if [ -n "$(find . -name "$odd" -print | head -n 1)" ]; then
    fault . 'has names with control characters or backslashes'
fi

# Not -quoted: $digest is a program and its options.
# shellcheck disable=SC2086
find . -name "$odd" -prune -o -type f -exec $digest {} + >"$work/digests" 2>/dev/null
{
    find . -name "$odd" -prune -o -type d -exec stat -c 'dir %a %s %n' {} +
    find . -name "$odd" -prune -o -type f -exec stat -c 'file %a %s %n' {} +
    find . -name "$odd" -prune -o -type l -exec stat -c 'link %a %s %n' {} +
    find . -name "$odd" -prune -o ! -type d ! -type f ! -type l -exec stat -c 'other %a %s %n' {} +
} >"$work/entries" 2>"$work/errors"
[ ! -s "$work/errors" ] || fault . 'cannot be read as a whole'
# shellcheck disable=SC2016
find . -name "$odd" -prune -o -type l -exec sh -c '
    for link; do printf "%s\t%s\n" "$link" "$(readlink -n "$link" | tr "\n\t" "??")"; done' sh {} + >"$work/links"
take CONTENTS.mtree || : >"$work/CONTENTS.mtree"

awk -v "done=$work/done" '
    function fault(path, what) { print path ": " what }
    function is_plain(path) { return ("/" path "/") !~ /\/(\.|\.\.)?\// }
    function path_of(line, skipped) { line = substr(line, skipped); return line == "" ? "." : line }
    # Octal numbers of vis(3); "" if there is any other backslash.
    function decode(text,   result, code) {
        while (match(text, /\\[0-3][0-7][0-7]/)) {
            result = result substr(text, 1, RSTART - 1)
            code = substr(text, RSTART + 1, 1) * 64 + substr(text, RSTART + 2, 1) * 8 + substr(text, RSTART + 3, 1)
            if (code == 0 || result ~ /\\/) return ""
            # A decoded backslash is no escape: no name on a medium may have one.
            if (code == 92) return ""
            result = result sprintf("%c", code)
            text = substr(text, RSTART + 4)
        }
        return (result text) ~ /\\/ ? "" : result text
    }
    # 1: SHA256SUM
    FILENAME ~ /\/SHA256SUM$/ {
        hex = substr($0, 1, 64); path = substr($0, 67)
        if (length(hex) < 64 || hex ~ /[^0-9a-f]/ || substr($0, 65, 2) != "  " || path ~ /\\/ || !is_plain(path))
            fault("SHA256SUM", "line " FNR " is not \"<digest>  <path>\"")
        else if (path in sums) fault(path, "is listed twice in SHA256SUM")
        else sums[path] = hex
        next
    }
    # 2: CONTENTS.mtree
    FILENAME ~ /\/CONTENTS.mtree$/ {
        has_listing = 1
        if (FNR == 1) {
            if ($0 != "#mtree") fault("CONTENTS.mtree", "does not start with #mtree")
            next
        }
        count = split($0, words, " ")
        path = decode(words[1]); sub(/^\.\//, "", path)
        type = words[2]; sub(/^type=/, "", type)
        form = $0; sub(/^[^ ]+ /, "", form)
        is_right = form ~ /^type=dir mode=0[0-7][0-7][0-7]$/ || form ~ /^type=link link=[^ ]+$/ ||
            form ~ /^type=file mode=0[0-7][0-7][0-7]( size=[0-9]+)?$/
        if (!is_right || words[1] !~ /^\.(\/|$)/ || path == "" || (path != "." && !is_plain(path))) {
            fault("CONTENTS.mtree", "line " FNR " is not \"./path type=... ...\"")
            next
        }
        if (path in types) fault(path, "is listed twice in CONTENTS.mtree")
        types[path] = type
        for (i = 3; i <= count; i++) {
            value = words[i]; sub(/^[a-z]+=/, "", value)
            if (words[i] ~ /^mode=/) modes[path] = value
            if (words[i] ~ /^size=/) sizes[path] = value
            if (words[i] ~ /^link=/) targets[path] = decode(value)
        }
        next
    }
    # 3: digests of what is there, as "<hex> *./path" or "<hex>  ./path"
    FILENAME ~ /\/digests$/ { found_sums[substr($0, 69)] = substr($0, 1, 64); next }
    # 4: kinds, modes and sizes of what is there, as "<kind> <mode> <size> ./path"
    FILENAME ~ /\/entries$/ {
        path = $0; sub(/^[a-z]+ [0-7]+ [0-9]+ \.\/?/, "", path)
        if (path == "") path = "."
        found[path] = $1; found_modes[path] = substr("000" $2, length($2)); found_sizes[path] = $3
        next
    }
    # 5: links, as "./path<tab>target"
    { split($0, words, "\t"); found_targets[substr(words[1], 3)] = words[2] }
    END {
        print "" >done
        self["SHA256SUM"]; self["SHA256SUM.asc"]
        for (path in sums) {
            if (!(path in found)) fault(path, "is missing")
            else if (found[path] != "file") fault(path, "is not a regular file")
            else if (!(path in found_sums)) fault(path, "cannot be read")
            else if (found_sums[path] != sums[path]) fault(path, "its content is not that of SHA256SUM")
        }
        for (path in found)
            if (found[path] == "file" && !(path in sums) && !(path in self)) fault(path, "is not listed in SHA256SUM")
        if (!has_listing) {
            if (!("CONTENTS.mtree" in sums)) fault("CONTENTS.mtree", "is missing")
            exit
        }
        for (path in types) {
            if (!(path in found)) {
                if (!(path in sums) && !(path in self)) fault(path, "is missing")
                continue
            }
            if (found[path] != types[path]) {
                fault(path, "is a " found[path] ", listed as a " types[path])
                continue
            }
            if (path in modes && found_modes[path] != modes[path])
                fault(path, "its mode is " found_modes[path] ", listed as " modes[path])
            if (path in sizes && found_sizes[path] "" != sizes[path] "")
                fault(path, "has " found_sizes[path] " bytes, listed with " sizes[path])
            if (path in targets && found_targets[path] "" != targets[path] "")
                fault(path, "leads to " found_targets[path] ", listed as " targets[path])
        }
        for (path in found)
            if (!(path in types) && (path in sums || path in self || found[path] != "file"))
                fault(path, "is not listed in CONTENTS.mtree")
        for (path in sums)
            if (!(path in types) && !(path in found))
                fault(path, "is listed in SHA256SUM but not in CONTENTS.mtree")
    }
' "$work/SHA256SUM" "$work/CONTENTS.mtree" "$work/digests" "$work/entries" "$work/links" | sort >>"$work/faults"
[ -f "$work/done" ] || fault . 'could not be judged: awk failed'

#### The verdict

if [ -s "$work/faults" ]; then verdict=corrupt; fi
case $verdict in
    good) meaning="signed by the trusted key $signer" ;;
    'development key') meaning="intact, but signed by the published development key $signer: anybody can do that" ;;
    'unknown key') meaning="intact, but nothing that is trusted vouches for it (signed by ${signer:-a key that is not at hand})" ;;
    unsigned) meaning='intact, but nobody vouches for it' ;;
    *) verdict=corrupt meaning='do not use this medium' ;;
esac
code=1
case $verdict in good | 'development key') [ -z "$is_trusted" ] || code=0 ;; esac
if [ -z "$is_quiet" ] || [ "$code" -ne 0 ]; then
    # No control characters of a hostile name reach the terminal.
    {
        [ ! -f "$work/signature" ] || cat "$work/signature"
        cat "$work/faults"
        printf '%s: %s: %s\n' "$dir" "$verdict" "$meaning"
    } | tr '\001-\011\013-\037\177' '?'
fi
exit "$code"
