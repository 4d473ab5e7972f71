"""The yardstick: an ordinary aio-pika relay. It takes from one quorum queue, publishes to three with confirms, and acks each; no check, no database.

``python -m bench.relay`` reads one JSON line of settings on standard input and writes one JSON line: seconds and messages.
"""

import asyncio
import json
import resource
import ssl
import sys
import time
from typing import Any

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

PREFETCH = 500


async def relay(settings: dict[str, Any]) -> dict[str, float]:
    """Move ``count`` messages from ``source`` to each of ``targets``."""
    context = ssl.create_default_context(cafile=settings["ca_file"])
    context.check_hostname = False
    context.load_cert_chain(settings["cert_file"], settings["key_file"])
    url = URL.build(
        scheme="amqps",
        host=settings["host"],
        port=settings["port"],
        path=f"/{settings['vhost']}",
        query={"auth": "external"},
    )
    connection = await aio_pika.connect_robust(url, ssl_context=context)
    channel = await connection.channel(publisher_confirms=True)
    await channel.set_qos(prefetch_count=PREFETCH)
    exchange = await channel.get_exchange(settings["exchange"], ensure=False)
    queue = await channel.get_queue(settings["source"], ensure=False)
    count, left = settings["count"], settings["count"]
    started = 0.0
    done = asyncio.Event()

    async def move(message: AbstractIncomingMessage) -> None:
        nonlocal left, started
        if not started:
            started = time.perf_counter()
        await asyncio.gather(
            *(
                exchange.publish(
                    aio_pika.Message(message.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), routing_key=target
                )
                for target in settings["targets"]
            )
        )
        await message.ack()
        left -= 1
        if not left:
            done.set()

    await queue.consume(move)
    await asyncio.wait_for(done.wait(), 120)
    seconds = time.perf_counter() - started
    await asyncio.sleep(0.2)
    await connection.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "messages": count, "cpu_seconds": used.ru_utime + used.ru_stime}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(relay(json.loads(sys.stdin.readline())))))
