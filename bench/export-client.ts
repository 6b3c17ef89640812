/** Downloads an export and prints how many lines it had: `node bench/export-client.ts URL ADMIN_KEY`. */
const [url = '', key = ''] = process.argv.slice(2)
const response = await fetch(`${url}/audit/export?format=ndjson`, { headers: { 'x-admin-key': key } })
let lines = 0
for await (const chunk of response.body ?? []) for (const byte of chunk) if (byte === 10) lines++
console.log(lines)
