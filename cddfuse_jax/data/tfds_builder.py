"""A folder laid out as MSRS -> a TFDS dataset of array_record files, without TensorFlow.

    python -m cddfuse_jax.data.tfds_builder --data MSRS --out DIR

MSRS holds train/{vi,ir} and test/{vi,ir}. Then train with --config.data.source=tfds
--config.data.directory=DIR/msrs/1.0.0.
"""

from pathlib import Path

from cddfuse_jax.console import ArgumentParser, report, run


def main() -> None:
    """Read the arguments, build, and say what was written."""
    parser = ArgumentParser(
        prog="python -m cddfuse_jax.data.tfds_builder",
        description="Write a folder of pairs as a TFDS dataset (array_record, no TensorFlow).",
    )
    parser.add_argument("--data", required=True, type=Path, help="folder with train and test")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="for DIR/msrs/1.0.0")
    given = parser.parse_args()

    from cddfuse_jax.data.msrs import build, split_pairs

    found = split_pairs(given.data)
    for pairs in found.values():
        for note in pairs.notes:
            report(f"note: {note}")
        for line in pairs.alone:
            report(f"left out: {line}")
    directory = build(given.data, given.out)
    counts = ", ".join(f"{len(pairs.pairs)} {split}" for split, pairs in found.items())
    print(f"{directory}: {counts} pairs; train with --config.data.source=tfds")


if __name__ == "__main__":
    run(main)
