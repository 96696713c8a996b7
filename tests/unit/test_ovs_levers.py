"""What the database of Open vSwitch holds, as text that is the same for the same set-up."""

from nvbench.stands.ovs import rows_of, state_lines


def table(headings, *rows):
    return rows_of({"headings": headings, "data": [list(row) for row in rows]})


def state(port_id, ports):
    bridges = table(["_uuid", "name", "ports"], (["uuid", "b-0"], "nvbr0", ["set", ports]))
    rows = (["uuid", port_id], "nv0", ["set", []], ["map", [["b", "2"], ["a", "1"]]])
    return state_lines({"Bridge": bridges, "Port": table(["_uuid", "name", "tag", "other_config"], rows)})


def test_rows_are_called_by_their_names():
    assert state("p-1", [["uuid", "p-1"]]) == [
        'Bridge {"name": "nvbr0", "ports": ["nv0"]}',
        'Port {"name": "nv0", "tag": null, "other_config": {"a": "1", "b": "2"}}',
    ]


def test_ids_that_were_made_anew_make_no_difference():
    assert state("p-1", [["uuid", "p-1"]]) == state("p-2", [["uuid", "p-2"]])
