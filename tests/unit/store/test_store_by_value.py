"""Which commits of one job give their values one by one: few enough forms for all of them to stay prepared."""

import itertools

from skrei_store.believed import LONE_HISTORY, by_value
from skrei_store.parts import EXECUTIONS, EXECUTIONS_NEW, HISTORY, JOBS, NODES, RESULTS

MOST = 4


def test_a_combination_of_parts_has_few_statements() -> None:
    for parts in [(EXECUTIONS, RESULTS, JOBS, HISTORY, NODES), (JOBS, HISTORY, EXECUTIONS_NEW), (EXECUTIONS, NODES)]:
        forms = [
            dict(zip(parts, rows, strict=True))
            for rows in itertools.product(range(1, MOST + 1), repeat=len(parts))
            if by_value([(part, [()] * count) for part, count in zip(parts, rows, strict=True)])
        ]
        assert len(forms) == (LONE_HISTORY if HISTORY in parts else 1)
        assert all(count == 1 for form in forms for part, count in form.items() if part is not HISTORY)
