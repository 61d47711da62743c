"""What a cluster has started is what it ends, whoever asked for it."""

from tools.cluster.daemons import Daemons


def test_everything_that_was_started_can_be_ended_by_its_record(tmp_path):
    daemons = Daemons(tmp_path / "pids", tmp_path / "logs")
    assert daemons.recorded() == []
    daemons.start("one", ["sleep", "60"])
    daemons.start("another", ["sleep", "60"])
    assert daemons.are_alive(["one", "another"])

    daemons.stop(*daemons.recorded())

    assert not daemons.are_alive(["one"])
    assert not daemons.are_alive(["another"])
    assert daemons.recorded() == []
