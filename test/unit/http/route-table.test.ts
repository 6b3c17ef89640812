import assert from 'node:assert/strict'
import test from 'node:test'
import { createRouteTable } from '../../../src/http/route-table.ts'

test('route table: tells which methods an address takes, and which addresses there are', () => {
  const routes = createRouteTable()
  routes.add('/charge-points', 'POST')
  routes.add('/charge-points', ['GET', 'HEAD'])
  routes.add('/charge-points/:cp_id', 'DELETE')
  routes.add('/docs/static/*', 'GET')
  assert.deepEqual(routes.methods('/charge-points'), ['GET', 'HEAD', 'POST'])
  assert.deepEqual(routes.methods('/charge-points/CP.1'), ['DELETE'])
  assert.deepEqual(routes.methods('/docs/static/a/b.js'), ['GET'])
  for (const path of ['/', '/charge-points/', '/charge-points/a/b', '/charge-pointsx', '/xcharge-points']) {
    assert.equal(routes.methods(path), undefined, path)
  }
})
