import pytest

import fusion
import fusion.ray


def test_machines_help_until_the_uplink_is_full(plan):
    options = {"machines": (1, 10, 100, 1000, 10**9), "network": "lan", "accuracy": 0.9, "catch": 0.2}
    alike = fusion.ray.plan_scale(plan, 1000, spread=0, **options)
    assert [row["machines"] for row in alike.rows] == [1, 10, 100, 1000]
    assert alike.positions == fusion.soundness(1000, accuracy=0.9, catch=0.2, classes=10).positions
    times = [row["seconds"] for row in alike.rows]
    assert times == sorted(times, reverse=True) and times[0] > 5 * times[1]
    assert alike.rows[0]["speedup"] == 1 and alike.rows[2]["efficiency"] < alike.rows[1]["efficiency"] <= 1.01
    unlike = fusion.ray.plan_scale(plan, 1000, spread=0.5, **options)
    assert unlike.rows[3]["seconds"] > 2 * times[3]
    narrow = fusion.ray.plan_scale(plan, 1000, spread=0, uplink=10, **options)
    assert narrow.rows[3]["seconds"] == narrow.rows[3]["uplink_s"] and "the uplink" in repr(narrow)
    assert list(alike.to_pandas()["machines"]) == [1, 10, 100, 1000]


def test_what_makes_no_sense_is_refused(plan):
    with pytest.raises(fusion.UsageError, match="no part for each"):
        fusion.ray.plan_scale(plan, 10, machines=(10**9,), catch=0.2)
    with pytest.raises(fusion.UsageError, match="spread"):
        fusion.ray.plan_scale(plan, 10, spread=-1, catch=0.2)
    with pytest.raises(fusion.UsageError, match="network"):
        fusion.ray.plan_scale(plan, 10, network="fast", catch=0.2)
