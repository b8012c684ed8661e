"""The scheduler as a pure function of a view: placement, settlement, reasons."""
