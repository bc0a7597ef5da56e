"""`python -m reloadrun`: this process becomes reloadrun, so that signals and the terminal reach it directly."""

import os
import signal
import sys

from . import find

if __name__ == "__main__":
    program = find()
    # Python ignores these two, and a program inherits what is ignored: the command would, too.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.execv(program, [program, *sys.argv[1:]])
