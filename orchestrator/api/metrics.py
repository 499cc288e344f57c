"""Figures in the form that Prometheus reads: base units, names that say what they count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from orchestrator.domain.figures import Duration, Figures, Totals
from orchestrator.domain.webhooks import DeliveryState
from orchestrator.services.models import EVERY_MODEL_ELSE

MICROS = 1_000_000
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Shown(Collector):
    """Gives the registry what one look saw."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def render(figures: Figures, totals: Totals, slots: Mapping[str, int]) -> bytes:
    """Return the exposition of one look; `slots` are the settings' limits per model, `*` for the rest."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(list(make_metrics(figures, totals, slots))))
    return generate_latest(registry)


def make_metrics(figures: Figures, totals: Totals, slots: Mapping[str, int]) -> Iterable[Metric]:
    """Yield every metric that there is."""
    yield from _of_jobs(figures, totals)
    yield from _of_durations(figures, totals)
    yield from _of_money(figures, totals)
    yield from _of_models(figures, slots)
    yield from _of_webhooks(figures, totals)


def _of_jobs(figures: Figures, totals: Totals) -> Iterable[Metric]:
    yield _labelled("jobs", "Jobs by state.", ("state", "kind", "model"), {**figures.jobs, **totals.jobs}.items())
    words = "Jobs that are failed, by code."
    yield _labelled("jobs_failed", words, ("code", "kind", "model"), totals.failures.items())


def _of_durations(figures: Figures, totals: Totals) -> Iterable[Metric]:
    yield _summary("queue_wait_seconds", "From acceptance to the provider's acceptance.", totals.queue_waits)
    yield _summary(
        "provider_duration_seconds", "From the paid call to the provider's last word.", totals.provider_times
    )
    words = "For how long at most the end of a task went unnoticed: since it was last known to run."
    yield _summary("notice_lag_seconds", words, totals.notice_lags)
    yield _gauge(
        "queue_oldest_age_seconds", "Age of the oldest queued job.", _age(figures.at, figures.oldest_queued_at)
    )
    words = "How long the most overdue question to the provider has been due; what is paused is not overdue."
    yield _gauge("poll_overdue_seconds", words, _age(figures.at, figures.oldest_poll_at))
    if figures.soonest_expiry_at is not None:
        left = (figures.soonest_expiry_at - figures.at).total_seconds()
        yield _gauge("archive_time_left_seconds", "Until the first link of an unarchived output ends.", left)


def _of_money(figures: Figures, totals: Totals) -> Iterable[Metric]:
    cost = CounterMetricFamily("orchestrator_cost", "What is known to have been paid.", labels=["currency"])
    for currency, micros in totals.cost_micros.items():
        cost.add_metric([currency], micros / MICROS)
    yield cost
    yield _gauge("submissions_unknown", "Paid calls that nobody can explain.", figures.unknown_count)


def _of_models(figures: Figures, slots: Mapping[str, int]) -> Iterable[Metric]:
    """An operator's limit stands above the settings'; a model that no setting names has the rest's."""
    limits = {**slots, **figures.slot_limits}
    models = sorted((set(limits) | set(figures.slots_held)) - {EVERY_MODEL_ELSE})
    held = [([model], figures.slots_held.get(model, 0)) for model in models]
    yield _labelled("slots_in_use", "Requests in flight.", ("model",), held)
    rest = slots.get(EVERY_MODEL_ELSE, 1)
    of_models = [([model], limits.get(model, rest)) for model in models]
    yield _labelled("slots_limit", "How many may be in flight.", ("model",), of_models)
    paused = [
        ([pause.model or EVERY_MODEL_ELSE], (pause.until - figures.at).total_seconds()) for pause in figures.pauses
    ]
    yield _labelled("pause_left_seconds", "How long a pause lasts; * is the whole account.", ("model",), paused)


def _of_webhooks(figures: Figures, totals: Totals) -> Iterable[Metric]:
    counts = [([state], totals.deliveries.get(state, 0)) for state in DeliveryState]
    yield _labelled("webhook_deliveries", "Deliveries by what has become of them.", ("state",), counts)
    words = "Age of the event that has waited longest for its endpoint."
    yield _gauge("webhook_oldest_pending_age_seconds", words, _age(figures.at, figures.oldest_delivery_at))
    words = "Endpoints whose last attempt failed."
    yield _gauge("webhook_endpoints_failing", words, figures.failing_endpoint_count)


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
