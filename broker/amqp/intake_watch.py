"""Whether anybody takes referrals in: without a worker they wait in RabbitMQ, and no clock is watched, while all servers are well."""

from broker.amqp.queue_state import QueueState, read_queues
from broker.amqp.settings import AmqpSettings
from broker.amqp.topology import INTAKE_QUEUES
from schemas.errors import DependencyUnavailable


class NoWorker(DependencyUnavailable):
    """An intake queue is taken from by nobody."""

    code = "no-worker"
    public_message = "No worker takes referrals in. They wait, and clocks are not watched, until one is started: safelane hub worker."


class IntakeWatch:
    """Looks at the intake queues, and keeps what it saw last by lane; nothing where RabbitMQ did not answer."""

    def __init__(self, settings: AmqpSettings) -> None:
        """Start without having looked."""
        self._settings = settings
        self.lanes: dict[str, QueueState] = {}

    @property
    def workers(self) -> int:
        """How many processes took from every lane at the last look."""
        return min((state.consumers for state in self.lanes.values()), default=0)

    async def look(self) -> None:
        """Look at both queues.

        Raises:
            BrokerUnavailable: RabbitMQ does not answer.
        """
        self.lanes = {}
        states = await read_queues(self._settings, INTAKE_QUEUES.values())
        self.lanes = {lane: states[queue] or QueueState(0, 0) for lane, queue in INTAKE_QUEUES.items()}

    def require_worker(self) -> None:
        """Raise ``NoWorker`` where the last look found nobody at one of the lanes."""
        if not self.workers:
            raise NoWorker
