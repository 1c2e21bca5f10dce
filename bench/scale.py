"""Two gateway processes on two cores, on one PostgreSQL database, against one.

Rule 1: with two cores the load has no core of its own: what it takes, the gateways lack. So besides calls a
second, calls per CPU second of the gateways are compared: what two whole cores would serve, as times one.
"""

from __future__ import annotations

from pathlib import Path

from machine import LOAD_CORE, TARGET_CORE, Running, ending
from postgres import Postgres, billed_in_postgres
from rounds import Plan, Round, saturate, say
from targets import Ours, Tally, Target, answered, start_provider


def two_processes(server: Postgres, folder: Path, plan: Plan) -> tuple[Round, Target, Tally]:
    """Measure one process, then two; return what was found, the target and what the provider answered."""
    say("two processes on two cores …")
    provider = start_provider(core=None)
    with ending(provider):
        url = server.make_database()
        ours = Ours("costplus two processes", folder, provider, database=url)
        first = ours.start("gateway", core=TARGET_CORE)
        with ending(first):
            second = ours.start("gateway", core=LOAD_CORE, place="2")
            with ending(second):
                one = ours.target(first, billed=lambda: billed_in_postgres(url))
                both = ours.target(first, second, billed=lambda: billed_in_postgres(url))
                rounds = [_round(one, both, (first, second), plan) for _ in range(plan.rounds)]
                both.called += one.called
                first.stop()
                second.stop()
                asked = answered(provider, both.provider_key)
    middle = sorted(rounds, key=lambda figures: figures["per_cpu"])[len(rounds) // 2]
    return middle, both, asked


def _round(one: Target, both: Target, processes: tuple[Running, Running], plan: Plan) -> Round:
    for target in (one, both):
        saturate(target, "JSON", 1, core=None)
    alone = saturate(one, "JSON", plan.full_s)
    used_s, called = sum(process.cpu_s() for process in processes), both.called
    together = saturate(both, "JSON", plan.full_s, core=None)
    used_s = sum(process.cpu_s() for process in processes) - used_s
    cpu_us = used_s / (both.called - called) * 1e6
    return {
        "one_per_s": alone["per_s"],
        "two_per_s": together["per_s"],
        "one_cpu_us": alone["cpu_us"],
        "two_cpu_us": cpu_us,
        "one_longest_ms": alone["longest_ms"],
        "two_longest_ms": together["longest_ms"],
        "raw": together["per_s"] / alone["per_s"],
        "per_cpu": 2 * alone["cpu_us"] / cpu_us,
    }
