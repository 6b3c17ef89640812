/** Which addresses exist and what they take, so that a wrong method is told from a wrong address. */

export interface RouteTable {
  add(pattern: string, method: string | string[]): void
  /** Methods of the address, undefined if there is no such address. */
  methods(path: string): readonly string[] | undefined
}

export function createRouteTable(): RouteTable {
  const routes = new Map<string, { matches: RegExp; methods: Set<string> }>()

  return {
    add(pattern, method) {
      let route = routes.get(pattern)
      if (route === undefined) {
        route = { matches: matcher(pattern), methods: new Set() }
        routes.set(pattern, route)
      }
      for (const name of [method].flat()) route.methods.add(name)
    },
    methods(path) {
      const methods = new Set<string>()
      for (const route of routes.values()) {
        if (!route.matches.test(path)) continue
        for (const method of route.methods) methods.add(method)
      }
      return methods.size === 0 ? undefined : [...methods].sort()
    },
  }
}

/** `/charge-points/:cp_id` and `/docs/static/*` as regular expressions. */
function matcher(pattern: string): RegExp {
  const source = pattern
    .split('/')
    .map(segment => {
      if (segment.startsWith(':')) return '[^/]+'
      return segment === '*' ? '.*' : segment.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
    })
    .join('/')
  return new RegExp(`^${source}$`)
}
