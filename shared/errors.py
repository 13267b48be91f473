"""Errors that speak to the person who can mend them, and the exit codes they become."""

import io
import os
import sys
from collections.abc import Callable, Mapping
from types import TracebackType

from .text import without_password


class UsageError(ValueError):
    """The request cannot be meant: an unknown name, a wrong type, settings that exclude each other (exit code 2)."""


class RunError(RuntimeError):
    """The request is sound but could not be carried out, or only in part (exit code 1)."""


def require(settings: object, rules: Mapping[str, tuple[str, bool]], prefix: str = "") -> None:
    """Raises `UsageError` for the first setting whose rule does not hold. rules: name -> (rule, whether it holds)."""
    for name, (rule, holds) in rules.items():
        if not holds:
            raise UsageError(f"{prefix}{name} is {getattr(settings, name)}: it must be {rule}")


def require_at_least(least: int, settings: object, *names: str, prefix: str = "") -> None:
    """Raises `UsageError` for the first of these settings that is less. One that is None was not given."""
    holds = {name: getattr(settings, name) is None or getattr(settings, name) >= least for name in names}
    require(settings, {name: (f"at least {least}", each) for name, each in holds.items()}, prefix)


class StoppedError(RunError):
    """A signal asked the command to stop, and what it did is saved (exit code 128 + the signal, as a shell has it)."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


INTERRUPTED = "interrupted; run the same command again to go on"


def quiet_interrupt() -> None:
    """From here on, Ctrl-C that nobody handles ends the program with one line instead of a traceback.

    For the seconds in which a command is being imported; afterwards `run_command` does the same.
    """
    usual = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print(INTERRUPTED, file=sys.stderr)
        else:
            usual(kind, error, trace)

    sys.excepthook = hook


def run_command(main: Callable[[list[str]], int | None], argv: list[str] | None = None) -> int:
    """Run a command line tool and turn its errors into one line on stderr and an exit code.

    Returns 0 on success, 1 on `RunError` or an operating system error, 2 on `UsageError`, 130 on Ctrl-C and 143 on
    SIGTERM where that was waited for.
    Anything else is a fault of ours and keeps its traceback.
    """
    from .user_folders import lead_libraries_to_caches  # which raises our errors

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # any name can be printed, also in a C locale
    try:
        lead_libraries_to_caches()
        return main(sys.argv[1:] if argv is None else argv) or 0
    except UsageError as error:
        return _report(error, 2)
    except StoppedError as stopped:
        print(stopped, file=sys.stderr)
        return 128 + stopped.signal
    except RunError as error:
        return _report(error, 1)
    except BrokenPipeError:
        # The reader of our output has gone (`... | head`): nothing is left to say, not even at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _report(error, 1)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130


def _report(error: Exception, code: int) -> int:
    print(f"error: {without_password(' '.join(str(error).split()))}", file=sys.stderr)
    return code
