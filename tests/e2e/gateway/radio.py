"""A BLE link between a sensor and its gateway: two virtual controllers of Bumble, on one virtual air.

The sensor is a peripheral with one GATT service, the gateway a central that connects and subscribes. What
a program sends into its socket goes over the air in packets of at most ATT_MTU - 3 bytes, as notifications
up and writes down. Says where the sensor's socket is, and of each link that ended what went over it.

    radio.py GATEWAY_HOST:PORT
"""

import asyncio
import json
import sys

from bumble import hci
from bumble.controller import Controller
from bumble.device import Device, Peer
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink

SENSOR = hci.Address("F0:F1:F2:F3:F4:F5")
GATEWAY = hci.Address("F5:F4:F3:F2:F1:F0")
SERVICE = "a95c0001-9ad7-4a5e-9a33-6f2c1d5b7e10"
DOWN = "a95c0002-9ad7-4a5e-9a33-6f2c1d5b7e10"
UP = "a95c0003-9ad7-4a5e-9a33-6f2c1d5b7e10"
MTU = 247
OVERHEAD = 3


def say(**fields):
    print(json.dumps(fields), flush=True)


def device(name, address, air):
    controller = Controller(f"{name}'s controller", link=air)
    controller.random_address = address
    made = Device.with_hci(name, address, controller, AsyncPipeSink(controller))
    controller.set_packet_sink(made.host)
    return made


class Sensor:
    """The peripheral, and the socket of the program behind it."""

    def __init__(self, air):
        self.device = device("sensor", SENSOR, air)
        self.turn = asyncio.Lock()
        self.writer = None
        down = Characteristic(
            DOWN,
            Characteristic.Properties.WRITE,
            Characteristic.WRITEABLE,
            CharacteristicValue(write=lambda _, value: self.came(value)),
        )
        properties = Characteristic.Properties.NOTIFY
        self.up = Characteristic(UP, properties, Characteristic.READABLE, b"")
        self.device.add_service(Service(SERVICE, [down, self.up]))

    def came(self, value):
        self.packets.append(len(value))
        if self.writer:
            self.writer.write(value)

    async def serve(self, reader, writer):
        async with self.turn:
            self.writer, self.packets = writer, []
            try:
                await self.link(reader)
            finally:
                self.writer = None
                writer.close()
                if self.packets:
                    say(packets=len(self.packets), longest=max(self.packets))

    async def link(self, reader):
        subscribed, gone, connected = asyncio.Event(), asyncio.Event(), asyncio.Future()
        self.up.once("subscription", lambda *_: subscribed.set())
        self.device.once("connection", connected.set_result)
        await self.device.start_advertising(auto_restart=False)
        connection = await connected
        connection.once("disconnection", lambda _: gone.set())
        await either(subscribed.wait(), gone.wait())
        await either(self.pump(reader, connection), gone.wait())
        if not gone.is_set():
            await connection.disconnect()

    async def pump(self, reader, connection):
        while value := await reader.read(connection.att_mtu - OVERHEAD):
            self.packets.append(len(value))
            await self.device.notify_subscriber(connection, self.up, value)


class Gateway:
    """The central, and the sockets to the gateway's program: one for each link."""

    def __init__(self, air, host, port):
        self.device = device("gateway", GATEWAY, air)
        self.host, self.port = host, port

    async def run(self):
        while True:
            connection = await self.device.connect(SENSOR, timeout=None)
            gone = asyncio.Event()
            connection.once("disconnection", lambda _: gone.set())
            await either(self.link(connection), gone.wait())
            if not gone.is_set():
                await connection.disconnect()

    async def link(self, connection):
        peer = Peer(connection)
        await peer.request_mtu(MTU)
        await peer.discover_service(SERVICE)
        await peer.discover_characteristics()
        (up,) = peer.get_characteristics_by_uuid(Characteristic(UP, 0, 0).uuid)
        (down,) = peer.get_characteristics_by_uuid(Characteristic(DOWN, 0, 0).uuid)
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            await peer.subscribe(up, writer.write)
            while value := await reader.read(connection.att_mtu - OVERHEAD):
                await peer.write_value(down, value, with_response=True)
        finally:
            writer.close()


async def either(*works):
    """Waits for the first of these, and gives the others up."""
    tasks = [asyncio.ensure_future(work) for work in works]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        if error := task.exception():
            print(f"link ended: {error!r}", file=sys.stderr, flush=True)


async def main(gateway):
    host, port = gateway.rsplit(":", 1)
    air = LocalLink()
    sensor, gateway = Sensor(air), Gateway(air, host, int(port))
    await sensor.device.power_on()
    await gateway.device.power_on()
    listener = await asyncio.start_server(sensor.serve, "127.0.0.1", 0)
    say(sensor="127.0.0.1:%d" % listener.sockets[0].getsockname()[1])
    await gateway.run()


asyncio.run(main(sys.argv[1]))
