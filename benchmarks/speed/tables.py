"""The tables of results/speed.json and results/perturbers.json, as Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def brief(content: Mapping[str, Sequence[Row]]) -> str:
    """Return what the README shows: ratios, a row a host, sites and perturber."""
    header = ["host", "sites", "perturber", "device", "plain loop", "fine-tuning", "without replay"]
    lines = heading([*header, "step / limit", "recording, in plain epochs"])
    for row in _sorted(content["hosts"]):
        replay = row["replay_s"]
        ratios = [row[key] / replay for key in ("plain_loop_s", "finetune_s", "fit_s")]
        cells = [row["host"], row["sites"], row["perturber"], row["device"]]
        cells += [f"{ratio:.3g}x" for ratio in ratios]
        cells += [f"{replay / row['decoder_only_s']:.2f}"]
        lines.append(line([*cells, f"{row['record_s'] / row['plain_loop_s']:.2f}"]))
    return "\n".join(lines) + "\n"


def whole(content: Mapping[str, Sequence[Row]]) -> str:
    """Return everything: seconds an epoch, growth, processes, and where a step goes."""
    parts = [
        ("Seconds an epoch, medians:", _hosts(content["hosts"])),
        ("More cases (all sites, lean, records on disk):", _growth(content["growth"])),
        ("Processes and threads, on two cores:", _processes(content["processes"])),
        ("Milliseconds of the parts of a replayed step, each by itself:", _parts(content)),
    ]
    return "\n".join(f"{title}\n\n{table}" for title, table in parts)


def quality(content: Mapping[str, Any]) -> str:
    """Return what validation said of each perturber, over seeds."""
    labels = list(content["rows"][0]["by_group"][0])
    header = ["perturber", "parameters / host", "seeds", "host", "best epoch", *labels]
    lines = heading(header)
    for name in dict.fromkeys(row["perturber"] for row in content["rows"]):
        rows = [row for row in content["rows"] if row["perturber"] == name]
        best = [max(range(len(row["overall"])), key=row["overall"].__getitem__) for row in rows]
        pairs = list(zip(rows, best, strict=True))
        cells = [name, f"{rows[0]['trained_parameters'] / rows[0]['host_parameters']:.1%}"]
        cells += [str(len(rows)), f"{rows[0]['overall'][0]:.4f}"]
        cells += [_spread([row["overall"][epoch] for row, epoch in pairs])]
        cells += [
            _spread([row["by_group"][epoch][label] for row, epoch in pairs]) for label in labels
        ]
        lines.append(line(cells))
    return "\n".join(lines) + "\n"


def _hosts(rows: Sequence[Row]) -> str:
    keys = ("plain_loop_s", "finetune_s", "fit_s", "replay_s", "decoder_only_s", "decoder_bare_s")
    header = ["host", "sites", "perturber", "device", "cases", "plain loop", "fine-tuning"]
    header += ["fit", "fit, replay", "limit", "limit, bare", "recording", "store, MB"]
    lines = heading([*header, "perturber / host"])
    for row in _sorted(rows):
        cells = [row["host"], row["sites"], row["perturber"], row["device"], row["cases"]]
        cells += [f"{row[key]:.3g}" for key in (*keys, "record_s", "store_mb")]
        share = row["perturber_parameters"] / row["host_parameters"]
        lines.append(line([*cells, f"{share:.1%}"]))
    return "\n".join(lines) + "\n"


def _growth(rows: Sequence[Row]) -> str:
    header = ["cases", "epoch, s", "epoch, ms a case", "recording, s", "store, MB"]
    lines = heading([*header, "anonymous memory at the start, MB", "at its peak, MB"])
    for row in sorted(rows, key=lambda one: one["cases"]):
        seconds = row["replay_s"]
        cells = [row["cases"], f"{seconds:.3g}", f"{1e3 * seconds / row['cases']:.3g}"]
        cells += [f"{row['record_s']:.3g}", f"{row['store_mb']:.0f}"]
        memory = [f"{row[f'anonymous_mb_{when}']:.0f}" for when in ("before", "peak")]
        lines.append(line([*cells, *memory]))
    return "\n".join(lines) + "\n"


def _processes(rows: Sequence[Row]) -> str:
    lines = heading(["processes", "device", "cases", "epoch, s", "recording, s"])
    for row in rows:
        seconds = [f"{row[key]:.3g}" for key in ("replay_s", "record_s")]
        lines.append(line([row["processes"], row["device"], row["cases"], *seconds]))
    return "\n".join(lines) + "\n"


def _parts(content: Mapping[str, Sequence[Row]]) -> str:
    names = ["decoder", "perturber", "discriminator", "optimizer", "reading"]
    lines = heading(["host", "sites", "perturber", *names, "reading / all"])
    for row in content["profile"]:
        parts = [row[f"{name}_s"] for name in names]
        cells = [row["host"], row["sites"], row["perturber"]]
        cells += [f"{1e3 * part:.3g}" for part in parts]
        lines.append(line([*cells, f"{row['reading_s'] / sum(parts):.1%}"]))
    return "\n".join(lines) + "\n"


def _sorted(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: [row[key] for key in ("host", "sites", "perturber")])


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.4f} ({min(values):.4f}-{max(values):.4f})"


def heading(cells: Sequence[str]) -> list[str]:
    """Return the first two lines of a table."""
    return [line(cells), line(["---"] * len(cells))]


def line(cells: Sequence[Any]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"
