// node client.mjs PROVIDER FILE [CHUNK-SIZE]
// Streams a snapshot into FILE and checks it against the root that the plan names. Who vouches for that root (the commitment
// chain, its signatures and the recursive proof) is not checked here: docs/protocol.md says how.
import { blake3 } from '@noble/hashes/blake3.js'
import { writeFile } from 'node:fs/promises'
import { Session, start } from './session.mjs'

const [provider, file, chunkSize = '1048576'] = process.argv.slice(2)
const node = await start([])
const begun = Date.now()
const { plan, chunks } = await new Session(node, provider).fetch(Number(chunkSize))
const seconds = (Date.now() - begun) / 1000
const payload = Buffer.concat(chunks.map(answer => Buffer.from(answer.chunk, 'base64')))
const root = Buffer.from(blake3(payload)).toString('hex')
if (root !== plan.plan.snapshot.state_root) throw new Error(`the payload's root is ${root}`)
await writeFile(file, payload)
console.log(JSON.stringify({ root, bytes: payload.length, chunk_size: plan.plan.chunk_size, seconds }))
await node.stop()
process.exit()
