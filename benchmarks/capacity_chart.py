"""The capacity benchmark's plots as one SVG, drawn with plain text: no plotting library is a dependency here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, MARGIN = 420, 300, 56
COLOURS = ("#1b6ca8", "#c8553d", "#4a7c59", "#7a5195")

Line = tuple[str, Sequence[tuple[float, float]]]


def chart(
    strict: Sequence[Mapping[str, Any]], conversations: Sequence[Mapping[str, Any]], fleet: Sequence[Mapping[str, Any]]
) -> str:
    """Three plots beside each other."""
    devices = list(dict.fromkeys(row["device"] for row in strict))
    late = [
        (name, [(row["talkers"], 100 * row["late_share"]) for row in strict if row["device"] == name])
        for name in devices
    ]
    talk = [
        (name, [(row["asked"], 100 * row[key]) for row in conversations if row["admission"] is admitted])
        for name, key, admitted in (
            ("late, with admission", "late_share", True),
            ("late, everybody let on", "late_share", False),
            ("lips at 12.5, with admission", "half_rate_share", True),
            ("lips at 12.5, everybody let on", "half_rate_share", False),
        )
    ]
    many = [
        ("served, % of users", [(row["gpus"], 100 * row["served"] / row["users"]) for row in fleet]),
        ("late pictures, %", [(row["gpus"], 100 * row["late_share"]) for row in fleet]),
        ("lips at 12.5, % of the speech", [(row["gpus"], 100 * row["half_rate_share"]) for row in fleet]),
    ]
    users = fleet[0]["users"] if fleet else 0
    plots = (
        _plot("Strict 25-fps talkers, no tiers: pictures late, %", "talkers", late),
        _plot("Conversations on one H200 (stated 590/s), %", "conversations that ask", talk),
        _plot(f"{users} users on a fleet of H200 (stated 590/s)", "GPUs", many),
    )
    body = "".join(f'<g transform="translate({n * WIDTH},0)">{plot}</g>' for n, plot in enumerate(plots))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {3 * WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>{body}</svg>\n'
    )


def _plot(title: str, x_name: str, lines: Sequence[Line]) -> str:
    points = [point for _, line in lines for point in line]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    top = max(1.0, *(y for _, y in points)) * 1.1

    def at(x: float, y: float) -> str:
        across = MARGIN + (x - left) / max(1e-9, right - left) * (WIDTH - MARGIN - 20)
        return f"{across:.1f},{HEIGHT - 46 - y / top * (HEIGHT - 110):.1f}"

    parts = [f'<text x="{MARGIN}" y="18" font-weight="bold">{title}</text>']
    for n in range(5):
        y = top * n / 4
        x1, y1 = at(left, y).split(",")
        x2, _ = at(right, y).split(",")
        parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y1}" stroke="#ddd"/>')
        parts.append(f'<text x="{float(x1) - 6}" y="{float(y1) + 4}" text-anchor="end">{y:.3g}</text>')
    for n in range(5):
        x = left + (right - left) * n / 4
        across, _ = at(x, 0).split(",")
        parts.append(f'<text x="{across}" y="{HEIGHT - 28}" text-anchor="middle">{x:.3g}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle">{x_name}</text>')
    for n, (name, line) in enumerate(lines):
        colour = COLOURS[n % len(COLOURS)]
        path = " ".join(at(x, y) for x, y in sorted(line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{MARGIN + 8}" y="{36 + 13 * n}" fill="{colour}">{name}</text>')
    return "".join(parts)
