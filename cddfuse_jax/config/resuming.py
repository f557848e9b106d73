"""Whether a run may go on from a checkpoint that another config made."""

from cddfuse_jax.config.fields import flat, release
from cddfuse_jax.console import report
from cddfuse_jax.errors import InputError

# What may differ when a run goes on: data may move (its count is checked), weights to start from
# are not read again, and `remat` changes no number.
_FREE = {
    *("data.infrared", "data.visible", "data.names", "data.pair", "data.file", "data.directory"),
    *("held_out.infrared", "held_out.visible", "held_out.names", "init_from", "model.remat"),
}
_SHAPING = (
    *("model.", "data.", "held_out.", "batch_size", "seed", "residual", "ema", "optimizer"),
    *("steps_per", "frozen"),
)


def check_resumable(saved: dict, now: dict) -> None:
    """Refuse to go on with another model or other data than the checkpoint was trained with.

    Precision may change: a checkpoint is float32 with each. What changes the course of the
    training without making it another's, such as the learning rate, is reported.
    """
    # A checkpoint of before a field existed was made as that field's default says.
    defaults = dict(flat(release()))
    before, after = (defaults | dict(flat(meta["config"])) for meta in (saved, now))
    for meta, fields in ((saved, before), (now, after)):
        fields |= {"steps_per_epoch": meta["steps_per_epoch"]}
        for count in ("pairs", "held out"):
            fields[f"data.{count} found"] = meta.get(count, fields.get(count))
    different = {
        field: f"{field} was {before.get(field)!r} and is {after.get(field)!r}"
        for field in sorted(before.keys() | after.keys())
        if field not in _FREE and before.get(field) != after.get(field)
    }
    if shaping := [line for field, line in different.items() if field.startswith(_SHAPING)]:
        raise InputError(
            f"this workdir was trained with another config: {'; '.join(shaping)}; "
            "use the same values or another --workdir"
        )
    if different:
        report(f"note: going on with another config: {'; '.join(different.values())}")
