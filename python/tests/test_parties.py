import os
import signal
import socket
import threading
import time

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import fusion

from .conftest import DIGITS

SMALL = {"accuracy": 0.9, "catch": 0.6, "lambda_bits": 5}


def small(digits):
    return digits["queries"][:4], (digits["public"][:40], digits["public_labels"][:40])


def test_labels_of_a_verified_batch(plan, digits, tmp_path):
    queries, public = small(digits)
    seen = []
    with fusion.Server(plan) as server:
        client = fusion.Client(plan.client(), server.address)
        name, connected, network = client.ask()
        assert name == server.address and connected >= 0 and plan.cost(network).seconds > 0
        result = client.predict(queries, public, progress=lambda *step: seen.append(step), **SMALL)
        deadline = time.monotonic() + 10
        while not server.sessions and time.monotonic() < deadline:
            time.sleep(0.01)
        (served,) = server.sessions
    assert not server.is_running
    assert result.accepted and result.verdict["verified"]
    np.testing.assert_array_equal(result.labels, digits["query_labels"][:4])
    assert result.labels.dtype == np.int64
    assert served["role"] == "server" and served["batch"]["positions"] == result.report["batch"]["positions"]
    measured, predicted = result.report["bytes"], result.report["predicted"]
    assert measured["client_to_server"] == predicted["client_to_server"]
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen) and {"conv1"} <= {n for _, _, n in seen}
    positions, layers = result.report["batch"]["positions"], result.report["bytes"]["per_layer"]
    measured = sum(layer["client_to_server"] + layer["server_to_client"] for layer in layers)
    # Positions share no ciphertexts: only frames' headers and the last bits of packed bytes.
    cost = plan.cost()
    of_layers = sum(layer["to_server"] + layer["to_client"] for layer in cost.layers)
    assert 0.98 * positions * of_layers < measured <= positions * of_layers
    # A session has its positions' public keys besides, and its set-up and oblivious transfers.
    assert 0.98 * positions * cost.bytes < result.bytes
    assert list(result.to_pandas()["label"]) == list(result.labels)
    summary = result.summary()
    assert summary.startswith("ACCEPTED") and "excluded but for 2^-" in summary and "not excluded" in summary
    assert "independent draws" in summary and "(accuracy)" in summary and "--" not in summary
    page = result.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == page and "<h1>Accepted</h1>" in page and "conv1" in page
    assert "<script" not in page and "http" not in page and "srcdoc" in result._repr_html_()


def test_a_server_that_swaps_labels_is_rejected(plan, digits):
    model = onnx.load(DIGITS / "digits.onnx")
    dense = next(node for node in model.graph.node if node.op_type == "Gemm")
    for constant in model.graph.initializer:
        if constant.name in dense.input[1:]:
            weight = numpy_helper.to_array(constant)
            axis = list(weight.shape).index(10)
            constant.CopyFrom(numpy_helper.from_array(np.roll(weight, 1, axis), constant.name))
    cheat = fusion.compile(model, calibrate=digits["calibrate"])
    assert cheat.digest == plan.digest
    queries, public = small(digits)
    with fusion.Server(cheat) as server:
        client = fusion.Client(plan.client(), server.address)
        with pytest.raises(fusion.Rejected, match="REJECTED: too many public samples were answered wrongly") as caught:
            client.predict(queries, public, **SMALL)
        assert caught.value.result.labels is None
        assert not client.predict(queries, public, check=False, **SMALL).accepted


def test_a_plan_does_not_decide_that_nothing_is_verified(digits):
    queries, public = small(digits)
    trusting = fusion.compile(DIGITS / "digits.onnx", calibrate=digits["calibrate"], verify=False)
    with fusion.Server(trusting) as server:
        client = fusion.Client(trusting, server.address)
        with pytest.raises(fusion.UsageError, match="verify=False"):
            client.predict(queries)
        assert client.predict(queries, public, **SMALL).verdict["verified"]
        result = client.predict(queries, verify=False)
    assert not result.verdict["verified"] and result.summary().startswith("NOT VERIFIED")


def test_several_clients_at_once(plan, digits):
    queries, public = small(digits)
    # Each waits in its session for the other's: only a server of two at once serves them.
    both = threading.Barrier(2, timeout=120)
    with fusion.Server(plan, sessions=2) as server:
        found = [None, None]

        def ask(at):
            met = []

            def progress(done, layers, node):
                if not met:
                    met.append(both.wait())

            client = fusion.Client(plan, server.address)
            found[at] = client.predict(queries, public, progress=progress, **SMALL).labels.tolist()
            assert met

        threads = [threading.Thread(target=ask, args=(at,)) for at in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert not both.broken and found[0] == found[1] == digits["query_labels"][:4].tolist()


def test_a_batch_over_several_servers_has_one_verdict(plan, digits, tmp_path):
    queries, public = small(digits)
    with fusion.Server(plan) as one, fusion.Server(plan) as other:
        addresses = [one.address, other.address]
        client = fusion.Client(plan.client(), addresses, ledger=tmp_path / "ledger.redb")
        assert [name for name, _, _ in client.ask()] == addresses
        result = client.predict(queries, public, **SMALL)
        np.testing.assert_array_equal(result.labels, digits["query_labels"][:4])
        assert [shard["server"] for shard in result.report["shards"]] == addresses
        assert result.report["ledger"]["session"] == 1
        gone = fusion.Client(plan, [one.address, "127.0.0.1:1"], ledger=tmp_path / "ledger.redb", timeout=0.3)
        with pytest.raises(fusion.PeerError, match="cannot connect to 127.0.0.1:1"):
            gone.predict(queries, public, **SMALL)
        # Nothing was sent, so nothing counts.
        assert client.predict(queries, public, **SMALL).report["ledger"]["session"] == 2
    with pytest.raises(fusion.UsageError, match="at least one"):
        fusion.Client(plan, [])
    with pytest.raises(fusion.UsageError, match="named twice"):
        fusion.Client(plan, ["127.0.0.1:1"] * 2).predict(queries, public, **SMALL)


def test_a_policy_that_cannot_be_met_says_what_would_do(plan, digits):
    queries, public = small(digits)
    client = fusion.Client(plan.client(), "127.0.0.1:1", timeout=1)
    with pytest.raises(fusion.UsageError, match="public samples"):
        client.predict(queries, public, accuracy=0.9, catch=0.15)
    with pytest.raises(fusion.UsageError, match="public="):
        client.predict(queries)
    with pytest.raises(fusion.UsageError, match="public="):
        client.predict(queries, (public[0], None))
    with pytest.raises(fusion.UsageError, match="contradicts"):
        client.predict(queries, public, verify=False)
    with pytest.raises(fusion.UsageError, match="shape"):
        client.predict(queries[:, :, :4], public, **SMALL)
    with pytest.raises(fusion.UsageError, match="clipped"):
        client.predict(100 * queries, public, **SMALL)
    with pytest.raises(fusion.UsageError, match="whole number"):
        client.predict(queries, (public[0], public[1] + 0.5), **SMALL)
    with pytest.raises(TypeError, match="strings"):
        client.predict(np.array([["a"]], dtype=object), public)


def test_nobody_answers(plan, digits):
    queries, public = small(digits)
    client = fusion.Client(plan.client(), "127.0.0.1:1", timeout=0.3)
    with pytest.raises(fusion.PeerError, match="cannot connect"):
        client.predict(queries, public, **SMALL)


def test_other_addresses_need_an_identity(plan):
    with pytest.raises(fusion.UsageError, match="allow_plaintext"):
        fusion.Server(plan, "0.0.0.0:0")
    with pytest.raises(fusion.UsageError, match="go together"):
        fusion.Server(plan, identity="nothing.pem")


def test_identities_are_pinned(plan, digits, tmp_path):
    queries, public = small(digits)
    prints = {party: fusion.keygen(tmp_path / f"{party}.pem") for party in ("server", "client", "other")}
    with fusion.Server(plan, identity=tmp_path / "server.pem", peers=[prints["client"]]) as server:
        known = fusion.Client(plan, server.address, identity=tmp_path / "client.pem", peers=[prints["server"]])
        assert known.predict(queries, public, **SMALL).accepted
        other = fusion.Client(plan, server.address, identity=tmp_path / "other.pem", peers=[prints["server"]])
        with pytest.raises(fusion.PeerError):
            other.ask()
        fooled = fusion.Client(plan, server.address, identity=tmp_path / "client.pem", peers=[prints["other"]])
        with pytest.raises(fusion.PeerError):
            fooled.ask()


def test_budget_and_ledger_count_sessions(plan, digits, tmp_path):
    queries, public = small(digits)
    with fusion.Server(plan) as server:
        once = fusion.Client(plan, server.address).predict(queries, public, **SMALL).report["batch"]["positions"]
    with fusion.Server(plan, positions=once, budget=tmp_path / "budget.redb") as server:
        client = fusion.Client(plan, server.address, ledger=tmp_path / "ledger.redb")
        first = client.predict(queries, public, **SMALL)
        assert first.report["ledger"]["session"] == 1
        with pytest.raises(fusion.PeerError, match="budget"):
            client.predict(queries, public, **SMALL)
    with pytest.raises(fusion.UsageError, match="positions="):
        fusion.Server(plan, budget=tmp_path / "other.redb")


def test_control_c_ends_a_session_with_a_silent_server(plan, digits):
    queries, public = small(digits)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = fusion.Client(plan, "127.0.0.1:%d" % silent.getsockname()[1])
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            client.predict(queries, public, **SMALL)
        assert time.monotonic() - began < 10
        # The connection is closed, not left to time out.
        peer, _ = silent.accept()
        peer.settimeout(10)
        while peer.recv(1 << 16):
            pass


def test_a_stopped_server_lets_nobody_wait(plan):
    server = fusion.Server(plan)
    assert server.is_running
    server.stop()
    server.stop()
    assert not server.is_running
    with pytest.raises(fusion.PeerError):
        fusion.Client(plan, server.address, timeout=0.3).ask()


def test_other_threads_go_on_while_a_session_runs(plan, digits):
    queries, public = small(digits)
    ticks, stop = [0], threading.Event()

    def tick():
        while not stop.is_set():
            ticks[0] += 1
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    with fusion.Server(plan) as server:
        fusion.Client(plan, server.address).predict(queries, public, **SMALL)
    stop.set()
    ticker.join()
    assert ticks[0] > 10
