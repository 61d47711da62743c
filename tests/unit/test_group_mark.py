import pytest

from autotune_init.group_mark import NAME, Mark, read_mark, remove_mark, write_mark


def test_a_mark_is_remembered_for_this_very_pod_alone(tmp_path):
    write_mark(tmp_path, Mark("uid-1", "bound"))
    write_mark(tmp_path, Mark("uid-1", "warm"))

    assert read_mark(tmp_path, "uid-1") == "warm"
    assert read_mark(tmp_path, "uid-2") is None
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b'{"incarnation": "u", "state": "odd"}', b'{"incarnation": "u", "state": 3}',
             b"[" * 5000],
)  # fmt: skip
def test_a_mark_that_makes_no_sense_is_no_mark(tmp_path, body):
    (tmp_path / NAME).write_bytes(body)

    assert read_mark(tmp_path, "u") is None


def test_given_no_directory_then_writing_raises_and_removing_does_not(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        write_mark(tmp_path / "absent", Mark("u", "bound"))
    remove_mark(tmp_path / "absent")


def test_a_link_in_its_place_is_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / NAME).symlink_to(other)

    write_mark(tmp_path, Mark("u", "bound"))

    assert other.read_text() == "precious"
    assert read_mark(tmp_path, "u") == "bound"
