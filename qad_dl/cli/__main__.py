"""`python -m qad_dl.cli`, for where the script `qad` is not on the PATH."""

from qad_dl.cli import command

command()
