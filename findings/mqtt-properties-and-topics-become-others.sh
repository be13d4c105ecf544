#!/usr/bin/env bash
# MQTT.js and three other MQTT 5 clients lose properties of messages that they receive, and six clients send other packets than asked to.
#
# Guess: MQTT 5.0 allows several User Properties, with one name, too (3.3.2.3.7), and a Subscription Identifier for each subscription that
# matches (3.3.2.3.8). Its Four Byte Integers are unsigned (1.5.3); its strings may be empty, have their length in bytes, and keep a U+FEFF
# (1.5.4); a packet's length takes two bytes from 128 on (1.5.5, 2.1.4). In MQTT 3.1.1 a Will Message may be empty (3.1.3.3), and PUBCOMP
# begins with the byte 70 (2.2.2). So each client hands out all properties of a message, and others can read what it sends.
#
# Seen 2026-11-30 with mqtt 5.16.0 (MQTT.js), u8-mqtt 0.6.7 and @sap/xb-msg-mqtt-v311 0.9.17 of npm, zmqtt 0.2.5, moat-lib-mqtt 0.8.7, gmqtt
# 0.8.0, aio-mqtt-mod 0.4.0, aiomqttc 1.0.7 and twisted-mqtt 0.3.11 of PyPI, and no error; mqtt5 0.8.0 writes what they receive, mqtt-packet
# 9.0.2 reads what they send:
#
#   they receive note="", note="calm"       MQTT.js: only "calm", as its reader takes "" for no value; u8-mqtt and moat-lib-mqtt, too
#   unit="C", unit="K"                      u8-mqtt and moat-lib-mqtt: only "K"
#   the subscription identifiers 3, 200     u8-mqtt and zmqtt: only 200
#   an expiry after 4294967295 s            u8-mqtt: -1
#   a content type that begins with U+FEFF  u8-mqtt: without it
#   they send unit="C", place="roof"        u8-mqtt: "unit,C"="" and "place,roof"=""
#   23.5 to the topic gr\u00fcn              @sap/xb-msg-mqtt-v311: to gr\u00fc; aio-mqtt-mod: 23. and a byte that spoils the next packet
#   the end of a subscription to it         gmqtt: a packet that ends within the topic, and a byte that spoils the next one
#   the end, with a reason of 130 letters   gmqtt: a packet of 138 bytes that says it has 523, so nobody reads it
#   an empty will                           aiomqttc: no will
#   PUBCOMP                                 twisted-mqtt: 72 instead of 70, which a server must refuse
#
# So what strangers are to read goes into the payload; topics are ASCII, and a message has each user property once.
#
# Needs node with npm, python3 (3.11 or newer) with venv, a minute, and network for the package registries. Exits 1 when anything of this
# changes.
set -euo pipefail
work=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill "$broker"; rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix . mqtt@5.16.0 mqtt-packet@9.0.2 u8-mqtt@0.6.7 \
    @sap/xb-msg-mqtt-v311@0.9.17 >/dev/null
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mqtt5==0.8.0 zmqtt==0.2.5 moat-lib-mqtt==0.8.7 gmqtt==0.8.0 aio-mqtt-mod==0.4.0 \
    aiomqttc==1.0.7 twisted-mqtt==0.3.11
cat > make.py <<'PY'
from mqtt5 import PublishPacket
with open("messages", "w") as file:
    for name, options in [
        ('unit="C", place="roof"', {"user_properties": [("unit", "C"), ("place", "roof")]}),
        ('note="", note="calm"', {"user_properties": [("note", ""), ("note", "calm")]}),
        ('unit="C", unit="K"', {"user_properties": [("unit", "C"), ("unit", "K")]}),
        ("subscription 200", {"subscription_ids": [200]}),
        ("subscription 3, subscription 200", {"subscription_ids": [3, 200]}),
        ("expiry 60", {"message_expiry_interval": 60}),
        ("expiry 4294967295", {"message_expiry_interval": 2**32 - 1}),
        ('type "text"', {"content_type": "text"}),
        (r'type "\ufefftext"', {"content_type": "\ufefftext"})
    ]:
        print(f"{name}|{PublishPacket(topic='t', payload=b'23.5', **options).write().hex()}", file=file)
PY
cat > broker.cjs <<'JS'
const { createServer } = require('node:net')
const { appendFileSync, readFileSync, writeFileSync } = require('node:fs')
const messages = readFileSync('messages', 'utf8').trim().split('\n').map(line => Buffer.from(line.split('|')[1], 'hex'))
const frame = data => {
  let length = 0
  for (let at = 1; at < Math.min(data.length, 5); at++) {
    length += (data[at] & 0x7f) * 128 ** (at - 1)
    if (data[at] < 0x80) return data.length < at + 1 + length ? null : [at + 1, at + 1 + length]
  }
  return null
}
createServer(socket => {
  let data = Buffer.alloc(0)
  let client
  let five
  const log = bytes => appendFileSync('received', `${client} ${five ? 5 : 4} ${bytes.toString('hex')}\n`)
  socket.on('error', () => {})
  socket.on('data', chunk => {
    data = Buffer.concat([data, chunk])
    for (let found; (found = frame(data));) {
      const [body, end] = found
      const type = data[0] >> 4
      const id = data.toString('hex', body, body + 2)
      const answer = text => socket.write(Buffer.from(text, 'hex'))
      if (type === 1) {
        five = data[body + 6] === 5
        const at = body + 10 + (five ? 1 + data[body + 10] : 0)
        client = data.toString('utf8', at + 2, at + 2 + data.readUInt16BE(at))
        answer(five ? '2003000000' : '20020000')
      } else if (type === 8) {
        answer(five ? `9004${id}0000` : `9003${id}00`)
        for (const message of messages) socket.write(message)
      } else if (type === 10) {
        answer(five ? `b004${id}0000` : `b002${id}`)
      }
      log(data.subarray(0, end))
      data = data.subarray(end)
    }
  })
  socket.on('close', () => { if (data.length) log(data) })
}).listen(0, '127.0.0.1', function () { writeFileSync('port', String(this.address().port)) })
JS
cat > clients.py <<'PY'
import asyncio, contextlib, json, os, sys
host, port, name = "127.0.0.1", int(open("port").read()), sys.argv[1]
messages = [line.split("|") for line in open("messages").read().splitlines()]

def show(number, user=(), ids=(), expiry=None, content=None):
    texts = [f"{name}={json.dumps(value)}" for name, value in user] + [f"subscription {one}" for one in ids]
    texts += [f"expiry {expiry}"] * (expiry is not None) + [f"type {json.dumps(content)}"] * (content is not None)
    print(f"{messages[number][0]}|{name}|{', '.join(texts)}")

async def gmqtt():
    from gmqtt import Client
    read, all_read = [], asyncio.Event()
    def on_message(client, topic, payload, qos, properties):
        read.append(properties)
        if len(read) == len(messages):
            all_read.set()
    client = Client("gmqtt")
    client.on_message = on_message
    await client.connect(host, port)
    client.subscribe("t")
    await asyncio.wait_for(all_read.wait(), 20)
    await client.disconnect()
    for number, one in enumerate(read):
        first = {name: value[0] for name, value in one.items() if isinstance(value, list)}
        show(number, one.get("user_property", ()), one.get("subscription_identifier", ()), first.get("message_expiry_interval"),
             first.get("content_type"))
    for topic in ["grau", "gr\xfcn"]:
        client = Client("gmqtt")
        await client.connect(host, port)
        client.unsubscribe(topic)
        await asyncio.sleep(0.5)
        await client.disconnect()
    for length in [100, 130]:
        client = Client("gmqtt")
        await client.connect(host, port)
        await client.disconnect(reason_code=4, reason_string="x" * length)

async def zmqtt():
    from zmqtt import create_client
    async with create_client(host, port, version="5.0", client_id="zmqtt") as client:
        async with client.subscribe("t", subscription_identifier=200) as subscription:
            for number in range(len(messages)):
                one = (await asyncio.wait_for(subscription.get_message(), 20)).properties
                id = one.subscription_identifier
                show(number, one.user_properties, [] if id is None else [id], one.message_expiry_interval, one.content_type)

async def moat():
    global name
    name = "moat-lib-mqtt"
    from moat.lib.mqtt.client_state_machine import MQTTClientStateMachine
    from moat.lib.mqtt import PropertyType
    machine = MQTTClientStateMachine("moat")
    machine.connect()
    machine.feed_bytes(bytes.fromhex("2003000000"))
    for number, (_, data) in enumerate(messages):
        one, = machine.feed_bytes(bytes.fromhex(data))
        show(number, one.user_properties.items(), one.properties.get(PropertyType.SUBSCRIPTION_IDENTIFIER, ()),
             one.properties.get(PropertyType.MESSAGE_EXPIRY_INTERVAL), one.properties.get(PropertyType.CONTENT_TYPE))

async def aio():
    from aio_mqtt import Client, PublishableMessage
    for topic in ["grau", "gr\xfcn"]:
        client = Client()
        await client.connect(host, port, client_id="aio-mqtt-mod")
        await client.publish(PublishableMessage(topic_name=topic, payload="23.5"))
        await asyncio.sleep(0.5)
        await client.disconnect()

async def aiomqttc():
    from aiomqttc import MQTTClient
    for will in [b"gone", b""]:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            client = MQTTClient(client_id="aiomqttc", server=host, port=port, will_topic="t/will", will_message=will)
            await client.connect()
            await asyncio.sleep(0.5)
            await client.disconnect()

async def twisted():
    from mqtt.pdu import PUBCOMP, PUBREC
    with open("received", "a") as file:
        for packet in [PUBREC(), PUBCOMP()]:
            packet.msgId = 7
            print(f"twisted-mqtt 4 {packet.encode().hex()}", file=file)

asyncio.run(globals()[name]())
PY
cat > clients.mjs <<'JS'
import { readFileSync } from 'node:fs'
import mqtt from 'mqtt'
import xb from '@sap/xb-msg-mqtt-v311'
import { mqtt_v5 } from 'u8-mqtt'
const port = Number(readFileSync('port', 'utf8'))
const messages = readFileSync('messages', 'utf8').trim().split('\n').map(line => line.split('|')[0])
const ascii = value => JSON.stringify(value).replace(/[^\x20-\x7e]/g, one => '\\u' + one.charCodeAt(0).toString(16).padStart(4, '0'))
const wait = ms => new Promise(resolve => setTimeout(resolve, ms))
const list = value => value === undefined ? [] : [value].flat()
const show = (number, name, user = {}, ids, expiry, type) => {
  const texts = Object.entries(user).flatMap(([name, value]) => list(value).map(one => `${name}=${ascii(one)}`))
  texts.push(...list(ids).map(one => `subscription ${one}`), ...list(expiry).map(one => `expiry ${one}`))
  texts.push(...list(type).map(one => `type ${ascii(one)}`))
  console.log(`${messages[number]}|${name}|${texts.join(', ')}`)
}
const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 5, clientId: 'MQTT.js', reconnectPeriod: 0 })
let count = 0
client.on('message', (topic, payload, { properties: one }) =>
  show(count++, 'MQTT.js', one.userProperties, one.subscriptionIdentifier, one.messageExpiryInterval, one.contentType))
await client.subscribeAsync('t')
for (let time = 0; time < 200 && count < messages.length; time++) await wait(100)
await client.publishAsync('gr\xfcn', '23.5', { properties: { userProperties: { unit: 'C', place: 'roof' } } })
await client.unsubscribeAsync('gr\xfcn')
await client.endAsync({ reasonCode: 4, properties: { reasonString: 'x'.repeat(130) } })

const log = console.log
console.log = text => { if (typeof text === 'string' && !text.startsWith('[[u8-mqtt')) log(text) }
const other = mqtt_v5().with_tcp(port, '127.0.0.1')
await other.connect({ client_id: 'u8-mqtt' })
count = 0
other.subscribe_topic('t', ({ props: one }) =>
  show(count++, 'u8-mqtt', one.user_properties, one.subscription_identifier, one.message_expiry_interval, one.content_type))
for (let time = 0; time < 200 && count < messages.length; time++) await wait(100)
other.send('gr\xfcn', '23.5', { props: { content_type: 'text' } })
other.send('gr\xfcn', '23.5', { props: { user_properties: { unit: 'C', place: 'roof' } } })
await wait(500)
await other.disconnect()

const third = new xb.Client({ net: { host: '127.0.0.1', port }, mqtt: { clientID: 'xb-msg-mqtt-v311', cleanSession: true } })
await new Promise(resolve => third.on('connected', resolve).connect())
for (const topic of ['grau', 'gr\xfcn']) third.publish(topic, Buffer.from('23.5'), 0, false)
await wait(500)
third.disconnect()
await wait(500)
process.exit()
JS
cat > sent.cjs <<'JS'
const { readFileSync } = require('node:fs')
const { parser } = require('mqtt-packet')
const ascii = value => JSON.stringify(value).replace(/[^\x20-\x7e]/g, one => '\\u' + one.charCodeAt(0).toString(16).padStart(4, '0'))
for (const line of readFileSync('received', 'utf8').trim().split('\n')) {
  const [client, level, data] = line.split(' ')
  const bytes = Buffer.from(data, 'hex')
  const type = bytes[0] >> 4
  if (type === 1 && client !== 'aiomqttc' || type === 8 || client === 'zmqtt' || data === 'e000' || data === 'e0020000') continue
  let text = `${data.slice(0, 24)}, ${bytes.length} bytes that are no packet`
  const reader = parser({ protocolVersion: Number(level) })
  reader.on('error', error => { text = `${data}: ${error.message}` })
  reader.on('packet', ({ cmd, topic, payload, unsubscriptions, will, reasonCode, properties = {} }) => {
    const parts = [topic, unsubscriptions, payload && `${payload}`, properties.userProperties, properties.contentType]
    if (will) parts.push({ topic: will.topic, payload: `${will.payload}` })
    if (properties.reasonString) parts.push(`${reasonCode}, ${properties.reasonString.length} letters`)
    text = [cmd, ...parts.filter(part => part != null).map(ascii)].join(' ')
  })
  reader.parse(bytes)
  console.log(`${client} sends ${text}`)
}
JS
venv/bin/python make.py
node broker.cjs &
broker=$!
until [ -s port ]; do sleep 0.1; done
{
  for name in gmqtt zmqtt moat aio aiomqttc twisted; do venv/bin/python -W ignore clients.py $name; done
  node clients.mjs
} > read
{
  while IFS='|' read -r name data; do
    echo "$name, $data"
    grep -F "$name|" read | awk -F '|' -v name="$name" '$1 == name { print "  " $2 ": " $3 }'
  done < messages
  node sent.cjs
} | tee seen
diff seen - <<'SEEN' && echo "as it was"
unit="C", place="roof", 302000017418260004756e6974000143260005706c6163650004726f6f6632332e35
  gmqtt: unit="C", place="roof"
  zmqtt: unit="C", place="roof"
  moat-lib-mqtt: unit="C", place="roof"
  MQTT.js: unit="C", place="roof"
  u8-mqtt: unit="C", place="roof"
note="", note="calm", 301e000174162600046e6f746500002600046e6f7465000463616c6d32332e35
  gmqtt: note="", note="calm"
  zmqtt: note="", note="calm"
  moat-lib-mqtt: note="calm"
  MQTT.js: note="calm"
  u8-mqtt: note="calm"
unit="C", unit="K", 301c00017414260004756e6974000143260004756e697400014b32332e35
  gmqtt: unit="C", unit="K"
  zmqtt: unit="C", unit="K"
  moat-lib-mqtt: unit="K"
  MQTT.js: unit="C", unit="K"
  u8-mqtt: unit="K"
subscription 200, 300b000174030bc80132332e35
  gmqtt: subscription 200
  zmqtt: subscription 200
  moat-lib-mqtt: subscription 200
  MQTT.js: subscription 200
  u8-mqtt: subscription 200
subscription 3, subscription 200, 300d000174050b030bc80132332e35
  gmqtt: subscription 3, subscription 200
  zmqtt: subscription 200
  moat-lib-mqtt: subscription 3, subscription 200
  MQTT.js: subscription 3, subscription 200
  u8-mqtt: subscription 200
expiry 60, 300d00017405020000003c32332e35
  gmqtt: expiry 60
  zmqtt: expiry 60
  moat-lib-mqtt: expiry 60
  MQTT.js: expiry 60
  u8-mqtt: expiry 60
expiry 4294967295, 300d0001740502ffffffff32332e35
  gmqtt: expiry 4294967295
  zmqtt: expiry 4294967295
  moat-lib-mqtt: expiry 4294967295
  MQTT.js: expiry 4294967295
  u8-mqtt: expiry -1
type "text", 300f000174070300047465787432332e35
  gmqtt: type "text"
  zmqtt: type "text"
  moat-lib-mqtt: type "text"
  MQTT.js: type "text"
  u8-mqtt: type "text"
type "\ufefftext", 30120001740a030007efbbbf7465787432332e35
  gmqtt: type "\ufefftext"
  zmqtt: type "\ufefftext"
  moat-lib-mqtt: type "\ufefftext"
  MQTT.js: type "\ufefftext"
  u8-mqtt: type "text"
gmqtt sends unsubscribe ["grau"]
gmqtt sends a20900010000056772c3bc: Cannot parse topic
gmqtt sends 6ee0020000: Invalid header flag bits, must be 0x2 for pubrel packet
gmqtt sends disconnect "4, 100 letters"
gmqtt sends e0880485011f008278787878, 138 bytes that are no packet
aio-mqtt-mod sends publish "grau" "23.5"
aio-mqtt-mod sends publish "gr\u00fcn" "23."
aio-mqtt-mod sends 35e000, 3 bytes that are no packet
aiomqttc sends connect {"topic":"t/will","payload":"gone"}
aiomqttc sends connect
twisted-mqtt sends pubrec
twisted-mqtt sends 72020007: Invalid header flag bits, must be 0x0 for pubcomp packet
MQTT.js sends publish "gr\u00fcn" "23.5" {"unit":"C","place":"roof"}
MQTT.js sends unsubscribe ["gr\u00fcn"]
MQTT.js sends disconnect "4, 130 letters"
u8-mqtt sends publish "gr\u00fcn" "23.5" "text"
u8-mqtt sends publish "gr\u00fcn" "23.5" {"unit,C":"","place,roof":""}
xb-msg-mqtt-v311 sends publish "grau" "23.5"
xb-msg-mqtt-v311 sends publish "gr\u00fc" "23.5"
SEEN
