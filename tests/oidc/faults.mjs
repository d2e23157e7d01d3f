// An identity provider that does wrong as it is told (oauth2-mock-server). Prints its issuer, and where to tell it.
//
// POST {payload, header, remove, token, userinfo, redirect, id_token, new_key}: what tokens say, what answers hold, and what a
// browser is sent back with, instead, from now on. `id_token` is "tampered" (says something else than what was signed) or
// "unsigned"; with `new_key` tokens are signed with a key that was not there before.
import { createServer } from 'node:http'
import { OAuth2Server } from 'oauth2-mock-server'

const server = new OAuth2Server()
await server.issuer.keys.generate('RS256', { kid: 'one' })
await server.start(0, '127.0.0.1')

let faults = {}
server.service.on('beforeTokenSigning', (token) => {
  Object.assign(token.payload, { sub: 'somebody', preferred_username: 'somebody' }, faults.payload)
  Object.assign(token.header, faults.header)
  for (const claim of faults.remove ?? []) delete token.payload[claim]
})
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
server.service.on('beforeResponse', (answer) => {
  Object.assign(answer, faults.token)
  const [header, payload, signature] = answer.body?.id_token?.split('.') ?? []
  const claims = payload && JSON.parse(Buffer.from(payload, 'base64url'))
  if (faults.id_token === 'tampered') {
    answer.body.id_token = [header, encoded({ ...claims, sub: 'admin' }), signature].join('.')
  }
  if (faults.id_token === 'unsigned') answer.body.id_token = [encoded({ alg: 'none' }), payload, ''].join('.')
})
server.service.on('beforeUserinfo', (answer) => {
  answer.body = { sub: 'somebody', ...faults.userinfo }
})
server.service.on('beforeAuthorizeRedirect', (redirect) => {
  for (const [name, value] of Object.entries(faults.redirect ?? {})) redirect.url.searchParams.set(name, value)
})

const control = createServer(async (request, response) => {
  let body = ''
  for await (const chunk of request) body += chunk
  faults = JSON.parse(body)
  if (faults.new_key) {
    await server.issuer.keys.generate('RS256', { kid: 'two' })
    faults.header = { kid: 'two' }
  }
  response.end('{}')
})
await new Promise((resolve) => control.listen(0, '127.0.0.1', resolve))
console.log(server.issuer.url)
console.log(`http://127.0.0.1:${control.address().port}`)
