/** Where the events of a trail are: what threads and commands are told, who then open it themselves. */
export type StoreLocation =
  | { readonly kind: 'sqlite'; readonly path: string }
  /** Holds a password, so it goes into no message. */
  | { readonly kind: 'postgres'; readonly url: string }
