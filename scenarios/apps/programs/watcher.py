"""Prints the messages about the device: watcher.py HOST."""

import sys

import paho.mqtt.client as mqtt

client = mqtt.Client("watcher")
client.on_connect = lambda *_: client.subscribe("device/state")
client.on_subscribe = lambda *_: print("watching", flush=True)
client.on_message = lambda _client, _data, message: print(f"device {message.payload.decode()}", flush=True)
client.connect(sys.argv[1], keepalive=60)
client.loop_forever()
