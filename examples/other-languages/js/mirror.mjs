// node mirror.mjs PROVIDER LISTEN [CHUNK-SIZE]
// Fetches a snapshot once and serves it to everybody, in chunks of the size in which it came. Sessions live as long as the
// process; a real provider keeps their records on its disk (docs/protocol.md, "What a provider does").
import { PROTOCOL, REQUEST_BOUND, Session, read, start, write } from './session.mjs'

const [provider, listen, chunkSize = '1048576'] = process.argv.slice(2)
const node = await start([listen])
const { plan, updates, chunks } = await new Session(node, provider).fetch(Number(chunkSize))
const size = plan.plan.chunk_size
const sessions = new Map() // "peer session" -> { chunk, light_client_update }: what is acknowledged, as counts

function answer (peer, request) {
  const session_id = request.session_id
  const refuse = (code, message) => ({ type: 'error', session_id, code, message })
  const key = `${peer} ${session_id}`
  const acked = sessions.get(key)
  switch (request.type) {
    case 'plan':
      if ((request.min_chunk_size ?? 1) > size || (request.max_chunk_size ?? size) < size) {
        return refuse('invalid', `chunks are of ${size} bytes here`)
      }
      if ((request.root ?? plan.plan.snapshot.state_root) !== plan.plan.snapshot.state_root ||
          (request.height ?? plan.plan.snapshot.height) !== plan.plan.snapshot.height) {
        return refuse('not_found', 'no such snapshot')
      }
      sessions.set(key, { chunk: 0, light_client_update: 0 })
      return { ...plan, session_id, min_chunk_size: size, max_chunk_size: size }
    case 'error':
      sessions.delete(key)
      return refuse('cancelled', 'the session was cancelled')
  }
  if (acked == null) return refuse('not_found', `session ${session_id} is not open here`)
  switch (request.type) {
    case 'chunk':
      return request.chunk_index < chunks.length ? { ...chunks[request.chunk_index], session_id } : refuse('invalid', 'beyond the last chunk')
    case 'light_client_update':
      return request.update_index < updates.length ? { ...updates[request.update_index], session_id } : refuse('invalid', 'beyond the last update')
    case 'ack':
      if (request.kind !== 'plan') acked[request.kind] = Math.max(acked[request.kind], request.index + 1)
      return request
    case 'resume':
      if (request.plan_id !== plan.plan.plan_id) return refuse('plan_changed', `it streams plan ${plan.plan.plan_id}`)
      if (request.chunk_index < acked.chunk || request.update_index < acked.light_client_update) {
        return refuse('resume_regressed', `expected chunk ${acked.chunk} and update ${acked.light_client_update} or later`)
      }
      if (request.chunk_index > chunks.length || request.update_index > updates.length) {
        return refuse('resume_out_of_bounds', `there are ${chunks.length} chunks and ${updates.length} updates`)
      }
      return { ...request, chunk_size: size }
    default:
      return refuse('invalid', `${request.type} is no request`)
  }
}

await node.handle(PROTOCOL, async (stream, connection) => {
  try {
    const request = await read(stream, REQUEST_BOUND).catch(error => ({ unreadable: error.message }))
    await write(stream, request.unreadable == null
      ? answer(connection.remotePeer, request)
      : { type: 'error', session_id: 0, code: 'invalid', message: request.unreadable })
  } catch (error) {
    stream.abort(error)
  }
}, { maxInboundStreams: 16 })
console.log(`listening on ${node.getMultiaddrs()[0]}`)
