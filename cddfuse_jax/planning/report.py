"""A plan as a table for people and as JSON for programs."""

from typing import Any

from cddfuse_jax.planning.prediction import largest_batch, remarks, scaling
from cddfuse_jax.planning.programs import Program
from cddfuse_jax.runtime.chips import Chip

GIB = 2**30


def as_json(
    program: Program, chip: Chip, topology: str, precision: str, chips: list[int], what: str
) -> dict[str, Any]:
    """Return all that is known of a program on a chip, in bytes, flops and seconds."""
    totals = program.totals
    return {
        "what": what,
        "topology": topology,
        "precision": precision,
        "pairs_per_chip": program.pairs,
        "compiling_seconds": round(program.seconds, 1),
        "compiling_cpu_seconds": round(program.cpu_seconds, 1),
        "chip": chip._asdict(),
        "flops": {"needed": program.needed_flops, "in_products": program.flops},
        "memory": {**program.memory, "all": sum(program.memory.values())},
        "largest_batch_estimated": largest_batch(program, chip),
        "bytes": totals.bytes,
        "bytes_of_padding": totals.padding,
        "bytes_of_relayout": totals.relayout,
        "compilers_cycles": totals.cycles,
        "collectives": [{"kind": kind, "bytes": size} for kind, size in totals.collectives],
        "xla_cost_analysis_loops_once": program.xla,
        "scaling": scaling(program, chip, chips),
        "remarks": remarks(program, precision),
    }


def as_text(plan: dict[str, Any]) -> str:
    """Return the table of `as_json`'s record."""
    chip = plan["chip"]
    lines = [
        f"{plan['what']}, {plan['precision']}, {plan['pairs_per_chip']} pairs a chip, for "
        f"{plan['topology']} (compiled in {plan['compiling_seconds']:.0f} s, "
        f"{plan['compiling_cpu_seconds']:.0f} s of CPU)",
    ]
    memory, flops = plan["memory"], plan["flops"]
    sent, most = plan["collectives"], plan["largest_batch_estimated"]
    lines += [
        f"fits: {memory['all'] / GIB:.2f} of {chip['memory'] / GIB:.2f} GiB (arguments "
        f"{memory['arguments'] / GIB:.2f}, temporary {memory['temporary'] / GIB:.2f}, program "
        f"{memory['code'] / GIB:.2f})" + (f"; about {most} pairs a chip would" if most else ""),
        f"arithmetic: {flops['needed'] / 1e12:.2f} TFLOP needed, {flops['in_products'] / 1e12:.2f} "
        "in products with what is computed again",
        f"HBM: {plan['bytes'] / 1e9:.1f} GB moved",
        f"sent: {sum(each['bytes'] for each in sent) / 1e6:.2f} MB in {len(sent)} collectives"
        + "".join(f", {each['kind']} of {each['bytes']} bytes" for each in sent)
        if sent
        else "sent: nothing",
        "",
        "predicted, for one run of the program; compute, HBM and interconnect by published "
        "figures, instructions by the compiler's estimate:",
        f"{'chips':>6} {'compute':>9} {'HBM':>9} {'instr.':>9} {'intercon.':>9} {'step':>9} "
        f"{'pairs/s':>9} {'efficiency':>10} {'MFU':>6}  bound by",
    ]
    for row in plan["scaling"]:
        parts = ("compute", "memory", "compiler", "interconnect", "step")
        lines.append(
            f"{row['chips']:>6} "
            + " ".join(f"{row[part] * 1e3:>6.1f} ms" for part in parts)
            + f" {row['pairs_per_second']:>9.1f} {row['efficiency']:>10.1%}"
            + f" {row['model_flops_utilisation']:>6.1%}  {row['bound_by']}"
        )
    lines += ["", *(f"note: {remark}" for remark in plan["remarks"])]
    return "\n".join(lines).rstrip()
