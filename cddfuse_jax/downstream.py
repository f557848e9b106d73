"""Ask whether fusion helps a machine to see.

    python -m cddfuse_jax.downstream segment --vi DIR --ir DIR --labels DIR --train FILE ...

Each COMMAND has its own --help.
"""

from cddfuse_jax.runtime.program import start
from cddfuse_jax.tasks.options import parser


def main() -> int:
    """Do what the command's first argument says."""
    given = parser(__doc__).parse_args()

    from cddfuse_jax.tasks import commands

    return getattr(commands, given.command)(given)


if __name__ == "__main__":
    start(main)
