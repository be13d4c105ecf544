// /rpp/snapshots/1.0.0 for js-libp2p: one JSON document each way on a stream of its own, each side closes its half after it.
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

export const PROTOCOL = '/rpp/snapshots/1.0.0'
export const REQUEST_BOUND = 64 * 1024
const RESPONSE_BOUND = 8 * 1024 * 1024

export const start = listen => createLibp2p({
  addresses: { listen },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify() }
})

// Reads until the other side closes its half, and parses the document. A lost connection looks like a clean end, so only
// parsing tells whether the message is complete: the beginning of a document does not parse.
export async function read (stream, bound) {
  const pieces = []
  let length = 0
  for await (const piece of stream) {
    pieces.push(piece.subarray())
    length += piece.byteLength
    if (length > bound) throw new Error(`a message of more than ${bound} bytes`)
  }
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(pieces)))
}

export async function write (stream, message) {
  const bytes = Buffer.from(JSON.stringify(message))
  for (let at = 0; at < bytes.length; at += 65536) {
    if (!stream.send(bytes.subarray(at, at + 65536))) await stream.onDrain()
  }
  await stream.close() // its half of it
}

// A consumer's session: one request after the other.
export class Session {
  constructor (node, address) {
    this.node = node
    this.address = multiaddr(address)
    this.id = 1 + Math.floor(Math.random() * (2 ** 53 - 2))
  }

  async ask (type, fields) {
    const stream = await this.node.dialProtocol(this.address, PROTOCOL)
    await write(stream, { type, session_id: this.id, ...fields })
    const answer = await read(stream, RESPONSE_BOUND)
    if (answer.type !== type || answer.session_id !== this.id) {
      throw new Error(`${type} was answered by ${JSON.stringify(answer).slice(0, 200)}`)
    }
    return answer
  }

  // Fetches everything that a mirror needs: the plan, all updates, all chunks with their proofs.
  async fetch (chunkSize) {
    const plan = await this.ask('plan', { chunk_size: chunkSize })
    const updates = []
    for (let index = 0; index < plan.plan.total_updates; index++) {
      updates.push(await this.ask('light_client_update', { update_index: index }))
    }
    const chunks = []
    for (let index = 0; index < plan.plan.total_chunks; index++) {
      chunks.push(await this.ask('chunk', { chunk_index: index }))
    }
    await this.ask('ack', { kind: 'light_client_update', index: updates.length - 1 })
    await this.ask('ack', { kind: 'chunk', index: chunks.length - 1 })
    return { plan, updates, chunks }
  }
}
