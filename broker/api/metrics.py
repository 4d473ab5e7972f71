"""Prometheus metrics of the API: counts and times by route template, never an id, an agency or content."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class ApiMetrics:
    """The API's own collector registry, so that two applications in one process do not mix."""

    def __init__(self) -> None:
        """Make the collectors."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "safelane_api_requests", "Requests answered", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram("safelane_api_request_seconds", "Time to answer", ["route"], registry=self.registry)
        self.planned = Counter(
            "safelane_api_planned_deliveries", "Deliveries in plans", ["outcome"], registry=self.registry
        )
        self.refused = Counter("safelane_api_refused_callers", "Requests without a valid token", registry=self.registry)
        self.directory_seconds = Gauge(
            "safelane_directory_expires_in_seconds", "Time until the directory expires", registry=self.registry
        )
        self.unwitnessed = Gauge(
            "safelane_log_unwitnessed_entries", "Entries that no quorum of witnesses covers", registry=self.registry
        )
        self.checkpoint_age = Gauge(
            "safelane_log_checkpoint_age_seconds", "Age of the newest checkpoint", registry=self.registry
        )
        self.lock_held = Gauge(
            "safelane_log_lock_held_seconds",
            "How long one session has been seen to hold the log's lock; an append needs milliseconds",
            registry=self.registry,
        )
        self.timestamps_late = Gauge(
            "safelane_log_timestamps_late_seconds",
            "How long the oldest checkpoint without an outside timestamp is overdue; 0 in time or switched off",
            registry=self.registry,
        )
        self.projection_behind = Gauge(
            "safelane_audit_projection_behind_events",
            "Logged events that a search does not find yet",
            ["projection"],
            registry=self.registry,
        )
        self.projection_lag = Gauge(
            "safelane_audit_projection_lag_seconds",
            "Age of the last event that a search finds, against the log's last",
            ["projection"],
            registry=self.registry,
        )
        self.workers = Gauge(
            "safelane_intake_workers",
            "Worker processes that take referrals in; 0 also where RabbitMQ does not answer",
            registry=self.registry,
        )
        self.ready = Gauge("safelane_ready", "1 if the check passes", ["check"], registry=self.registry)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(route=route, status=str(status)).inc()
        self.seconds.labels(route=route).observe(seconds)
        if status == 401:
            self.refused.inc()

    def render(self) -> bytes:
        """Return the text exposition."""
        return generate_latest(self.registry)
