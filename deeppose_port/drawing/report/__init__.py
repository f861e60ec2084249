"""Reports: one HTML page that holds everything, made of evaluations and comparisons."""

from deeppose_port.drawing.report.pages import refuse_existing, write_comparison, write_evaluation, write_side_by_side

__all__ = ["refuse_existing", "write_comparison", "write_evaluation", "write_side_by_side"]
