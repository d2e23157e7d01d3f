// A certified identity provider (oidc-provider) with people who are told apart by a name alone. Prints its issuer.
//
// POST /control/gateway {url}: the gateway that signs people in here. POST /control/person {name, sub, groups, email,
// disabled}: somebody, or what has become of them.
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const people = new Map()
let answer = (_, response) => response.writeHead(503).end()

function providerFor (issuer, gateway) {
  const account = (sub) => [...people.values()].find((person) => person.sub === sub && !person.disabled)
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'sproxy',
      client_secret: process.argv[2],
      redirect_uris: [`${gateway}/auth/oidc/callback`],
      post_logout_redirect_uris: [`${gateway}/ui/login?done=signed-out`],
      backchannel_logout_uri: `${gateway}/auth/oidc/backchannel-logout`,
      grant_types: ['authorization_code', 'refresh_token']
    }],
    cookies: { keys: ['test'], names: { session: 'idp_session', interaction: 'idp_interaction', resume: 'idp_resume' } },
    claims: { openid: ['sub'], profile: ['preferred_username', 'groups'], email: ['email', 'email_verified'] },
    // Gateways are on this machine here, which it does not call otherwise.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true }
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    async findAccount (_, sub) {
      const person = account(sub)
      return person && { accountId: sub, claims: () => ({ ...person.claims, sub }) }
    },
    async loadExistingGrant (ctx) {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId
      })
      grant.addOIDCScope('openid profile email')
      await grant.save()
      return grant
    }
  })
  provider.use(async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next()
    if (ctx.method === 'GET') {
      ctx.type = 'html'
      ctx.body = '<!doctype html><title>Login</title><form method="post"><label>Name <input name="name"></label>' +
        '<button>Log in</button></form>'
      return
    }
    const person = people.get(new URLSearchParams(await text(ctx.req)).get('name'))
    const result = person && !person.disabled
      ? { login: { accountId: person.sub } }
      : { error: 'access_denied', error_description: 'nobody of that name may log in' }
    await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: false })
    ctx.respond = false
  })
  return provider.callback()
}

async function text (request) {
  let body = ''
  for await (const chunk of request) body += chunk
  return body
}

const server = createServer(async (request, response) => {
  if (request.method !== 'POST' || !request.url.startsWith('/control/')) return answer(request, response)
  const told = JSON.parse(await text(request))
  if (request.url === '/control/gateway') {
    answer = providerFor(issuer, told.url)
  } else {
    const { name, sub, disabled, ...claims } = told
    people.set(name, { sub, disabled, claims: { preferred_username: name, ...claims } })
  }
  response.end('{}')
})
await new Promise((resolve) => server.listen(Number(process.argv[3] ?? 0), '127.0.0.1', resolve))
const issuer = `http://127.0.0.1:${server.address().port}`
console.log(issuer)
