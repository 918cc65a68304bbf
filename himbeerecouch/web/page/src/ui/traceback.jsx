/** A traceback of Python in which the lines of programs lead into the editor. */

import { pieces, placeLink } from '../traceback.js';

/** The revision is left out: it is the one that is shown above. */
export function Traceback({ macId, programId, text }) {
  return (
    <pre class="traceback" tabIndex={0} role="group" aria-label="Traceback">
      {pieces(text).map(({ text: piece, place }, index) => {
        const href = place && placeLink(macId, programId, place);
        return href ? (
          <a key={index} href={href} title={piece}>
            {place.group === 'global' && 'global '}
            {place.module}, line {place.line}
          </a>
        ) : (
          piece
        );
      })}
    </pre>
  );
}
