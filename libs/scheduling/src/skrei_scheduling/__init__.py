"""The scheduler as a pure function of a view: placement, settlement, reasons.

`view` holds what the leader knows (`nodes`, `labels`, `waiting` beside it) · `schedule` turns evaluations into a `plan`
(`reconcile` → `feasibility` → `ranking`, with `explain` and `reasons`) · `settle` and `membership` turn facts, silence
and returns into changes · all of them write through one `builder` (over `draft`) into `changes`.
"""
