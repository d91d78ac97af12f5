# SPDX-License-Identifier: Apache-2.0
"""The page on the fleet page names what is in the document, and the numbers of the code."""

import pathlib

from nova_edge_bus.endpoint import fleet
from nova_edge_bus.endpoint import fleet_json

TEXT = (
    pathlib.Path(__file__).resolve().parents[3] / "doc" / "source" / "fleet-page.rst"
).read_text()


def test_every_column_and_state_is_described() -> None:
    columns = TEXT.partition(".. list-table:: Columns")[2]
    assert [name for name in fleet_json.COLUMNS if f"``{name}``" not in columns] == []
    states = " ".join(TEXT.partition("State\n")[2].partition("\nFor\n")[0].lower().split())
    assert [word for word in fleet.STATES if f"*{word}*" not in states] == []


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"anew at\nmost every {fleet_json.FRESH_SECONDS:g} seconds" in TEXT
    assert f"``format``\n   {fleet_json.FORMAT}." in TEXT
    assert f"at most {fleet.TEXT} characters each" in TEXT
    assert f"at most {fleet.VERSION_TEXT} characters" in TEXT
    assert fleet.KEPT_SECONDS == 24 * 3600
    script = (pathlib.Path(fleet.__file__).parent / "fleet-page" / "fleet.js").read_text()
    assert "REFRESH_SECONDS = 5;" in script
