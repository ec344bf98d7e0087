#!/bin/sh
# Run the buildchain: make its Python environment from hashed requirements, read .env, start doit.
set -eu

case $0 in
*/*) CDPATH='' cd -- "${0%/*}/" ;;
esac
root=$(pwd)
venv=$root/.venv

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

if [ -f .env ]; then
    set -a
    # shellcheck source=/dev/null
    . ./.env
    set +a
fi
python=${PYTHON_SYS:-python3}

# The code's compiled form is kept, whatever the environment says: without it every run compiles eighty modules.
unset PYTHONDONTWRITEBYTECODE

# An environment is complete when it holds a copy of the requirements it was made from.
if [ ! -x "$venv/bin/python" ]; then
    command -v "$python" >/dev/null 2>&1 ||
        die "doit.sh: $python is not installed" "Install Python 3.11 or newer, or set PYTHON_SYS in .env."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "doit.sh: $python is older than 3.11" "Set PYTHON_SYS in .env to a newer one."
    rm -rf "$venv"
    "$python" -m venv "$venv" || {
        rm -rf "$venv"
        die "doit.sh: $python cannot make a virtual environment" "On Debian and Ubuntu: apt-get install python3-venv"
    }
fi

install() {
    cmp -s "requirements/$1.txt" "$venv/$1.txt" && return
    printf '.  INSTALL        requirements/%s.txt\n' "$1" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        --requirement "requirements/$1.txt" ||
        die "doit.sh: pip could not install requirements/$1.txt" \
            "Check the package index that pip is configured with (pip config list) and the proxy."
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$root" "$root/static-container-registry" >"$site/buildchain.pth"
    printf '#!%s\nimport sys\nfrom buildchain import cli\nsys.exit(cli.main())\n' "$venv/bin/python" >"$venv/bin/buildchain"
    chmod +x "$venv/bin/buildchain"
    cp "requirements/$1.txt" "$venv/$1.txt"
}

install build
for argument in "$@"; do
    case $argument in
    test* | lint* | format* | bench* | documentation*) install development ;;
    esac
done

exec "$venv/bin/python" -m buildchain.tasks "$@"
