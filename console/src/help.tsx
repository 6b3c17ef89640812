/** The keys, and the switch for them. */
import { Fragment, useState } from 'react'
import { SHORTCUTS, singleKeysAreOn, switchSingleKeys } from './keys.ts'
import { Dialog } from './ui/dialog.tsx'

export default function HelpDialog({ onClose }: { onClose: () => void }) {
  const [isOn, setIsOn] = useState(singleKeysAreOn)
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose} isWide>
      <div className="shortcuts">
        {SHORTCUTS.map(([where, keys]) => (
          <section key={where}>
            <h3>{where}</h3>
            <dl>
              {keys.map(([key, does]) => (
                <div key={key}>
                  <dt>
                    <Keys text={key} />
                  </dt>
                  <dd>{does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <label className="switch">
        <input
          type="checkbox"
          checked={isOn}
          onChange={({ target }) => {
            switchSingleKeys(target.checked)
            setIsOn(target.checked)
          }}
        />
        Single keys do something
      </label>
    </Dialog>
  )
}

/** `j, ArrowDown` are two that do the same, `g e` two after each other. */
function Keys({ text }: { text: string }) {
  return text.split(', ').map((keys, n) => (
    <Fragment key={keys}>
      {n > 0 && ' or '}
      {keys.split(' ').map(key => (
        <kbd key={key}>{key}</kbd>
      ))}
    </Fragment>
  ))
}
