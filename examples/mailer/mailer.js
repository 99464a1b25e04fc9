// Mails password reset tokens, for the events of the outside reactor "mailer".
//
// Start as many of these as you like, behind any pooler: each fetches other users' events. An event is this program's
// until it settles it or the lease ends. If it dies in between, another one sends the mail, perhaps again: the Message-ID
// is the event's, so a repeated mail can be told.

import { setTimeout as sleep } from 'node:timers/promises'
import nodemailer from 'nodemailer'
import pg from 'pg'

const BATCH = 10
// SIGTERM takes as long as a fetch waits; a wait costs nothing but its connection.
const WAIT = process.env.WAIT ?? '10s'
// Longer than it can take to send a batch, which the SMTP time-outs limit.
const LEASE = process.env.LEASE ?? '1min'

// PGHOST, PGDATABASE, ... say where; query_timeout notices a server that has vanished.
const pool = new pg.Pool({ application_name: 'mailer', max: 2, keepAlive: true, query_timeout: 60_000 })
pool.on('error', error => console.error(`idle connection: ${error.message}`))

const smtp = nodemailer.createTransport({
  url: process.env.SMTP_URL ?? 'smtp://localhost:25',
  connectionTimeout: 10_000, greetingTimeout: 10_000, socketTimeout: 10_000
})

let stopping = false
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => { stopping = true })

// Is it the connection, the server or the load, and not the statement? What is no error of the server is the socket's.
function passes(error) {
  return !(error instanceof pg.DatabaseError) || /^(08|40|53|57P|25006)/.test(error.code)
}

// Runs a statement, however often the connection is lost. Each may run twice, since the answer may be what was lost: an
// event that was fetched for nobody comes again when its lease ends.
async function query(text, values) {
  for (let pause = 100; ; pause = Math.min(2 * pause, 10_000)) {
    try {
      return (await pool.query(text, values)).rows
    } catch (error) {
      if (stopping || !passes(error)) throw error
      console.error(`${error.message}: trying again in ${pause} ms`)
      await sleep(pause)
    }
  }
}

function sendToken(event) {
  return smtp.sendMail({
    from: 'goes <no-reply@example.com>',
    to: event.data.email,
    subject: 'Your new password',
    messageId: `<${event.id}@example.com>`,
    text: `Use this to set a new password: ${event.transient.token}\n`
  })
}

// The server crashed or restarted before the mail was sent, so nobody knows the token. Withdraw it for a new one, which
// comes as the next event of this user.
function replaceToken(event) {
  return query("SELECT goes_do('user.replace_reset_token', $1, jsonb_build_object('reset_token_hash', $2::text))",
    [event.aggregate_id, event.data.reset_token_hash])
}

async function handle(event) {
  let failure = null
  try {
    await (event.transient === null ? replaceToken(event) : sendToken(event))
  } catch (error) {
    // It comes again later; after too many attempts it is a dead letter. The message may quote the mail, so it is not
    // logged here; the server takes the token out of it.
    failure = error.message
  }
  await query('SELECT goes_settle($1, ARRAY[$2::bigint], $3)', ['mailer', event.position, failure])
  console.log(`${failure !== null ? 'failed' : event.transient === null ? 'replaced' : 'mailed'} ${event.position}`)
}

// One event of a user at a time is fetched, so mails may be sent at once and are still in order for each user.
while (!stopping) {
  const events = await query('SELECT * FROM goes_fetch($1, $2, $3, $4)', ['mailer', BATCH, LEASE, WAIT])
  await Promise.all(events.map(handle))
}
await pool.end()
