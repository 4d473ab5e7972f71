"""RabbitMQ access for the hub and for gateways: connection, batch publisher, batch consumer, topology as data, provisioning."""
