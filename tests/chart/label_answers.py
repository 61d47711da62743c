"""What a labelled pod became, asked of a real API server."""

from tests.chart.chart_tools import labelled


def injected(api, namespace, given):
    answer = api.pod(labelled(given), namespace)
    assert answer.is_admitted, answer.made
    assert answer.told == "injected", answer.told
    return answer


def left_alone(api, namespace, given):
    """Why, and that nothing else happened to it."""
    answer = api.pod(labelled(given), namespace)
    assert answer.is_admitted, answer.made
    assert answer.told.startswith("left alone: ")
    assert "autotune-init" not in str(answer.made["spec"].get("initContainers"))
    assert any(answer.told in warning for warning in answer.warnings)
    return answer.told.removeprefix("left alone: ")


def mounts(answer, container):
    return {one["mountPath"]: one["name"] for one in answer.container(container).get("volumeMounts", [])}
