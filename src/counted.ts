/** `1 event`, `2 events`. @param many what stands behind any other number than one, if it is not an s more */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
