"""reloadrun runs a command and restarts it when the files it depends on change.

The program is a binary. `find()` says where it lies; `python -m reloadrun` becomes it.
"""

import os
import sysconfig


def find():
    """The path of the binary that was installed with this package.

    A script that pip put elsewhere (`--user`, `--target`, `--prefix`) is found too. FileNotFoundError if there is none.
    """
    above = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    places = [sysconfig.get_path("scripts")]
    user = sysconfig.get_preferred_scheme("user") if hasattr(sysconfig, "get_preferred_scheme") else "posix_user"
    places.append(sysconfig.get_path("scripts", scheme=user))
    # pip --target puts scripts below the packages, pip --prefix beside lib/pythonX.Y/site-packages.
    places.append(os.path.join(above, "bin"))
    places.append(os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(above))), "bin"))
    for place in places:
        path = os.path.join(place, "reloadrun")
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError("the reloadrun binary is in none of " + ", ".join(places))
