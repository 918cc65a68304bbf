/** The modules of a program as tabs: arrow keys go from one to the next, Home and End to the ends, Delete removes. */

import { useRef } from 'preact/hooks';

const NEXT = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/**
 * @param {{modules: object[], active: number, counts: (module) => {errors: number, warnings: number}, changed: (module) => boolean}} props
 */
export function Tabs({ modules, active, counts, changed, panelId, onSelect, onRemove }) {
  const list = useRef(null);
  const focus = (index) => {
    onSelect(modules[index].id);
    list.current.querySelectorAll('[role=tab]')[index].focus();
  };
  const onKeyDown = (event) => {
    const here = modules.findIndex(({ id }) => id === active);
    if (event.key in NEXT) focus((here + NEXT[event.key] + modules.length) % modules.length);
    else if (event.key === 'Home') focus(0);
    else if (event.key === 'End') focus(modules.length - 1);
    else if (event.key === 'Delete' && onRemove) onRemove();
    else return;
    event.preventDefault();
  };
  return (
    <div class="tabs" role="tablist" aria-label="Modules" ref={list} onKeyDown={onKeyDown}>
      {modules.map((module) => (
        <button
          type="button"
          key={module.id}
          role="tab"
          id={`tab-${module.id}`}
          class={`tab ${module.group}`}
          aria-selected={module.id === active}
          aria-controls={panelId}
          tabIndex={module.id === active ? 0 : -1}
          onClick={() => onSelect(module.id)}
        >
          {module.group === 'global' && <span class="tab-kind">global</span>}
          <span class="mono">{module.name}</span>
          {changed(module) && (
            <span class="tab-changed" title="not saved">
              <span aria-hidden="true">•</span>
              <span class="sr-only">, not saved</span>
            </span>
          )}
          <Count {...counts(module)} />
        </button>
      ))}
    </div>
  );
}

function Count({ errors, warnings }) {
  if (errors) return <span class="count bad">{words(errors, 'error')}</span>;
  if (warnings) return <span class="count warn">{words(warnings, 'warning')}</span>;
  return null;
}

export function words(count, noun) {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
