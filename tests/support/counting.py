"""What the counters of this process say."""

import prometheus_client


def counted(name: str, **labels: str) -> float:
    """Read what a counter stands at."""
    return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0
