import pytest

import fusion


def test_the_cheapest_batch_of_a_policy():
    batch = fusion.soundness(1024)
    assert batch.queries == 1024 and batch.lambda_bits >= 40 and batch.positions == 1024 * batch.copies + batch.public
    assert batch.as_dict()["copies"] == batch.copies and "lambda_bits" in dir(batch)
    assert fusion.soundness(1024, lambda_bits=20).positions < batch.positions
    with pytest.raises(AttributeError):
        batch.nothing
    with pytest.raises(fusion.UsageError, match="public samples"):
        fusion.soundness(1, catch=0.001, available=10)
