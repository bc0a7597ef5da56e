"""`python -m reloadrun`: this process becomes reloadrun, so that signals and the terminal reach it directly."""

import os
import sys

from . import find

if __name__ == "__main__":
    program = find()
    os.execv(program, [program, *sys.argv[1:]])
