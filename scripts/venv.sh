# Sourced by the other scripts: makes .venv with the package in it, and makes it anew when pyproject.toml changes.
# usage: make_venv [extras]      e.g.  make_venv '[dev]'

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "mailsandbox needs Python 3.11 or newer with its venv module (Debian: apt install python3-venv)." >&2
    return 1
}

make_venv() {
    install_into_venv "$@" || return 1
    # An editable install is not compiled, and with PYTHONDONTWRITEBYTECODE never would be: 200 ms of each start.
    .venv/bin/python -m compileall -q mailsandbox || true  # a read-only checkout works all the same
}

install_into_venv() {
    local extras="${1:-}" python stamp=.venv/.made
    local wanted
    wanted="$extras $(sha256sum pyproject.toml)"
    if [ -x .venv/bin/python ] && [ -f "$stamp" ]; then
        # The development environment contains the plain one.
        if [ "$(cat "$stamp")" = "$wanted" ] || [ "$(cat "$stamp")" = "[dev] $(sha256sum pyproject.toml)" ]; then
            return
        fi
    fi
    python=$(find_python) || return 1
    echo "Making .venv with $("$python" --version) ..." >&2
    [ -x .venv/bin/python ] || "$python" -m venv .venv || return 1
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".$extras" || return 1
    printf '%s' "$wanted" > "$stamp"
}
