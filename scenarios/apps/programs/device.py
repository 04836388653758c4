"""A device that reports nothing and has the last will `gone`: device.py HOST KEEPALIVE."""

import sys

import paho.mqtt.client as mqtt

client = mqtt.Client("device")
client.on_connect = lambda *_: print("connected", flush=True)
client.will_set("device/state", "gone")
client.connect(sys.argv[1], keepalive=int(sys.argv[2]))
while (code := client.loop()) == mqtt.MQTT_ERR_SUCCESS:
    pass
print(f"disconnected: {mqtt.error_string(code)}", flush=True)
sys.exit(3)
