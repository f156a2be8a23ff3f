"""How many conversations a GPU holds: MuseTalk's real policy in virtual time, on stated batch times.

Run: ``python -m benchmarks.capacity``. Scheduler, tiers and admission are those that talk live; the device is a model
(`capacity_world.py`). No card was at hand: every batch time below is *stated*, none is measured; ``--speeds FILE``
takes measured ones. Measured here is the policy: lateness, refusals, fairness, and how much of the speech has lips at
12.5 a second so that nothing is late. Time is virtual: the same seed gives the same numbers on any machine. The real
engine thread in real time is `capacity_engine.py`. Video encoding is not part of it.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avatar.musetalk.admission import HALF_SHARE
from avatar.musetalk.scheduler import Speeds
from avatar.musetalk.tiers import Tier
from benchmarks.capacity_chart import chart
from benchmarks.capacity_talker import ENDLESS, TICK_S, Manner, Talker
from benchmarks.capacity_world import Device, World
from benchmarks.report import RESULTS, Report, arguments

SIZES = (1, 2, 4, 8, 16)
SEED = 20
SEEDS = (20, 21, 22, 23, 24)
FIFTY_AT = (480, 500, 520, 540, 560, 580, 600, 640, 680, 720, 760, 800, 840)
"""Pictures a second at which 50 conversations are tried, one picture alone in 12 ms."""


def stated(name: str, alone_ms: float, fps: float, sizes: Sequence[int], source: str) -> Device:
    """Batch times on a line through that of one picture and that of the largest batch at this rate."""
    largest = max(sizes)
    each_ms = (1000 * largest / fps - alone_ms) / (largest - 1)
    times = {size: (alone_ms + each_ms * (size - 1)) / 1000 for size in sizes}
    return Device(name, Speeds(times, deliver_s=0.009), f"stated: {source}")


DEVICES = {
    "H200 goal": stated("H200, exact decoder, goal", 12, 590, SIZES, "the project's goal, 590 a second, 12 ms alone"),
    "H200 least": stated("H200, exact decoder, least", 25, 400, SIZES, "the least accepted, 400 a second, 25 ms alone"),
    "RTX 6000 Ada": stated(
        "RTX 6000 Ada, INT8 decoder", 12.6, 113, SIZES[:4], "112-114 a second as published (AhmadAFS1/MuseTalk)"
    ),
    "RTX 4090": stated("RTX 4090, exact decoder", 18, 72, SIZES[:3], "72 a second as published (LiveTalking)"),
}
CONVERSATION = Manner()


def strict(device: Device, talkers: int, seconds: float, *, tiers: bool) -> tuple[World, list[Talker]]:
    """So many at once, 25 pictures a second without a pause, with ticks anywhere."""
    world = World(device, SEED + talkers, tiers=tiers)
    all_of = [Talker(world, n, ENDLESS, world.chance.random() * TICK_S, talks_at_once=True) for n in range(talkers)]
    world.run(seconds)
    return world, all_of


def most_strict(key: str, device: Device, seconds: float) -> tuple[int, list[dict[str, Any]]]:
    """Talkers are added until a picture is late; then the curve of lateness beyond."""
    most, rows = 0, []
    fits = int(device.speeds.fps / 25)
    for talkers in range(max(1, fits - 4), fits + 7):
        world, all_of = strict(device, talkers, seconds, tiers=False)
        lateness = [talker.seen.lateness_ms for talker in all_of]
        late, pictures = (sum(getattr(talker.seen, what) for talker in all_of) for what in ("late", "pictures"))
        rows.append(
            {
                "device": key,
                "talkers": talkers,
                "late_share": late / pictures,
                "median_lateness_ms": statistics.median(lateness),
                "worst_lateness_ms": max(lateness),
                "busy": world.busy_s / seconds,
            }
        )
        if not any(row["late_share"] for row in rows):
            most = talkers
    return most, rows


def first_pictures(device: Device, utterances: int) -> list[float]:
    """ms from an utterance's audio (its lookahead included) to its first lip picture, with 12 others talking."""
    world = World(device, SEED)
    for n in range(12):
        Talker(world, n, ENDLESS, world.chance.random() * TICK_S, talks_at_once=True)
    short = Manner(1.0, 0.3, (0.5, 3.0), 1.0, 0.5, (0.5, 3.0))
    speaker = Talker(world, 99, short, 0.013, talks_at_once=False)
    while len(speaker.seen.first_s) < utterances:
        world.run(world.now_s + 10.0)
    return [1000 * first for first in speaker.seen.first_s[:utterances]]


def conversations(
    device: Device, count: int, seconds: float, seed: int = SEED, *, admitted: bool = True
) -> tuple[World, list[Talker]]:
    """So many come over the first minute and stay; who is refused asks again when told to."""
    world = World(device, seed)
    talkers: list[Talker] = []

    def come(number: int) -> None:
        refused = world.admit(number) if admitted else None
        if refused is not None:
            world.at(world.now_s + refused.retry_after_s, lambda: come(number))
            return
        phase_s = world.chance.random() * TICK_S
        talkers.append(Talker(world, number, CONVERSATION, world.now_s + phase_s, talks_at_once=False))

    for number in range(count):
        world.at(60.0 * world.chance.random(), lambda number=number: come(number))  # type: ignore[misc]
    world.run(seconds)
    return world, talkers


def fifty(device: Device, seconds: float, seeds: Sequence[int]) -> list[dict[str, float]]:
    """50 conversations with each of these seeds."""
    rows = []
    for seed in seeds:
        world, talkers = conversations(device, 50, seconds, seed)
        rows.append(
            {"pictures_a_second": round(device.speeds.fps, 1), "seed": seed, **summary(world, talkers, seconds)}
        )
    return rows


def summary(world: World, talkers: Sequence[Talker], seconds: float) -> dict[str, float]:
    pictures = sum(talker.seen.pictures for talker in talkers)
    late = sum(talker.seen.late for talker in talkers)
    tiers = [sum(talker.seen.tier_ticks[tier] for talker in talkers) for tier in Tier]
    return {
        "conversations": len(talkers),
        "pictures": pictures,
        "late": late,
        "late_share": late / max(1, pictures),
        "full_rate_share": tiers[Tier.FULL] / max(1, pictures),
        "half_rate_share": tiers[Tier.HALF] / max(1, pictures),
        "worst_half_rate_share": max(
            (talker.seen.tier_ticks[Tier.HALF] / max(1, talker.seen.pictures) for talker in talkers), default=0.0
        ),
        "tier_changes_a_minute_of_speech": world.changes / max(1.0, pictures / 25 / 60),
        "without_lips_share": tiers[Tier.IDLE] / max(1, pictures),
        "refusals": len(world.refused),
        "busy": world.busy_s / seconds,
        "talking_mean": pictures / 25 / seconds,
    }


def fleet(device: Device, users: int, gpus: int, seconds: float) -> dict[str, float]:
    """Users arrive over a minute; each is sent to the GPU with the fewest (as LiveKit's dispatch by load does), and to
    the next one where that one refuses."""
    chance = random.Random(SEED)
    worlds = [World(device, SEED + n) for n in range(gpus)]
    talkers: list[list[Talker]] = [[] for _ in worlds]
    arrivals = sorted((60.0 * chance.random(), user, user) for user in range(users))
    turned_away = 0
    while arrivals:
        when_s, user, _ = arrivals.pop(0)
        if when_s > seconds:
            turned_away += 1
            continue
        for n in sorted(range(gpus), key=lambda n: len(talkers[n])):
            worlds[n].run(when_s)
            if worlds[n].admit(user) is None:
                phase_s = when_s + chance.random() * TICK_S
                talkers[n].append(Talker(worlds[n], user, CONVERSATION, phase_s, talks_at_once=False))
                break
        else:
            arrivals.append((when_s + 20.0, user, user))
            arrivals.sort()
    for world in worlds:
        world.run(seconds)
    parts = [summary(world, some, seconds) for world, some in zip(worlds, talkers, strict=True)]
    pictures = sum(part["pictures"] for part in parts)
    return {
        "users": users,
        "gpus": gpus,
        "served": sum(part["conversations"] for part in parts),
        "turned_away": turned_away,
        "refusals": sum(part["refusals"] for part in parts),
        "late_share": sum(part["late"] for part in parts) / max(1.0, pictures),
        "full_rate_share": sum(part["full_rate_share"] * part["pictures"] for part in parts) / max(1.0, pictures),
        "half_rate_share": sum(part["half_rate_share"] * part["pictures"] for part in parts) / max(1.0, pictures),
        "without_lips_share": sum(part["without_lips_share"] * part["pictures"] for part in parts) / max(1.0, pictures),
        "busy": statistics.mean(part["busy"] for part in parts),
        "most_busy": max(part["busy"] for part in parts),
    }


def fairness(device: Device, over: float, seconds: float) -> float:
    """The worst talker's lateness over the median's, tiers off, with so much more than fits."""
    _, talkers = strict(device, round(over * device.speeds.fps / 25), seconds, tiers=False)
    lateness = [talker.seen.lateness_ms for talker in talkers]
    return max(lateness) / statistics.median(lateness) if statistics.median(lateness) else 1.0


def _from_on(rows: Sequence[dict[str, float]], good: Sequence[dict[str, float]]) -> float | None:
    """The least rate from which on all rows are good ones; None: not even those of the highest."""
    bad = max((row["pictures_a_second"] for row in rows if row not in good), default=0.0)
    return min((row["pictures_a_second"] for row in rows if row["pictures_a_second"] > bad), default=None)


def main() -> int:
    parser = arguments("capacity", "conversations on one GPU and on a fleet, by the real policy on stated batch times")
    parser.add_argument("--speeds", type=Path, help='measured times: {"name": …, "batch_ms": {"1": …}, "encode_ms": …}')
    options = parser.parse_args()
    report = Report("capacity", options.quick, options.out)
    seconds = 10.0 if options.quick else 60.0
    devices = dict(DEVICES)
    if options.speeds:
        given = json.loads(options.speeds.read_text(encoding="utf-8"))
        times = {int(size): ms / 1000 for size, ms in given["batch_ms"].items()}
        speeds = Speeds(times, given.get("encode_ms", 0.0) / 1000, 0.009)
        devices = {given["name"]: Device(given["name"], speeds, f"measured: {options.speeds.name}")}
    main_key = "H200 goal" if "H200 goal" in devices else next(iter(devices))
    report.facts["devices"] = {
        key: {
            "source": device.source,
            "ms by batch size": {size: round(1000 * s, 2) for size, s in device.speeds.batch_s.items()},
            "pictures a second": round(device.speeds.fps, 1),
        }
        for key, device in devices.items()
    }
    report.facts["conversation"] = (
        "utterances log-normal, median 5 s, sigma 0.6, 0.8 to 30 s; pauses median 8 s, sigma 0.6, 1 to 60 s; seed "
        f"{SEED}; the avatar talks about 0.38 of the time"
    )
    strict_rows: list[dict[str, Any]] = []
    for key, device in devices.items():
        most, rows = most_strict(key, device, seconds)
        strict_rows += rows
        report.facts[f"{key}: strict talkers without a late picture in {seconds:.0f} s"] = most
        if key == main_key:
            report.bound(f"{key}: strict talkers, 20 wanted; too few by", max(0, 20 - most), 0, "", n=most)
    report.samples("strict", strict_rows)
    utterances = 100 if options.quick else 1000
    for key in [key for key in devices if key.startswith("H200") or key == main_key]:
        first = first_pictures(devices[key], utterances)
        report.numbers(f"{key}: first lip picture, 12 talkers", first, "ms", stated_n=1000)
        p95 = statistics.quantiles(first, n=20)[-1]
        report.bound(f"{key}: first lip picture p95, 12 talkers", p95, 120, "ms", n=len(first), stated_n=1000)
    length_s = 120.0 if options.quick else 300.0
    curve = []
    for count in (20, 30, 40, 50, 60):
        for admitted in (True, False):
            world, talkers = conversations(devices[main_key], count, length_s, admitted=admitted)
            row = {"asked": count, "admission": admitted, **summary(world, talkers, length_s)}
            curve.append(row)
            if count == 50 and not admitted:
                report.bound(
                    f"{main_key}: 50 conversations, all let on, late pictures",
                    row["late"],
                    0,
                    "",
                    n=int(row["pictures"]),
                )
    report.samples("conversations", curve)
    rows = fifty(devices[main_key], length_s, SEEDS[:1] if options.quick else SEEDS)
    what, pictures = f"{main_key}: 50 conversations, {len(rows)} seeds", int(sum(row["pictures"] for row in rows))
    report.bound(f"{what}, never let on", 50 * len(rows) - sum(row["conversations"] for row in rows), 0, "")
    report.bound(f"{what}, late pictures", sum(row["late"] for row in rows), 0, "", n=pictures)
    halved = sum(row["half_rate_share"] * row["pictures"] for row in rows) / pictures
    report.bound(f"{what}, speech with lips at 12.5 a second", 100 * halved, 100 * HALF_SHARE, "%", n=pictures)
    without = sum(row["without_lips_share"] * row["pictures"] for row in rows) / pictures
    report.bound(f"{what}, speech without lips", 100 * without, 0, "%", n=pictures)
    report.samples("fifty", rows)
    if not (options.speeds or options.quick):
        swept = [
            row for fps in FIFTY_AT for row in fifty(stated("swept", 12, fps, SIZES, "swept"), length_s, SEEDS[:2])
        ]
        report.samples("fifty_at", swept)
        good = [row for row in swept if row["conversations"] == 50 and row["late"] == 0]
        report.facts["50 conversations, all let in and none late, from this many pictures a second on"] = _from_on(
            swept, good
        )
        report.facts["… and all lips at 25 from this many on"] = _from_on(
            swept, [row for row in good if row["half_rate_share"] == 0]
        )
    for over in (1.05, 1.2, 1.5):
        report.bound(
            f"{main_key}: worst over median lateness, {over:g} of what fits",
            fairness(devices[main_key], over, seconds),
            1.5,
            "",
        )
    users, fleet_s = (200, 90.0) if options.quick else (1500, 120.0)
    fleets = [
        fleet(devices[main_key], users, gpus, fleet_s) for gpus in ((4, 5) if options.quick else (26, 28, 30, 34, 38))
    ]
    report.samples("fleet", fleets)
    if not options.quick:
        target = options.out or RESULTS
        target.mkdir(parents=True, exist_ok=True)
        (target / "capacity.svg").write_text(chart(strict_rows, curve, fleets), encoding="utf-8")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
