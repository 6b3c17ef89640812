/** Elements with text in them. Text is only ever set as text: nothing of an event can become markup. */

export function byId<E extends HTMLElement>(id: string): E {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`the page has no ${id}`)
  return found as E
}

export function element(name: string, content: string | readonly Node[] = '', className = ''): HTMLElement {
  const made = document.createElement(name)
  if (typeof content === 'string') made.textContent = visible(content)
  else made.append(...content)
  if (className !== '') made.className = className
  return made
}

/** Characters that are not seen, or that turn the text around them, as their code points. */
export function visible(text: string): string {
  return text.replace(
    /[\0-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
