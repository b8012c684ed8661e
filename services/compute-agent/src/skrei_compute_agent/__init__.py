"""One node: stages inputs, runs engines, journals, reports."""
