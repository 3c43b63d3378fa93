"""The metrics: requests by route template, and ledger totals only if they could be read."""

from marketing_service.api.metrics import Metrics
from marketing_service.store.states import SendStatus
from marketing_service.store.stats import LedgerStats


def test_requests_are_counted_by_template_method_and_class_of_status() -> None:
    metrics = Metrics()
    metrics.request("/x/{id}", "GET", 204, 0.01)
    metrics.request("/x/{id}", "BREW", 405, 0.01)
    text = metrics.exposition(None).decode()
    assert 'marketing_http_requests_total{method="GET",route="/x/{id}",status="2xx"} 1.0' in text
    assert 'marketing_http_requests_total{method="other",route="/x/{id}",status="4xx"} 1.0' in text
    assert 'marketing_http_request_seconds_count{route="/x/{id}"} 2.0' in text


def test_ledger_totals_are_shown() -> None:
    stats = LedgerStats({SendStatus.DELIVERED: 7, SendStatus.QUEUED: 2}, 12.5, 3)
    lines = Metrics().exposition(stats).decode().splitlines()
    assert 'marketing_sends{status="DELIVERED"} 7.0' in lines
    assert "marketing_oldest_due_seconds 12.5" in lines
    assert "marketing_opt_outs_pending 3.0" in lines
    assert "marketing_ledger_up 1.0" in lines


def test_without_postgresql_the_ledger_totals_are_left_out() -> None:
    text = Metrics().exposition(None).decode()
    assert "marketing_ledger_up 0.0" in text
    assert "marketing_sends" not in text
    assert "marketing_oldest_due" not in text


def test_the_memory_of_the_process_is_shown() -> None:
    text = Metrics().exposition(None).decode()
    assert "\nprocess_resident_memory_bytes " in text
    assert "\nprocess_start_time_seconds " in text


def test_two_applications_do_not_share_counters() -> None:
    one, other = Metrics(), Metrics()
    one.opens_lost.inc()
    assert "marketing_opens_lost_total 1.0" in one.exposition(None).decode()
    assert "marketing_opens_lost_total 0.0" in other.exposition(None).decode()
