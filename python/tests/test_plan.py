import pickle

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import fusion

from .conftest import DIGITS


def test_a_plan_says_what_it_is(plan):
    assert plan.input_shape == (1, 8, 8) and plan.classes == 10
    assert plan.reveal == "label" and plan.is_verified and plan.has_weights
    assert plan.agreement.startswith("64 of 64")
    assert "conv" in plan.dump() and len(plan.digest) == 64
    assert plan.digest[:12] in repr(plan) and "srcdoc" in plan._repr_html_()


def test_the_clients_plan_has_no_weights_and_the_same_digest(plan, tmp_path):
    client = plan.client()
    assert not client.has_weights and client.digest == plan.digest
    client.save(tmp_path / "plan.client.bin")
    read = fusion.Plan.load(tmp_path / "plan.client.bin")
    assert read.to_bytes() == client.to_bytes() and read.agreement is None
    assert len(client.to_bytes()) < len(plan.to_bytes())


def test_plans_and_costs_have_pages(plan, tmp_path):
    program, cost = plan.to_html(tmp_path / "program.html"), plan.cost("wan").to_html()
    assert (tmp_path / "program.html").read_text() == program
    assert "fusion.mix" in program and plan.digest in program and plan.digest in cost
    assert "400 Mbit/s and 40 ms" in cost and "srcdoc" in plan.cost()._repr_html_()
    # The server's page says no more than the client's.
    assert plan.client().to_html() == program
    for page in (program, cost):
        assert "conv1" in page and "<script" not in page and "http" not in page


def test_plans_are_pickled(plan):
    assert pickle.loads(pickle.dumps(plan)).to_bytes() == plan.to_bytes()


def test_costs_are_exact_sums_and_depend_on_the_network(plan):
    cost = plan.cost()
    assert {x["node"] for x in cost.layers} >= {"conv1", "conv2", "dense"}
    assert plan.cost("wan").seconds > cost.seconds and plan.cost("10/100").seconds > plan.cost("wan").seconds
    frame = cost.to_pandas()
    assert frame["rounds"].sum() == cost.rounds and frame["seconds"].sum() <= cost.seconds
    # Public keys are a position's, and no layer's.
    keys = cost.bytes - frame["to_server"].sum() - frame["to_client"].sum()
    assert 0 < keys < cost.bytes / 2
    with pytest.raises(fusion.UsageError, match="none of lan, wan"):
        plan.cost("moon")


def test_bytes_and_files_of_a_model_are_the_same_model(plan, digits):
    data = (DIGITS / "digits.onnx").read_bytes()
    assert fusion.compile(data, calibrate=digits["calibrate"]).digest == plan.digest
    assert fusion.compile(onnx.load_from_string(data), calibrate=digits["calibrate"]).digest == plan.digest


def test_what_a_plan_reveals_is_chosen(digits):
    plan = fusion.compile(DIGITS / "digits.onnx", calibrate=digits["calibrate"], reveal="topk:3", verify=False)
    assert plan.reveal == "topk:3" and not plan.is_verified


def test_errors_say_whose_fault_it_is(digits):
    with pytest.raises(fusion.ModelError):
        fusion.compile(b"no model", calibrate=digits["calibrate"])
    with pytest.raises(fusion.UsageError, match="reveal"):
        fusion.compile(DIGITS / "digits.onnx", reveal="everything")
    with pytest.raises(fusion.UsageError, match="calibrate"):
        fusion.compile(type("Net", (), {"state_dict": None, "forward": None})())
    with pytest.raises(fusion.UsageError, match="no model"):
        fusion.compile(3, calibrate=digits["calibrate"])
    with pytest.raises(fusion.UsageError):
        fusion.Plan.from_bytes(b"no plan")
    value = helper.make_tensor_value_info
    node = helper.make_node("Det", ["x"], ["y"], name="the_determinant")
    graph = helper.make_graph([node], "g", [value("x", TensorProto.FLOAT, ["N", 3, 3])], [value("y", TensorProto.FLOAT, ["N"])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    with pytest.raises(fusion.ModelError, match="the_determinant"):
        fusion.compile(model, calibrate=np.zeros((4, 3, 3)))
