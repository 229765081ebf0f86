"""The reference page is what the code says today."""

from clickstream_assets import reference


def test_the_reference_is_made_from_the_code() -> None:
    assert reference.PATH.read_text() == reference.markdown(), "run `make docs`"
