/** Questions that are asked before something is done to a program. */

import { go, to } from '../route.js';
import { titleOf } from '../state.js';
import { Dialog } from '../ui/dialog.jsx';
import { CopyDialog } from './copy.jsx';
import { moduleNameError, programNameError } from './document.js';

export function Dialogs({ kind, session, onClose, module, group, errors }) {
  const { modules, name } = session.work.value;
  const check = (groupOf, except) => (text) =>
    moduleNameError(
      text,
      groupOf,
      modules.filter(({ id }) => id !== except),
    );
  if (kind === 'module')
    return (
      <NameDialog
        title={group === 'own' ? 'New module' : 'New global module'}
        label="Name"
        verb="Add"
        note={
          group === 'own'
            ? 'Other modules of this program import it by this name.'
            : 'All programs of the database can import it, on every Pi.'
        }
        check={check(group)}
        onName={(text) => session.addModule(group, text)}
        onClose={onClose}
      />
    );
  if (kind === 'rename-module')
    return (
      <NameDialog
        title={`Rename ${module.name}`}
        label="Name"
        value={module.name}
        verb="Rename"
        note="What imports it has to be changed as well."
        check={check(module.group, module.id)}
        onName={(text) => session.renameModule(module.id, text)}
        onClose={onClose}
      />
    );
  if (kind === 'remove-module')
    return (
      <Dialog
        title={`Remove the module ${module.name}?`}
        verb="Remove"
        danger
        act={() => session.removeModule(module.id)}
        onClose={onClose}
      >
        <p>Nothing happens on the Pi before you save.</p>
      </Dialog>
    );
  if (kind === 'name')
    return (
      <NameDialog
        title="Rename the program"
        label="Name"
        value={name}
        verb="Rename"
        note="It is saved with the program."
        check={programNameError}
        onName={(text) => session.setName(text)}
        onClose={onClose}
      />
    );
  if (kind === 'discard')
    return (
      <Dialog title="Discard your changes?" verb="Discard" danger act={() => session.discard()} onClose={onClose}>
        <p>What you have changed since it was saved is gone then.</p>
      </Dialog>
    );
  if (kind === 'remove')
    return (
      <Dialog title={`Remove ${name}?`} verb="Remove" danger act={() => remove(session)} onClose={onClose}>
        <p>
          {titleOf(session.macId)} stops it. The history keeps every version that was deployed
          {session.changed.value ? '; your changes that are not saved are lost' : ''}.
        </p>
      </Dialog>
    );
  if (kind === 'errors')
    return (
      <Dialog title="Save it with syntax errors?" verb="Save anyway" danger act={() => void session.save()} onClose={onClose}>
        <p>Python can’t compile this: it would not run.</p>
        <ul class="mono">
          {errors.slice(0, 5).map((error, index) => (
            <li key={index}>
              {error.module.name}, line {error.line}: {error.message}
            </li>
          ))}
        </ul>
      </Dialog>
    );
  return <CopyDialog session={session} onClose={onClose} />;
}

async function remove(session) {
  if (!(await session.remove())) throw new Error(session.problem.value);
  go(to.pi(session.macId));
}

/** Asks for a name; `check(name)` says why it can't be that one, or null. */
function NameDialog({ title, label, value = '', verb, check, note, onName, onClose }) {
  const act = (form) => {
    const name = form.get('name');
    const problem = check(name);
    if (problem) throw new Error(problem);
    onName(name);
  };
  return (
    <Dialog title={title} verb={verb} act={act} onClose={onClose}>
      <label>
        {label}
        <input name="name" defaultValue={value} autofocus autocomplete="off" autocapitalize="none" spellcheck={false} />
      </label>
      <p class="quiet small">{note}</p>
    </Dialog>
  );
}
