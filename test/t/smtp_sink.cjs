// A mail server for 019_mailer.pl.  Accepts mails, and appends a line of JSON for
// each to a file before it says so.  Two kinds of recipients are special: once@...
// is refused the first time, never@... each time, by a server that quotes the mail.
//
//     node smtp_sink.cjs FILE [PORT]      prints its port when it is ready

const { appendFileSync } = require('node:fs')
const { createServer } = require('node:net')

const [file, port] = process.argv.slice(2)
const refused = new Set()

// The answer to a mail.
function receive(mail) {
  const id = /^Message-ID: <(.*)@/im.exec(mail.text)?.[1]
  const token = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(mail.text.split('\r\n\r\n')[1])?.[0]
  if (mail.to.startsWith('never@')) return `554 rejected: ${token}`
  if (mail.to.startsWith('once@') && !refused.has(id)) {
    refused.add(id)
    return '451 come again'
  }
  appendFileSync(file, JSON.stringify({ sender: mail.sender, to: mail.to, id, token }) + '\n')
  return '250 accepted'
}

// One line of the dialogue; the state is in the mail.
function answer(mail, line) {
  if (mail.data) {
    if (line !== '.') {
      mail.text += line + '\r\n'
      return null
    }
    mail.data = false
    return receive(mail)
  }
  const [, verb, argument] = /^(\w*) ?(.*)$/.exec(line)
  switch (verb.toUpperCase()) {
    case 'EHLO': case 'HELO': mail.sender = argument; return '250 sink'
    case 'MAIL': mail.text = ''; return '250 ok'
    case 'RCPT': mail.to = /<(.*)>/.exec(argument)[1]; return '250 ok'
    case 'DATA': mail.data = true; return '354 go on'
    case 'RSET': case 'NOOP': return '250 ok'
    case 'QUIT': return '221 bye'
    default: return '502 what?'
  }
}

const server = createServer(socket => {
  const mail = { data: false, text: '' }
  let buffer = ''
  socket.setEncoding('utf8')
  socket.on('error', () => {})                            // a mailer was killed
  socket.on('data', chunk => {
    const lines = (buffer + chunk).split('\r\n')
    buffer = lines.pop()
    for (const line of lines) {
      const reply = answer(mail, line)
      if (reply !== null) socket.write(reply + '\r\n')
      if (reply?.startsWith('221')) socket.end()
    }
  })
  socket.write('220 sink\r\n')
})
server.listen(Number(port ?? 0), '127.0.0.1', () => console.log(server.address().port))
