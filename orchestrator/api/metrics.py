"""Figures in the form that Prometheus reads: base units, names that say what they count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from orchestrator.domain.figures import Duration, Figures

MICROS = 1_000_000
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Shown(Collector):
    """Gives the registry what one look saw."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def render(figures: Figures, slots: Mapping[str, int]) -> bytes:
    """Return the exposition of one look; `slots` are limits per model."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(list(make_metrics(figures, slots))))
    return generate_latest(registry)


def make_metrics(figures: Figures, slots: Mapping[str, int]) -> Iterable[Metric]:
    """Yield every metric that there is."""
    yield _labelled("jobs", "Jobs by state.", ("state", "kind", "model"), figures.jobs.items())
    failures = [([code], count) for code, count in figures.failures.items()]
    yield _labelled("jobs_failed", "Jobs that are failed, by code.", ("code",), failures)
    yield _summary("queue_wait_seconds", "From acceptance to the provider's acceptance.", figures.queue_waits)
    yield _summary(
        "provider_duration_seconds", "From the paid call to the provider's last word.", figures.provider_times
    )
    yield _gauge(
        "queue_oldest_age_seconds", "Age of the oldest queued job.", _age(figures.at, figures.oldest_queued_at)
    )
    if figures.soonest_expiry_at is not None:
        left = (figures.soonest_expiry_at - figures.at).total_seconds()
        yield _gauge("archive_time_left_seconds", "Until the first link of an unarchived output ends.", left)
    cost = CounterMetricFamily("orchestrator_cost", "What is known to have been paid.", labels=["currency"])
    for currency, micros in figures.cost_micros.items():
        cost.add_metric([currency], micros / MICROS)
    yield cost
    yield _gauge("submissions_unknown", "Paid calls that nobody can explain.", figures.unknown_count)
    models = [model for model in slots if model != "*"]
    held = [([model], figures.slots_held.get(model, 0)) for model in models]
    yield _labelled("slots_in_use", "Requests in flight.", ("model",), held)
    yield _labelled("slots_limit", "How many may be in flight.", ("model",), [([m], slots[m]) for m in models])
    paused = [([pause.model or "*"], (pause.until - figures.at).total_seconds()) for pause in figures.pauses]
    yield _labelled("pause_left_seconds", "How long a pause lasts; * is the whole account.", ("model",), paused)


def _age(now: datetime, since: datetime | None) -> float:
    return max((now - since).total_seconds(), 0.0) if since is not None else 0.0


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"orchestrator_{name}", words, value=value)


def _labelled(name: str, words: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]) -> Metric:
    metric = GaugeMetricFamily(f"orchestrator_{name}", words, labels=labels)
    for of, value in values:
        metric.add_metric(of, value)
    return metric


def _summary(name: str, words: str, durations: Sequence[Duration]) -> Metric:
    metric = SummaryMetricFamily(f"orchestrator_{name}", words, labels=["kind", "model"])
    for one in durations:
        metric.add_metric([one.kind, one.model], count_value=one.count, sum_value=one.total_seconds)
    return metric
