"""Batches over Ray's workers. Ray is large, so it is not among the requirements of these tests:
`pip install ray` into their environment runs this file."""

import numpy as np
import pytest

import fusion

ray = pytest.importorskip("ray", reason="SKIPPED LOUDLY: Ray is not installed, so nothing of fusion.ray was tested")

import fusion.ray  # noqa: E402

POLICY = {"accuracy": 0.9, "catch": 0.6, "lambda_bits": 5}


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=6, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def small(digits):
    return digits["queries"][:4], (digits["public"][:40], digits["public_labels"][:40])


def test_parts_on_workers_are_one_batch(cluster, plan, digits, tmp_path):
    queries, public = small(digits)
    ledger = tmp_path / "ledger.redb"
    with fusion.ray.serve(plan, replicas=2, positions=1000, budget=tmp_path / "budget.redb") as servers:
        assert len(set(servers.addresses)) == 2 and servers.shared and servers.positions == 1000
        result = fusion.ray.predict(
            plan, queries, public, servers=servers.addresses, ledger=ledger, **POLICY
        )
        served = servers.sessions
    np.testing.assert_array_equal(result.labels, digits["query_labels"][:4])
    assert result.accepted and result.verdict["verified"]
    assert result.report["ledger"]["session"] == 1
    parts = result.report["shards"]
    assert [part["server"] for part in parts] == servers.addresses
    assert [part["positions"] for part in parts] == [one["batch"]["positions"] for (one,) in served]
    assert sum(part["positions"] for part in parts) == result.report["batch"]["positions"]
    sent, foretold = result.report["bytes"], result.report["predicted"]
    assert sent["client_to_server"] == foretold["client_to_server"]
    assert sent["server_to_client"] == foretold["server_to_client"]


def test_replicas_on_one_machine_share_a_clients_budget(cluster, plan, digits, tmp_path):
    queries, public = small(digits)
    options = {"servers": None, **POLICY}
    with fusion.ray.serve(plan, replicas=2) as servers:
        once = fusion.ray.predict(plan, queries, public, **{**options, "servers": servers.addresses})
    positions = once.report["batch"]["positions"]
    with fusion.ray.serve(plan, replicas=2, positions=positions, budget=tmp_path / "budget.redb") as servers:
        options["servers"] = servers.addresses
        assert fusion.ray.predict(plan, queries, public, **options).accepted
        with pytest.raises(fusion.PeerError, match=r"^[0-9.:]+ \(shard . of 2\): .*of this client's budget .* only 0 are left"):
            fusion.ray.predict(plan, queries, public, **options)


def test_a_part_that_fails_is_the_whole_batchs_failure(cluster, plan, digits, tmp_path):
    queries, public = small(digits)
    with fusion.ray.serve(plan) as servers:
        addresses = [*servers.addresses, "127.0.0.1:1"]
        # Who is not there when asked costs nothing.
        with pytest.raises(fusion.PeerError, match="cannot connect to 127.0.0.1:1"):
            fusion.ray.predict(
                plan, queries, public, servers=addresses, ledger=tmp_path / "l.redb", timeout=0.5, **POLICY
            )
        # A server that refuses its part when the other's has begun does.
        with fusion.ray.serve(plan, positions=1) as narrow:
            addresses = [*servers.addresses, *narrow.addresses]
            with pytest.raises(fusion.PeerError, match=rf"^.*{narrow.addresses[0]} \(shard 2 of 2\): .*at most 1$"):
                fusion.ray.predict(plan, queries, public, servers=addresses, ledger=tmp_path / "l.redb", **POLICY)
        after = fusion.ray.predict(
            plan, queries, public, servers=servers.addresses, ledger=tmp_path / "l.redb", **POLICY
        )
    assert after.report["ledger"]["session"] == 2


def test_a_lost_worker_is_a_failure_and_no_part_runs_again(cluster, plan, digits, tmp_path, monkeypatch):
    queries, public = small(digits)
    runs = tmp_path / "runs"
    runs.mkdir()

    def dying(program, part, server, options):
        import os
        import tempfile

        tempfile.mkstemp(dir=runs)
        os._exit(1)

    monkeypatch.setattr(fusion.ray, "_part", dying)
    with fusion.ray.serve(plan, replicas=2) as servers:
        with pytest.raises(fusion.PeerError, match=r"\(shard . of 2\): its worker failed"):
            fusion.ray.predict(plan, queries, public, servers=servers.addresses, **POLICY)
    assert 1 <= len(list(runs.iterdir())) <= 2


def test_more_parts_than_servers(cluster, plan, digits):
    queries, public = small(digits)
    with fusion.ray.serve(plan, sessions=2) as servers:
        result = fusion.ray.predict(plan, queries, public, servers=servers.addresses[0], shards=3, **POLICY)
    np.testing.assert_array_equal(result.labels, digits["query_labels"][:4])
    assert [part["server"] for part in result.report["shards"]] == servers.addresses * 3
    assert result.report["memory_peak_bytes"] is None


def test_arguments_that_make_no_sense_send_nothing(cluster, plan, digits):
    queries, public = small(digits)
    with pytest.raises(fusion.UsageError, match="at least one address"):
        fusion.ray.predict(plan, queries, public, servers=[], **POLICY)
    with pytest.raises(fusion.UsageError, match="cannot be cut"):
        fusion.ray.predict(plan, queries, public, servers=["127.0.0.1:1"], shards=10_000, **POLICY)
    with pytest.raises(fusion.UsageError, match="public="):
        fusion.ray.predict(plan, queries, servers=["127.0.0.1:1"])
    with pytest.raises(fusion.UsageError, match="positions="):
        fusion.ray.serve(plan, budget="budget.redb")
    with pytest.raises(fusion.UsageError, match="no machine of this Ray cluster has more than 6 CPUs"):
        fusion.ray.predict(plan, queries, public, servers=["127.0.0.1:1"], threads=7, **POLICY)
    with pytest.raises(fusion.UsageError, match="allow_plaintext"):
        fusion.ray.serve(plan, listen="0.0.0.0:0")
