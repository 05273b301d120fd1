"""compare_venv.py: a virtual environment with packages from PyPI, and the running script again inside it."""
import importlib.util
import os
import subprocess
import sys


def default_folder(name):
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, name)


def missing(packages):
    """Those that this interpreter cannot import; names on PyPI and of modules are the same here."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def missing_in(python, packages):
    """Those that another interpreter cannot import."""
    program = "import importlib.util, sys; print(*(n for n in sys.argv[1:] if importlib.util.find_spec(n) is None))"
    done = subprocess.run([python, "-c", program, *packages], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()


def inside(folder):
    return os.path.realpath(sys.prefix) == os.path.realpath(folder)


def make(folder):
    """Leaves alone what is there and runs. Raises OSError with a message."""
    python = os.path.join(folder, "bin", "python")
    if os.path.exists(python):
        return python
    print(f"making the virtual environment {folder}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "venv", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", check=False)
    if done.returncode:
        raise OSError(f"no virtual environment at '{folder}': {(done.stdout.strip() or 'python -m venv failed')}")
    return python


def install(packages, pip):
    """One by one, so that one without a build for this Python leaves the others. pip: the command."""
    for name in packages:
        print(f"installing {name}", file=sys.stderr, flush=True)
        done = subprocess.run([*pip, "install", "--disable-pip-version-check", "-q", name], stdout=subprocess.DEVNULL,
                              check=False)
        if done.returncode:
            print(f"pip could not install {name}", file=sys.stderr, flush=True)


def enter(folder, packages, argv):
    """Installs what is missing and runs argv inside the environment; returns where that is the case already."""
    if inside(folder):
        return
    python = make(folder)
    install(missing_in(python, packages), (python, "-m", "pip"))
    os.execv(python, [python, *argv])
