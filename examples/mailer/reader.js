// Follows all events, without a reactor: a program that keeps its own position. Connect it to the server itself, or
// through a pooler in session mode: LISTEN belongs to a session.
//
//     node reader.js [position]

import pg from 'pg'

let position = process.argv[2] ?? '0'
const client = new pg.Client()
await client.connect()

async function read() {
  for (;;) {
    const { rows } = await client.query("SELECT * FROM goes_events('{*}', $1, 1000)", [position])
    if (rows.length === 0) return
    for (const event of rows) console.log(event.position, `${event.aggregate_type}.${event.action}`, event.data)
    position = rows.at(-1).position                       // store it with what you did
  }
}

// One read after the other; each notification means one more, for it may be about what the last one did not see.
let reading = Promise.resolve()
client.on('notification', () => { reading = reading.then(read) })
await client.query('LISTEN goes_events')                  // before the first read, so that nothing falls in between
reading = reading.then(read)
