"""What a student costs and what it keeps: teacher, student and baseline measured side by side on the same rows."""

from hfdistill.report.cost import size_of
from hfdistill.report.failures import Attempts
from hfdistill.report.figures import TRAINED_ROLES, Comparison, ModelFigures
from hfdistill.report.timing import device_name

__all__ = ["TRAINED_ROLES", "Attempts", "Comparison", "ModelFigures", "device_name", "size_of"]
