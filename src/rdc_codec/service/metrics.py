"""What a service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Holds the counters of one service in a registry of their own.

    waiting, working: tell, when they are called, how many requests wait for their turn and how many are coded.
    """

    def __init__(self, waiting: Callable[[], int], working: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("rdc_requests", "Requests answered", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "rdc_request_seconds",
            "From a request's first byte to the last one of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.codec_seconds = Histogram(
            "rdc_codec_seconds",
            "From when a request had its turn until its result was there",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.received = Counter("rdc_received_bytes", "Bytes of bodies", ["route"], registry=registry)
        self.sent = Counter("rdc_sent_bytes", "Bytes of answers", ["route"], registry=registry)
        self.pixels = Counter("rdc_pixels", "Pixels of pictures coded", ["route"], registry=registry)
        Gauge("rdc_waiting_requests", "Requests that wait for their turn", registry=registry).set_function(
            waiting
        )
        Gauge("rdc_working_requests", "Requests that are being coded", registry=registry).set_function(
            working
        )
