/**
 * deploy/kubernetes: valid by the API's own schemas, with no field that there is not (as `kubectl --validate=strict` has it), and in
 * agreement with the image, the settings, the limits and the routes of the service.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { type IStatefulSet, StatefulSet } from 'kubernetes-models/apps/v1'
import { type IJob, Job } from 'kubernetes-models/batch/v1'
import { type IPodDisruptionBudget, PodDisruptionBudget } from 'kubernetes-models/policy/v1'
import {
  type IContainer,
  type IPodSpec,
  type IProbe,
  type IService,
  Service,
  ServiceAccount,
} from 'kubernetes-models/v1'
import { parseAllDocuments } from 'yaml'
import { STOP_MS_MAX } from '../../src/cli/server-process.ts'
import { assertProduction, ROOT, read, settingsOf, statusesOf } from './deployed.ts'
import { argumentsOf, stages, variables } from './dockerfile.ts'

const FINAL = stages()[1] ?? assert.fail()
const IMAGE = variables(FINAL)
const [USER] = argumentsOf(FINAL, 'USER')[0]?.split(':').map(Number) ?? []

interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly labels: Record<string, string> }
}

const manifests = parseAllDocuments(read('deploy', 'kubernetes', 'ev-central.yaml')).map(document => {
  assert.deepEqual(document.errors, [])
  return document.toJS() as Manifest
})
const KINDS = { ServiceAccount, Service, PodDisruptionBudget, Job, StatefulSet }
const of = <T>(kind: keyof typeof KINDS, name = 'ev-central') =>
  manifests.find(manifest => manifest.kind === kind && manifest.metadata.name === name) as T

const set = of<IStatefulSet>('StatefulSet')
const job = of<IJob>('Job', 'ev-central-migrate')
const podOf = ({ spec }: IStatefulSet | IJob) => spec?.template.spec as IPodSpec
const instance = podOf(set).containers[0] as IContainer
const migrate = podOf(job).containers[0] as IContainer
const environmentOf = ({ env = [] }: IContainer) => Object.fromEntries(env.map(({ name, value = '' }) => [name, value]))

test('kubernetes: every manifest is valid by the schema of its kind', () => {
  assert.deepEqual(manifests.map(({ kind }) => kind).sort(), [...Object.keys(KINDS), 'Service'].sort())
  for (const manifest of manifests) {
    const Kind = KINDS[manifest.kind as keyof typeof KINDS]
    assert.equal(new Kind().apiVersion, manifest.apiVersion)
    new Kind(manifest as never).validate()
  }
})

test('kubernetes: no manifest has a field that its kind does not have', t => {
  // In a folder from where the compiler finds the types.
  const folder = join(ROOT, 'node_modules', '.cache', `evc-manifests-${process.pid}`)
  mkdirSync(folder, { recursive: true })
  t.after(() => rmSync(folder, { recursive: true }))
  const check = (checked: readonly object[]) => {
    const lines = checked.map((manifest, n) => {
      const { apiVersion, kind } = manifest as Manifest
      return `import type { I${kind} as K${n} } from 'kubernetes-models/${apiVersion}'\nexport const m${n}: K${n} = ${JSON.stringify(manifest)}`
    })
    writeFileSync(join(folder, 'manifests.ts'), lines.join('\n'))
    const options = '--ignoreConfig --noEmit --strict --skipLibCheck --target es2024 --module nodenext --types node'
    return spawnSync(join(ROOT, 'node_modules', '.bin', 'tsc'), [...options.split(' '), 'manifests.ts'], {
      cwd: folder,
      encoding: 'utf8',
    })
  }
  const done = check(manifests)
  assert.equal(done.status, 0, done.stdout)
  const misspelt = structuredClone(set) as { spec: { template: { spec: { containers: object[] } } } }
  misspelt.spec.template.spec.containers = [{ ...instance, livenesProbe: instance.livenessProbe }]
  assert.match(check([misspelt]).stdout, /livenesProbe/)
})

test('kubernetes: probes, services and budget meet the pods, at a port and addresses that there are', async () => {
  assert.deepEqual(instance.ports, [{ name: 'http', containerPort: Number(IMAGE.EVC_PORT) }])
  const probes = [instance.startupProbe, instance.livenessProbe, instance.readinessProbe] as IProbe[]
  for (const { httpGet } of probes) assert.equal(httpGet?.port, 'http')
  const paths = probes.map(({ httpGet }) => httpGet?.path ?? '')
  assert.deepEqual(paths, ['/health', '/health', '/health'])
  const annotations = set.spec?.template.metadata?.annotations ?? {}
  const metrics = annotations['prometheus.io/path'] ?? ''
  assert.equal(annotations['prometheus.io/port'], IMAGE.EVC_PORT)
  assert.deepEqual(await statusesOf([...paths, metrics]), { '/health': 200, '/metrics': 200 })

  const labels = set.spec?.template.metadata?.labels ?? {}
  const headless = of<IService>('Service', set.spec?.serviceName)
  assert.equal(headless.spec?.clusterIP, 'None')
  for (const { spec } of [of<IService>('Service'), headless]) {
    assert.deepEqual(spec?.selector, labels)
    assert.deepEqual(
      spec?.ports?.map(({ targetPort }) => targetPort),
      ['http'],
    )
  }
  assert.deepEqual(of<IPodDisruptionBudget>('PodDisruptionBudget').spec?.selector?.matchLabels, labels)
  assert.deepEqual(set.spec?.selector.matchLabels, labels)
  assert.notDeepEqual(job.spec?.template.metadata?.labels, labels, 'the job is no instance')
})

test('kubernetes: what the pods are given are settings that a production start takes, secrets by files that are mounted', () => {
  for (const [container, pod] of [
    [instance, podOf(set)],
    [migrate, podOf(job)],
  ] as const) {
    const environment = environmentOf(container)
    assertProduction(settingsOf({ ...IMAGE, ...environment }))
    const mounts = container.volumeMounts ?? []
    for (const [name, value] of Object.entries(environment)) {
      if (!name.endsWith('_FILE')) continue
      const mount = mounts.find(({ mountPath }) => value.startsWith(`${mountPath}/`))
      assert.ok(pod.volumes?.find(volume => volume.name === mount?.name)?.secret, `${name}: ${value}`)
    }
    assert.ok(mounts.some(({ mountPath }) => mountPath === IMAGE.EVC_DATA_DIR))
  }
  const owners = (pod: IPodSpec) =>
    pod.volumes?.filter(({ secret }) => secret?.secretName === 'ev-central-owner').length
  assert.deepEqual([owners(podOf(set)), owners(podOf(job))], [0, 1], 'instances do not own the tables')
  assert.deepEqual(migrate.args, ['serve', '--until-ready'])
  assert.equal(migrate.image, instance.image)
})

test('kubernetes: pods meet the restricted profile of the pod security standards', () => {
  for (const { spec } of [set, job]) {
    const pod = spec?.template.spec as IPodSpec
    assert.equal(pod.automountServiceAccountToken, false)
    const { runAsNonRoot, runAsUser, fsGroup, seccompProfile } = pod.securityContext ?? {}
    assert.deepEqual([runAsNonRoot, runAsUser, fsGroup, seccompProfile], [true, USER, USER, { type: 'RuntimeDefault' }])
    for (const { securityContext, resources } of pod.containers) {
      assert.deepEqual(securityContext, {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      })
      assert.ok(resources?.requests?.cpu && resources.requests.memory && resources.limits?.memory)
    }
  }
})

test('kubernetes: a pod has as long to stop as it may take, and its journal stays', () => {
  const drain = instance.lifecycle?.preStop?.sleep?.seconds ?? 0
  assert.ok((podOf(set).terminationGracePeriodSeconds ?? 0) * 1_000 > drain * 1_000 + STOP_MS_MAX)
  assert.ok((podOf(job).terminationGracePeriodSeconds ?? 0) * 1_000 > STOP_MS_MAX)
  assert.deepEqual(set.spec?.persistentVolumeClaimRetentionPolicy, { whenDeleted: 'Retain', whenScaled: 'Retain' })
  const [claim] = set.spec?.volumeClaimTemplates ?? []
  const mount = instance.volumeMounts?.find(({ name }) => name === claim?.metadata?.name)
  assert.equal(mount?.mountPath, IMAGE.EVC_DATA_DIR)
})
