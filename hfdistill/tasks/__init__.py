"""One folder a task, all with the same roles: data, metrics, report, demo."""
