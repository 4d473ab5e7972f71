"""The embedded stack: PostgreSQL and RabbitMQ started and stopped on this machine, the demo, the samples."""
