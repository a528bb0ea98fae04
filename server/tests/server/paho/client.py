"""An MQTT client of somebody else's (Eclipse Paho) that does what it is told, step by step.

Arguments: version (311 or 5), port, and the files of CA, certificate and key. Reads a JSON list of steps
on standard input, writes a JSON list of what came of each. Each step has its patience; nothing hangs.
"""

import json
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE_S = 20

version, port, ca, certificate, key = sys.argv[1:]
is_5 = version == "5"
events = {name: queue.Queue() for name in ["connect", "disconnect", "publish", "subscribe", "message"]}


def wait(name):
    try:
        return events[name].get(timeout=PATIENCE_S)
    except queue.Empty:
        return f"no {name}"


def code(reason):
    return reason.value


def make(client_id, clean):
    protocol = mqtt.MQTTv5 if is_5 else mqtt.MQTTv311
    kind = {} if is_5 else {"clean_session": clean}
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=protocol, **kind)
    client.tls_set(ca, certificate, key)
    client.on_connect = lambda _c, _u, flags, reason, _p: events["connect"].put(
        [code(reason), flags.session_present]
    )
    client.on_disconnect = lambda _c, _u, _f, reason, _p: events["disconnect"].put(code(reason))
    client.on_publish = lambda _c, _u, _m, reason, _p: events["publish"].put(code(reason))
    client.on_subscribe = lambda _c, _u, _m, reasons, _p: events["subscribe"].put(
        [code(reason) for reason in reasons]
    )
    client.on_message = lambda _c, _u, message: events["message"].put(
        [message.topic, message.payload.decode(), message.qos, message.dup]
    )
    return client


client = None


def connect(id, clean=True, expiry=0, will=None):
    global client
    client = make(id, clean)
    if will:
        client.will_set(will, "gone", qos=1)
    options = {}
    if is_5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = expiry
        options = {"clean_start": clean, "properties": properties}
    client.connect("localhost", int(port), keepalive=30, **options)
    client.loop_start()
    return wait("connect")


def publish(topic, payload, qos=1, retain=False):
    client.publish(topic, payload, qos, retain)
    return wait("publish")


def publish_and_lose(topic, payload, qos=1, retain=False):
    """For what the server answers by ending the connection."""
    # What was told before is not an answer.
    client.reconnect_delay_set(60, 60)
    client.publish(topic, payload, qos, retain)
    return wait("disconnect")


def subscribe(filter, qos=1):
    client.subscribe(filter, qos)
    return wait("subscribe")


def message():
    return wait("message")


def disconnect():
    client.disconnect()
    outcome = wait("disconnect")
    client.loop_stop()
    return outcome


def vanish():
    """Goes without a word."""
    client.loop_stop()
    client._sock_close()
    return "gone"


steps = {f.__name__: f for f in [connect, publish, publish_and_lose, subscribe, message, disconnect, vanish]}
for line in sys.stdin:
    step = json.loads(line)
    print(json.dumps(steps[step.pop("do")](**step)), flush=True)
