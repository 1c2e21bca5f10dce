"""What is shipped for Prometheus and Grafana asks for metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"\bcostplus_[a-z_]+\b")
SUFFIX = re.compile(r"_(total|bucket|sum|count|info)$")


def test_dashboard_alerts_and_documentation_name_metrics_that_exist() -> None:
    code = (ROOT / "src/costplus/metrics.py").read_text("utf-8")
    known = set(re.findall(r'"(costplus_[a-z_]+)"', code))
    assert len(known) > 15
    for page in ("deploy/grafana.json", "deploy/alerts.yml", "docs/operations.md"):
        named = {SUFFIX.sub("", name) for name in NAME.findall((ROOT / page).read_text("utf-8"))}
        assert named and named <= known, f"{page} names {sorted(named - known)}"
    documented = (ROOT / "docs/operations.md").read_text("utf-8")
    missing = {name for name in known if f"`{name}" not in documented}
    assert not missing, f"docs/operations.md lacks {sorted(missing)}"


def test_every_panel_of_the_dashboard_has_a_place_and_a_question() -> None:
    panels = json.loads((ROOT / "deploy/grafana.json").read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    assert all(target["expr"] for panel in panels for target in panel["targets"])
