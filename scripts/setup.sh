# Sourced by the other scripts: makes .venv in the checkout with everything installed, once per change of the pins.
# PYTHON chooses the interpreter (default: python3).

cd "$(dirname "${BASH_SOURCE[0]}")/.."
interpreter="${PYTHON:-python3}"
if ! "$interpreter" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $interpreter is $("$interpreter" --version 2>&1): Python 3.11 or newer is needed; set PYTHON" >&2
    exit 2
fi
wanted="$(cat pyproject.toml scripts/constraints.txt | cksum)"
if [ "$(cat .venv/.installed 2>/dev/null || true)" != "$wanted" ]; then
    echo "installing into .venv (several GB: PyTorch)"
    "$interpreter" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint scripts/constraints.txt --editable '.[dev]'
    echo "$wanted" > .venv/.installed
fi
PATH="$PWD/.venv/bin:$PATH"
