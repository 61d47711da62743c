"""The example alert rules name metrics that kube-state-metrics has, and containers that the chart makes."""

import re

import yaml
from tests.chart.chart_tools import CHART

# kube-state-metrics, docs/metrics/workload/{pod,job}-metrics.md
KNOWN = {
    "kube_pod_init_container_status_waiting_reason": {"container", "pod", "namespace", "reason", "uid"},
    "kube_pod_init_container_status_restarts_total": {"container", "pod", "namespace", "uid"},
    "kube_pod_init_container_status_running": {"container", "pod", "namespace", "uid"},
    "kube_pod_start_time": {"pod", "namespace", "uid"},
    "kube_job_failed": {"job_name", "namespace", "condition"},
}


def test_each_rule_asks_for_metrics_and_labels_that_there_are():
    rules = yaml.safe_load((CHART / "examples" / "alerts" / "prometheusrule.yaml").read_text())["spec"][
        "groups"
    ][0]["rules"]
    assert len(rules) == 4
    used = set()
    for rule in rules:
        for name, selector in re.findall(r"(kube_\w+)(?:\{([^}]*)\})?", rule["expr"]):
            used.add(name)
            assert set(re.findall(r"(\w+)=~?\"", selector)) <= KNOWN[name], rule["alert"]
        assert rule["annotations"]["summary"]
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= {
            "namespace",
            "pod",
            "job_name",
        }
    assert used == set(KNOWN)
